//! Copies of the channel backup at the owner's place, and the choice of that place.

use std::sync::Arc;

use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use twin::copies::Restore;

use super::{
    caller::Caller,
    describe::{Body, Json, Nothing},
    problem::{Code, Problem},
    types::{Hidden, Short, Time},
};
use crate::{
    copies::{
        begin_drill,
        sticks::{self, Stick},
        trial,
    },
    http::fail::Fail,
    pages::{
        backup::{
            Kind,
            form::{self, Typed},
            test,
        },
        words::sentence,
    },
    shared::House,
};

type Home = State<Arc<House>>;

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Copies")]
pub(crate) struct Copies {
    /// The place in words; null: none is chosen, and no channel is opened.
    place: Option<String>,
    /// Copies can be read back from there.
    readable: bool,
    /// The newest copy there.
    saved: Option<Copy>,
    /// A change that is not saved yet.
    pending: Option<Pending>,
    /// Why the last attempt failed.
    error: Option<String>,
    /// The last time that a copy was read back and shown to LND.
    verified: Option<Verified>,
    /// It is being read back now.
    verifying: bool,
    /// Newest first, at all places; the newest 20.
    history: Vec<Copy>,
    /// A backup that was given to a restored wallet.
    given: Option<GivenBackup>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "GivenBackup")]
pub(crate) struct GivenBackup {
    /// `waiting` for LND to be in step with the chain; `done`: the peers were asked to close; `failed`: LND does not take it.
    state: &'static str,
    at: Option<Time>,
    channels: Option<u32>,
    /// Why it failed.
    detail: Option<String>,
}

