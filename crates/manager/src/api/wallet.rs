//! The wallet: its seed on the way to it, and its password when it does not unlock by itself.
//!
//! ```text
//!  seed ─► written ─► check (four words) ─┐
//!  restore (words, backup) ───────────────┴─► ready ─► /setup/apply
//! ```
//!
//! Words are told once, in the answer that makes them, and are kept in memory alone until LND has them.

use std::sync::Arc;

use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use twin::LndState;

use super::{
    caller::Caller,
    describe::{Body, Json, Nothing},
    problem::{Code, Problem},
    types::{Hidden, Time},
};
use crate::{
    copies::restore::LONGEST,
    http::fail::Fail,
    pages::unlock,
    setup::{
        Step,
        making::{self, Shown, Situation, situation, with},
        wallet::{ASKED, Origin, Seed, Stage, Verdict},
    },
    shared::House,
};

type Home = State<Arc<House>>;

/// A backup of a megabyte as hexadecimal text, and what stands around it.
pub(super) const WITH_BACKUP: usize = 2 * LONGEST + 32 * 1024;

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Wallet")]
pub(crate) struct Wallet {
    /// `starting`: LND is not ready to make one; `none`; `exists`.
    state: &'static str,
    /// The seed that is to become the wallet: `told`, `asked` or `ready`; null: there is none.
    seed: Option<&'static str>,
    /// With `asked`: which of its words, counted from 1.
    asked: Vec<usize>,
    /// How the wallet was made: `new` or `restored`.
    origin: Option<&'static str>,
    made_at: Option<Time>,
    /// What holds its password: `chip`, the security chip, or `disk`, a key on the disk.
    sealed_by: Option<&'static str>,
}

/// `GET /setup/wallet`.
pub(crate) async fn get(State(house): Home) -> Result<Json<Wallet>, Problem> {
    Ok(Json(seen(&house)))
}

fn seen(house: &House) -> Wallet {
    let made = house.setup.choices().wallet;
    let stage = with(house, |seed| seed.stage.clone());
    Wallet {
        state: match situation(house) {
            Situation::NotYet => "starting",
            Situation::Empty => "none",
            Situation::Exists => "exists",
        },
        seed: stage.as_ref().map(|stage| match stage {
            Stage::Shown => "told",
            Stage::Asked { .. } => "asked",
            Stage::Ready => "ready",
        }),
        asked: match stage {
            Some(Stage::Asked { positions, .. }) => positions.iter().map(|at| at + 1).collect(),
            _ => Vec::new(),
        },
        origin: made.as_ref().map(|made| match made.origin {
            Origin::New => "new",
            Origin::Restored => "restored",
        }),
        sealed_by: made.as_ref().map(|made| if made.by_chip { "chip" } else { "disk" }),
        made_at: made.map(|made| Time(made.at)),
    }
}

/// A wallet can be made only where there is none.
fn empty(house: &House) -> Result<(), Problem> {
    if !house.setup.is_done(Step::Bitcoin) {
        return Err(Problem::new(Code::Refused, "First choose where the blocks come from: see /api/v1/bitcoin/test."));
    }
    match situation(house) {
        Situation::Empty => Ok(()),
        Situation::NotYet => Err(Problem::new(Code::NodeAway, "LND is starting. Try again in a moment.")),
        Situation::Exists => {
            Err(Problem::new(Code::Refused, "There is a wallet. It is never replaced by another one."))
        }
    }
}

