//! What only the owner may do: password and second factor, keys of other programs.
//!
//! What widens anybody's rights needs the owner's password beside a key, and a code where the second factor is on, as a page
//! needs it beside a session: no key is to make itself a wider one.

use std::sync::Arc;

use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    caller::Caller,
    describe::{Body, Gap, Json, Nothing, Query},
    keys::{Key, Scope, Wish},
    problem::{Code, Problem},
    types::{Amount, Hidden, Page, Part, Short, Time, Wanted},
};
use crate::{
    access::{self, factor::otpauth},
    error::now,
    http::fail::Fail,
    pages::{
        keys::{NAME, checked},
        words,
    },
    password,
    shared::House,
};

type Home = State<Arc<House>>;

/// The owner's password as it is typed.
pub(super) type Password = Hidden<512>;
/// A code of the authenticator app, or a recovery code.
pub(super) type FactorCode = Hidden<64>;

/// Refuses who does not know what only the owner knows.
pub(super) async fn prove(
    house: &House,
    caller: &Caller,
    password: Password,
    code: &FactorCode,
) -> Result<(), Problem> {
    match access::prove(house, caller.address(), password.0, &code.0).await? {
        None => Ok(()),
        Some(words) => Err(Problem::new(Code::ProofWrong, words)),
    }
}

/// Another password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SetPassword")]
pub(crate) struct NewPassword {
    /// The one that is good now.
    password: Password,
    /// Where the second factor is on: a code of it.
    #[serde(default)]
    code: FactorCode,
    new_password: Password,
}