fn given(restore: &Restore) -> GivenBackup {
    match restore {
        Restore::Waiting => GivenBackup { state: "waiting", at: None, channels: None, detail: None },
        Restore::Done { channels, at } => {
            GivenBackup { state: "done", at: Some(Time(*at)), channels: Some(*channels), detail: None }
        }
        Restore::Failed { why, at } => {
            GivenBackup { state: "failed", at: Some(Time(*at)), channels: None, detail: Some(sentence(why)) }
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "BackupCopy")]
pub(crate) struct Copy {
    /// Its file name.
    name: String,
    place: String,
    channels: u32,
    /// When it was read back and found good; of e-mail, when the server took it.
    at: Time,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PendingCopy")]
pub(crate) struct Pending {
    since: Time,
    channels: u32,
    /// Attempts that failed since then.
    attempts: u32,
    next_try_at: Option<Time>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "VerifiedCopy")]
pub(crate) struct Verified {
    at: Time,
    name: String,
    /// LND accepts it, and no channel is missing in it.
    good: bool,
    /// Why it is not good.
    fault: Option<String>,
}

fn copy(copy: &twin::copies::Copy) -> Copy {
    Copy { name: copy.name.clone(), place: copy.target.clone(), channels: copy.channels, at: Time(copy.at) }
}

/// `GET /backups/copies`.
pub(crate) async fn get(State(house): Home) -> Result<Json<Copies>, Problem> {
    let state = house.shared.twin.state();
    let copies = &state.copies;
    Ok(Json(Copies {
        place: copies.target.clone(),
        readable: copies.readable,
        saved: copies.saved.as_ref().map(copy),
        pending: copies.pending.as_ref().map(|pending| Pending {
            since: Time(pending.since),
            channels: pending.channels,
            attempts: pending.attempts,
            next_try_at: pending.next_try.map(Time),
        }),
        error: copies.error.as_deref().map(sentence),
        verified: copies.drill.as_ref().map(|drill| Verified {
            at: Time(drill.at),
            name: drill.name.clone(),
            good: drill.fault.is_none(),
            fault: drill.fault.as_deref().map(sentence),
        }),
        verifying: copies.drilling,
        history: copies.history.iter().map(copy).collect(),
        given: copies.restore.as_ref().map(given),
    }))
}

/// `POST /backups/verify`: the newest copy is read back and shown to LND; what came of it is in the list.
pub(crate) async fn verify(State(house): Home, caller: Caller) -> Result<Json<Checking, 202>, Problem> {
    let state = house.shared.twin.state();
    if state.copies.target.is_none() || !state.copies.readable {
        return Err(Problem::new(Code::Refused, "There is no place from which a copy could be read back."));
    }
    if begin_drill(&house) {
        house.store.audit(caller.audit("backup-verified", "")).await?;
    }
    Ok(Json(Checking { detail: "It is being read back: see 'verified' of /api/v1/backups/copies.".into() }))
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Checking")]
pub(crate) struct Checking {
    /// What happens now, in a sentence.
    detail: String,
}

/// `POST /backups/retry`: tries now what waits.
pub(crate) async fn retry(State(house): Home, caller: Caller) -> Result<Nothing, Problem> {
    house.store.audit(caller.audit("backup-retried", "")).await?;
    house.copies.retry().await;
    Ok(Nothing)
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "PlaceKind")]
pub(crate) enum KindAsk {
    /// Mounted by root, by its serial number: one of those that were looked for.
    Stick,
    Sftp,
    Webdav,
    S3,
    Mail,
}

/// A place to be tested. Each kind has some of the fields; a secret that is left out is the one of the same server and user
/// that is known already.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TestPlace")]
pub(crate) struct Test {
    kind: KindAsk,
    /// Of SFTP and e-mail.
    #[serde(default)]
    host: Short<255>,
    #[schemars(range(min = 1, max = 65_535))]
    port: Option<u16>,
    #[serde(default)]
    user: Short<255>,
    #[serde(default)]
    password: Short<512>,
    /// Of SFTP: sign in by the password; else by the box's own key, see /api/v1/backups/place/ssh-key.
    #[serde(default)]
    by_password: bool,
    /// Of SFTP.
    #[serde(default)]
    folder: Short<255>,
    /// Of S3.
    #[serde(default)]
    endpoint: Short<500>,
    #[serde(default)]
    region: Short<64>,
    #[serde(default)]
    bucket: Short<255>,
    #[serde(default)]
    prefix: Short<255>,
    #[serde(default)]
    access_key: Short<255>,
    #[serde(default)]
    secret_key: Short<512>,
    /// Of WebDAV.
    #[serde(default)]
    url: Short<500>,
    /// Of e-mail: `STARTTLS` instead of TLS from the first byte on.
    #[serde(default)]
    start_tls: bool,
    #[serde(default)]
    from: Short<255>,
    #[serde(default)]
    to: Short<255>,
    /// The authority of the server, PEM, where it is no public one.
    #[serde(default)]
    ca: Short<20000>,
    /// Of a stick.
    #[serde(default)]
    serial: Short<128>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PlaceTest")]
pub(crate) struct Trial {
    /// The place in words.
    place: String,
    /// `testing`; `host_key`: confirm it; `code`: a mail with a code is on its way; `good`; `failed`.
    state: &'static str,
    /// Why it failed.
    detail: Option<String>,
    /// The SSH key that the server showed; nothing secret was sent to it.
    host_key_fingerprint: Option<String>,
    /// The test file, where the place lets nothing be removed.
    left_behind: Option<String>,
}

/// `GET /backups/place/test`.
pub(crate) async fn look(State(house): Home) -> Result<Json<Trial>, Problem> {
    let found = house.copies.trial.look();
    let (place, state) = found.ok_or_else(|| Problem::not_found("test of a place"))?;
    let mut trial =
        Trial { place: place.words(), state: "testing", detail: None, host_key_fingerprint: None, left_behind: None };
    match state {
        trial::State::Testing => {}
        trial::State::HostKey(key) => {
            (trial.state, trial.host_key_fingerprint) = ("host_key", Some(key.fingerprint()));
        }
        // The code itself is in the mailbox, and nowhere else.
        trial::State::Code(_) => trial.state = "code",
        trial::State::Good { left_behind } => (trial.state, trial.left_behind) = ("good", left_behind),
        trial::State::Failed(why) => (trial.state, trial.detail) = ("failed", Some(sentence(&why))),
    }
    Ok(Json(trial))
}

/// `POST /backups/place/test`: tests it live, and changes nothing.
pub(crate) async fn begin(state: Home, caller: Caller, Body(ask): Body<Test>) -> Result<Json<Trial>, Problem> {
    let kind = match ask.kind {
        KindAsk::Stick => Kind::Stick,
        KindAsk::Sftp => Kind::Sftp,
        KindAsk::Webdav => Kind::Webdav,
        KindAsk::S3 => Kind::S3,
        KindAsk::Mail => Kind::Mail,
    };
    let port = ask.port.unwrap_or(if kind == Kind::Mail { 465 } else { 22 });
    let typed = Typed {
        host: ask.host.0,
        port: port.to_string(),
        user: ask.user.0,
        password: backup::Secret::new(ask.password.0),
        login: if ask.by_password { "password" } else { "key" }.into(),
        folder: ask.folder.0,
        endpoint: ask.endpoint.0,
        region: ask.region.0,
        bucket: ask.bucket.0,
        prefix: ask.prefix.0,
        access_key: ask.access_key.0,
        secret_key: backup::Secret::new(ask.secret_key.0),
        url: ask.url.0,
        tls: if ask.start_tls { "start-tls" } else { "implicit" }.into(),
        from: ask.from.0,
        to: ask.to.0,
        ca: ask.ca.0,
        serial: ask.serial.0,
    };
    let begun = form::begin(&state, kind, &typed, |detail| caller.audit("backup-tested", detail)).await?;
    begun.map_err(Problem::invalid)?;
    look(state).await
}

/// The key that the server showed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ConfirmHostKey")]
pub(crate) struct HostKey {
    fingerprint: Short<64>,
}

/// `POST /backups/place/host-key`: this is the server's key; the test goes on.
pub(crate) async fn host_key(state: Home, caller: Caller, Body(ask): Body<HostKey>) -> Result<Json<Trial>, Problem> {
    let shown = state.copies.trial.look().and_then(|(_, trial)| match trial {
        trial::State::HostKey(key) => Some(key.fingerprint()),
        _ => None,
    });
    if shown.as_deref() != Some(ask.fingerprint.0.as_str()) {
        return Err(Problem::new(Code::Refused, "This is not the key that a server showed in the test of a place."));
    }
    state.store.audit(caller.audit("host-key-confirmed", ask.fingerprint.0.as_str())).await?;
    trial::confirm_host_key(&state, &ask.fingerprint.0);
    look(state).await
}

/// What stood in the test mail.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MailCode")]
pub(crate) struct MailCode {
    code: Hidden<32>,
}

/// `POST /backups/place/code`: the mail arrived, as its code shows.
pub(crate) async fn code(state: Home, caller: Caller, Body(ask): Body<MailCode>) -> Result<Json<Trial>, Problem> {
    // A program must not try them all.
    state.limits.take(caller.address()).map_err(Fail::Wait)?;
    if !state.copies.trial.code(ask.code.0.expose()) {
        return Err(Problem::new(Code::Refused, "This is not the code of a test mail that is on its way."));
    }
    state.store.audit(caller.audit("backup-mail-read", "The code of the test mail was right.")).await?;
    look(state).await
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SshKey")]
pub(crate) struct SshKey {
    /// A line for `authorized_keys` of the server.
    public_key: String,
}

/// `GET /backups/place/ssh-key`.
pub(crate) async fn ssh_key(State(house): Home) -> Result<Json<SshKey>, Problem> {
    Ok(Json(SshKey { public_key: house.copies.ssh_key().await?.1 }))
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Sticks")]
pub(crate) struct Sticks {
    sticks: Vec<StickOut>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Stick")]
pub(crate) struct StickOut {
    serial: String,
    model: String,
    /// Size in bytes.
    size: u64,
    /// Its file system's label.
    label: String,
    /// Why it cannot be used.
    fault: Option<String>,
}

/// `POST /backups/place/sticks`: looks what is plugged in.
pub(crate) async fn sticks(State(house): Home, caller: Caller) -> Result<Json<Sticks>, Problem> {
    let found = sticks::look(&house).await.map_err(|why| Problem::new(Code::Refused, sentence(&why)))?;
    house.store.audit(caller.audit("sticks-listed", "")).await?;
    let stick = |stick: Stick| StickOut {
        serial: stick.serial,
        model: stick.model,
        size: stick.bytes,
        label: stick.label,
        fault: Some(stick.fault).filter(|fault| !fault.is_empty()),
    };
    Ok(Json(Sticks { sticks: found.into_iter().map(stick).collect() }))
}

/// `POST /backups/seen`: the owner knows why a copy has fewer channels than the one before.
pub(crate) async fn seen(State(house): Home, caller: Caller) -> Result<Nothing, Problem> {
    house.store.audit(caller.audit("backup-shrink-seen", "")).await?;
    house.copies.accept_shrunk().await;
    Ok(Nothing)
}

/// `POST /backups/place/use`: what was tested and is good becomes the place.
pub(crate) async fn take(state: Home, caller: Caller) -> Result<Json<Copies>, Problem> {
    match test::aim(&state, |detail| caller.audit("backup-chosen", detail)).await? {
        true => get(state).await,
        false => Err(Problem::new(Code::Refused, "No place was tested and found good.")),
    }
}