/// A new seed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewSeed")]
pub(crate) struct NewSeed {
    /// A word of the owner's own, without which the seed opens nothing; left out: none.
    #[serde(default)]
    passphrase: Hidden<512>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Seed")]
pub(crate) struct SeedOut {
    /// 24 words, told this once. Whoever has them has the money; without them it can be lost.
    words: Vec<String>,
    /// What LND will ask for when it cannot unlock the wallet by itself.
    wallet_password: String,
}

/// `POST /setup/wallet/seed`: a seed of LND's, instead of one that was on its way.
pub(crate) async fn seed(
    State(house): Home,
    caller: Caller,
    Body(ask): Body<NewSeed>,
) -> Result<Json<SeedOut, 201>, Problem> {
    empty(&house)?;
    let entry = caller.audit("seed-shown", "A new seed was made and shown.");
    let begun = making::begin(&house, ask.passphrase.0, entry).await?;
    let Shown { words, password } = begun.map_err(|why| Problem::new(Code::Refused, why))?;
    Ok(Json(SeedOut { words: words.expose().clone(), wallet_password: password.expose().clone() }))
}

/// `POST /setup/wallet/seed/written`: the words are written down; four of them are asked for.
pub(crate) async fn written(State(house): Home) -> Result<Json<Wallet>, Problem> {
    with(&house, Seed::written_down).ok_or_else(no_seed)??;
    Ok(Json(seen(&house)))
}

fn no_seed() -> Problem {
    Problem::new(Code::Refused, "No seed is on its way. Ask for one first.")
}

/// The words that are asked for, in that order.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CheckSeed")]
pub(crate) struct Answers {
    words: [Hidden<32>; ASKED],
}

/// `POST /setup/wallet/seed/check`.
pub(crate) async fn check(
    State(house): Home,
    caller: Caller,
    Body(ask): Body<Answers>,
) -> Result<Json<Wallet>, Problem> {
    let answers = ask.words.map(|word| word.0.expose().clone());
    let entry = caller.audit("seed-confirmed", "Four words of the seed were right.");
    match making::answer(&house, &answers, entry).await? {
        Some(Verdict::Right) => Ok(Json(seen(&house))),
        Some(Verdict::Wrong { left }) => {
            let detail = format!("These are not the words that were asked for. Tries left: {left}.");
            Err(Problem::new(Code::InvalidValue, detail))
        }
        Some(Verdict::Over) => {
            let detail = "That was wrong three times: this seed is no longer used. Ask for a new one.";
            Err(Problem::new(Code::Refused, detail))
        }
        None => Err(Problem::new(Code::Refused, "No words are asked for: say first that they are written down.")),
    }
}

/// A wallet to be restored. First read on the page /setup/wallet/restore what that does to channels.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RestoreWallet")]
pub(crate) struct Restore {
    /// The 24 words, with whatever between them.
    words: Hidden<1000>,
    #[serde(default)]
    passphrase: Hidden<512>,
    /// `channel.backup` as base64 or hexadecimal text; without it only money on the chain comes back. The peers of its
    /// channels are asked to close them.
    #[serde(default)]
    backup: String,
    /// The old box is switched off and will never be used again. Two nodes of one seed lose money.
    old_box_is_off: bool,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RestoredSeed")]
pub(crate) struct Restored {
    /// What LND will ask for when it cannot unlock the wallet by itself.
    wallet_password: String,
}

/// `POST /setup/wallet/restore`: kept in memory; /setup/apply makes the wallet of it.
pub(crate) async fn restore(
    State(house): Home,
    caller: Caller,
    Body(ask): Body<Restore, WITH_BACKUP>,
) -> Result<Json<Restored, 201>, Problem> {
    empty(&house)?;
    let given = making::Given {
        words: ask.words.0,
        passphrase: ask.passphrase.0,
        backup: making::backup(&ask.backup).map_err(Problem::invalid)?,
        is_off: ask.old_box_is_off,
    };
    let entry = caller.audit("seed-given", "A seed was given to restore a wallet.");
    making::give(&house, given, entry).await?.map_err(Problem::invalid)?;
    let password = with(&house, |seed| seed.password.expose().clone()).ok_or_else(no_seed)?;
    Ok(Json(Restored { wallet_password: password }))
}

/// The wallet's password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "UnlockWallet")]
pub(crate) struct Unlock {
    password: Hidden<128>,
    /// Seal it, so that LND unlocks by itself from now on [default: yes].
    #[serde(default = "yes")]
    seal: bool,
}

fn yes() -> bool {
    true
}

/// `POST /wallet/unlock`: where LND does not unlock by itself.
pub(crate) async fn unlock(State(house): Home, caller: Caller, Body(ask): Body<Unlock>) -> Result<Nothing, Problem> {
    house.limits.take(caller.address()).map_err(Fail::Wait)?;
    if house.shared.twin.state().lnd.state != LndState::Locked {
        return Err(Problem::new(Code::Refused, "LND does not wait for a password: see 'state' of /api/v1/node."));
    }
    match unlock::open(&house, caller.actor(), ask.password.0, ask.seal).await {
        Ok(true) => Ok(Nothing),
        // Neither right nor wrong so far.
        Ok(false) => Err(Problem::new(Code::OutcomeUnknown, "LND still tries it: see 'state' of /api/v1/node.")),
        Err(why) => Err(Problem::new(Code::NodeRefused, why)),
    }
}

/// `POST /wallet/by-hand`: LND starts again without the sealed password, so that it can ask for one.
pub(crate) async fn by_hand(State(house): Home, caller: Caller) -> Result<Nothing, Problem> {
    if house.setup.choices().wallet.is_none() {
        return Err(Problem::new(Code::Refused, "There is no wallet that this box has made."));
    }
    let entry = caller.audit("unlock-by-hand", "LND is started without the sealed password.");
    let started = unlock::start_by_hand(&house, entry).await?;
    started.map(|()| Nothing).map_err(|why| Problem::new(Code::Refused, why))
}

/// A channel backup.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "GiveBackup")]
pub(crate) struct Given {
    /// `channel.backup` as base64 or hexadecimal text.
    backup: String,
}

/// `POST /backups/restore`: another channel backup for a wallet that was restored.
pub(crate) async fn give_backup(
    State(house): Home,
    caller: Caller,
    Body(ask): Body<Given, WITH_BACKUP>,
) -> Result<Nothing, Problem> {
    let is_restored = house.setup.choices().wallet.is_some_and(|wallet| wallet.origin == Origin::Restored);
    if !is_restored {
        return Err(Problem::new(Code::Refused, "Only a wallet that was restored from its seed takes a backup."));
    }
    let bytes = making::backup(&ask.backup).map_err(Problem::invalid)?;
    let bytes = bytes.ok_or_else(|| Problem::invalid("'backup' is empty"))?;
    house.store.audit(caller.audit("backup-given", format!("{} bytes", bytes.len()))).await?;
    house.copies.give(bytes).await?;
    Ok(Nothing)
}