/// `PUT /password`.
pub(crate) async fn set_password(
    State(house): Home,
    caller: Caller,
    Body(ask): Body<NewPassword>,
) -> Result<Nothing, Problem> {
    if let Err(weakness) = password::check(ask.new_password.0.expose(), &house.shared.host()) {
        return Err(Problem::invalid(weakness.to_string()));
    }
    prove(&house, &caller, ask.password, &ask.code).await?;
    let entry = caller.audit("password-changed", "All other sessions were ended.");
    access::set_password(&house, ask.new_password.0, caller.token(), entry).await?;
    Ok(Nothing)
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SecondFactor")]
pub(crate) struct Factor {
    /// The sign-in asks for a code.
    on: bool,
    /// Recovery codes that are not used yet.
    recovery_codes_left: usize,
}

/// `GET /second-factor`.
pub(crate) async fn factor(State(house): Home) -> Result<Json<Factor>, Problem> {
    Ok(Json(Factor { on: house.factor.is_on(), recovery_codes_left: house.factor.codes_left().await }))
}

/// What proves that it is the owner who asks.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OwnerProof")]
pub(crate) struct Proof {
    password: Password,
    /// Where the second factor is on: a code of it.
    #[serde(default)]
    code: FactorCode,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FactorSecret")]
pub(crate) struct FactorSecret {
    /// Base32, for the authenticator app. It counts for nothing until a code of it is confirmed.
    secret: String,
    /// The same as a link that such apps read.
    otpauth: String,
}

/// `POST /second-factor`: a new secret.
pub(crate) async fn factor_begin(
    State(house): Home,
    caller: Caller,
    Body(ask): Body<Proof>,
) -> Result<Json<FactorSecret, 201>, Problem> {
    if house.factor.is_on() {
        return Err(Problem::new(Code::Refused, "The second factor is on already. Turn it off first."));
    }
    prove(&house, &caller, ask.password, &ask.code).await?;
    let secret = house.factor.begin(caller.token())?;
    let url = otpauth(&secret, &house.shared.host());
    Ok(Json(FactorSecret { secret: secret.expose().clone(), otpauth: url.expose().clone() }))
}

/// The first code of a new secret.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ConfirmFactor")]
pub(crate) struct FirstCode {
    code: FactorCode,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RecoveryCodes")]
pub(crate) struct RecoveryCodes {
    /// For who lost the app, each good for once. They are told this once and kept nowhere.
    recovery_codes: Vec<String>,
}

/// `POST /second-factor/confirm`: the first code turns it on.
pub(crate) async fn factor_confirm(
    State(house): Home,
    caller: Caller,
    Body(ask): Body<FirstCode>,
) -> Result<Json<RecoveryCodes>, Problem> {
    house.limits.take(caller.address()).map_err(Fail::Wait)?;
    let confirmed = house.factor.confirm(caller.token(), &ask.code.0, caller.audit("second-factor-on", "")).await?;
    match confirmed {
        Some(codes) => Ok(Json(RecoveryCodes { recovery_codes: codes.expose().clone() })),
        None if house.factor.waiting(caller.token()).is_some() => {
            let words = rust_i18n::t!("access.factor.wrong", clock = words::moment(now()));
            Err(Problem::new(Code::ProofWrong, words))
        }
        None => Err(Problem::new(Code::Refused, "No secret of yours waits for its first code. Ask for one first.")),
    }
}

/// `POST /second-factor/codes`: other recovery codes.
pub(crate) async fn factor_codes(
    State(house): Home,
    caller: Caller,
    Body(ask): Body<Proof>,
) -> Result<Json<RecoveryCodes>, Problem> {
    prove(&house, &caller, ask.password, &ask.code).await?;
    match house.factor.renew(caller.audit("recovery-codes-renewed", "")).await? {
        Some(codes) => Ok(Json(RecoveryCodes { recovery_codes: codes.expose().clone() })),
        None => Err(Problem::new(Code::Refused, "The second factor is off.")),
    }
}

/// `POST /second-factor/off`.
pub(crate) async fn factor_off(State(house): Home, caller: Caller, Body(ask): Body<Proof>) -> Result<Nothing, Problem> {
    prove(&house, &caller, ask.password, &ask.code).await?;
    if house.factor.is_on() {
        house.factor.turn_off(caller.audit("second-factor-off", "")).await?;
    }
    Ok(Nothing)
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "KeyLine")]
pub(crate) struct KeyLine {
    /// What it is revoked by.
    id: String,
    name: String,
    scopes: Vec<Scope>,
    made_at: Time,
    expires_at: Option<Time>,
    used_at: Option<Time>,
    /// With fees; null without the scope `pay`.
    payment_max_msat: Option<Amount>,
    day_max_msat: Option<Amount>,
}

fn line(key: &Key) -> KeyLine {
    let amount = |msat: Option<u64>| msat.map(|msat| Amount::from(twin::MilliSat::new(msat)));
    KeyLine {
        id: key.handle(),
        name: key.kept.name.clone(),
        scopes: key.scopes.clone(),
        made_at: Time(key.kept.created),
        expires_at: key.kept.expires.map(Time),
        used_at: key.kept.last_used.map(Time),
        payment_max_msat: amount(key.kept.payment_max),
        day_max_msat: amount(key.kept.day_max),
    }
}

/// `GET /keys`, newest first.
pub(crate) async fn keys(State(house): Home, Query(part): Query<Part>) -> Result<Json<Page<KeyLine>>, Problem> {
    part.of(&house.api.keys.list(), line).map(Json).map_err(Problem::invalid)
}

/// A key for another program.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewKey")]
pub(crate) struct NewKey {
    password: Password,
    /// Where the second factor is on: a code of it.
    #[serde(default)]
    code: FactorCode,
    name: Short<NAME>,
    #[schemars(length(max = 7))]
    scopes: Vec<Scope>,
    /// Limits of a payment and of 24 hours, with fees: both with the scope `pay`.
    payment_max_msat: Option<Wanted>,
    day_max_msat: Option<Wanted>,
    /// Left out: until it is revoked.
    #[schemars(range(min = 1, max = 3650))]
    days: Option<u16>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MadeKey")]
pub(crate) struct MadeKey {
    /// The key itself: told this once and kept nowhere.
    key: String,
    /// What it is revoked by.
    id: String,
}

/// `POST /keys`.
pub(crate) async fn make_key(
    State(house): Home,
    caller: Caller,
    Body(ask): Body<NewKey>,
) -> Result<Json<MadeKey, 201>, Problem> {
    if ask.days.is_some_and(|days| !(1..=3650).contains(&days)) {
        return Err(Problem::invalid("'days' is 1 to 3650"));
    }
    let mut scopes = ask.scopes;
    scopes.sort_unstable();
    scopes.dedup();
    let limits = ask.payment_max_msat.zip(ask.day_max_msat).map(|(payment, day)| (payment.get(), day.get()));
    let wish = Wish {
        name: ask.name.0,
        limits: limits.filter(|_| scopes.contains(&Scope::Pay)),
        scopes,
        expires: ask.days.map(|days| now().saturating_add(u64::from(days) * 86_400)),
    };
    let wish = checked(wish, &house.api.keys.list()).map_err(Problem::invalid)?;
    prove(&house, &caller, ask.password, &ask.code).await?;
    let (entry, name) = (caller.audit("key-made", wish.told()), wish.name.clone());
    let key = house.api.keys.make(wish, entry).await?;
    // In the list and not by the key itself: that would count as its first use.
    let made = house.api.keys.list().into_iter().find(|one| one.kept.name == name);
    let id = made.map(|one| one.handle()).unwrap_or_default();
    Ok(Json(MadeKey { key: key.expose().clone(), id }))
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct KeyId {
    /// The key's id in the list.
    #[schemars(regex(pattern = r"^[0-9a-f]{16}$"))]
    id: String,
}

/// `DELETE /keys/{id}`: at once, even if it is the one that asks.
pub(crate) async fn revoke_key(
    State(house): Home,
    caller: Caller,
    Gap(KeyId { id }): Gap<KeyId>,
) -> Result<Nothing, Problem> {
    let key = house.api.keys.list().into_iter().find(|key| key.handle() == id);
    let key = key.ok_or_else(|| Problem::not_found("key"))?;
    house.api.keys.revoke(key.kept.id, caller.audit("key-revoked", key.kept.name)).await?;
    Ok(Nothing)
}
