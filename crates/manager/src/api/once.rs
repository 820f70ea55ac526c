//! Doing something once, however often it is asked for.
//!
//! ```text
//!   key of idempotence ─► noted in the store ── new ──► carried out beside the request ─► noted how it ended
//!                              │                             │
//!                              └ known: what became of it    └ takes long: 202, and /requests/{key} tells later
//! ```
//!
//! What runs when the power goes is `unknown` afterwards. A payment by Lightning is then looked for in LND by its hash;
//! of the others a person must look.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use lnd::Hash;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Audit, Begun, NewRequest, Noted, RequestState};
use twin::node::PaymentState;

use super::{
    caller::Caller,
    describe::{Gap, Json, Operation, Output, Schemas, is_idempotency_key},
    problem::{Code, Problem},
    types::{Amount, Time},
};
use crate::{language::carried, shared::House};

/// So long a request waits for the end; every answer must be there within 30 s.
const PATIENCE: Duration = Duration::from_secs(20);
/// LND is asked for so long what became of a payment.
const GLANCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Progress {
    /// It goes on. Ask again.
    Running,
    Done,
    /// Nothing was done.
    Failed,
    /// It may have been done. Look, do not try again.
    Unknown,
}

impl Progress {
    fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// How something ended, as the store keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Ending {
    pub(crate) detail: String,
    pub(crate) payment_hash: Option<String>,
    /// Millisatoshis.
    pub(crate) fee: Option<twin::MilliSat>,
    pub(crate) proof: Option<String>,
    /// What the receiver's service wants to be shown.
    pub(crate) message: Option<String>,
    pub(crate) txid: Option<String>,
    pub(crate) channel: Option<String>,
}

/// What became of a request with an Idempotency-Key.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RequestOutcome")]
pub(crate) struct Outcome {
    idempotency_key: String,
    /// `pay`, `open_channel` or `close_channel`.
    action: String,
    state: Progress,
    /// A sentence for a person; may be empty.
    detail: String,
    created_at: Time,
    /// Of a payment by Lightning.
    payment_hash: Option<String>,
    /// What its ways cost, once it is paid.
    fee_msat: Option<Amount>,
    /// The preimage: proves that it was paid.
    preimage: Option<String>,
    /// Of a payment to a Lightning address: what its service wants to be shown. A stranger's text.
    message: Option<String>,
    /// Of a payment on the chain, or the transaction that closes a channel.
    txid: Option<String>,
    /// Of a new channel: its funding output, `txid:index`.
    channel_point: Option<String>,
}

/// A request that is to be carried out once.
pub(crate) struct Order {
    pub(crate) caller: Caller,
    /// The key of idempotence.
    pub(crate) name: String,
    pub(crate) action: &'static str,
    /// What was asked, for telling whether the name is used for the same again.
    pub(crate) content: String,
    /// A payment hash, or empty.
    pub(crate) subject: String,
    /// The most it may cost, millisatoshis.
    pub(crate) cost: u64,
    pub(crate) entry: Audit,
}

impl Order {
    fn digest(&self) -> [u8; 32] {
        use sha2::{Digest, Sha256};
        Sha256::new().chain_update(self.action).chain_update([0]).chain_update(&self.content).finalize().into()
    }
}

/// What the work says at its end; the amount is what it did cost, millisatoshis, where that is known.
pub(crate) type Ended = (RequestState, Ending, Option<u64>);

/// What became of an earlier request under the same name, if there was one.
pub(crate) async fn before(house: &Arc<House>, order: &Order) -> Result<Option<Answer>, Problem> {
    let noted = house.store.request(order.caller.id(), order.name.clone()).await?;
    match noted {
        Some(noted) => told(house, order, noted).await.map(Some),
        None => Ok(None),
    }
}

/// Carries `work` out, unless that was done before.
pub(crate) async fn once(
    house: &Arc<House>,
    order: Order,
    work: impl Future<Output = Ended> + Send + 'static,
) -> Result<Answer, Problem> {
    let day_max = order.caller.limits().map(|(_, day)| day).filter(|_| order.cost > 0);
    let request = NewRequest {
        caller: order.caller.id(),
        name: order.name.clone(),
        action: order.action,
        content: order.digest(),
        subject: order.subject.clone(),
        cost: order.cost,
        day_max,
    };
    let id = match house.store.begin_request(request, order.entry.clone()).await? {
        Begun::New(id) => id,
        Begun::Before(noted) => return told(house, &order, noted).await,
        Begun::OverDay { left } => {
            let detail = format!("{left} msat are left to this key for now. Wait, or make a key with a higher limit.");
            return Err(Problem::new(Code::DayLimit, detail));
        }
    };
    // Beside the request: a program that hangs up must not stop a payment half way, nor leave it unnoted.
    let task = tokio::spawn(carried({
        let house = house.clone();
        async move {
            let (state, ending, cost) = work.await;
            note(&house, id, state, &ending, cost).await;
            (state, ending)
        }
    }));
    let (state, ending) = match tokio::time::timeout(PATIENCE, task).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(_)) => (RequestState::Unknown, Ending::default()),
        Err(_) => (RequestState::Running, Ending::default()),
    };
    let noted = Noted {
        id,
        action: order.action.into(),
        content: [0; 32],
        subject: order.subject,
        state,
        answer: String::new(),
        created: order.entry.at,
    };
    Ok(Answer(outcome(order.name, &noted, ending)))
}

async fn note(house: &House, id: u64, state: RequestState, ending: &Ending, cost: Option<u64>) {
    let answer = serde_json::to_string(ending).unwrap_or_default();
    if let Err(error) = house.store.end_request(id, state, answer, cost).await {
        tracing::warn!(%error, "what came of a request is not saved: it stays marked as running");
    }
}

async fn told(house: &Arc<House>, order: &Order, noted: Noted) -> Result<Answer, Problem> {
    if noted.content != order.digest() {
        let outcome = look(house, order.name.clone(), noted).await;
        let detail = format!(
            "It belongs to another request ('{}', which is {}): use a new one for each thing that is to be done. If this \
             was meant to be the same, look at /api/v1/requests/{} before anything else.",
            outcome.action,
            outcome.state.name(),
            outcome.idempotency_key
        );
        return Err(Problem::new(Code::IdempotencyKeyReused, detail));
    }
    Ok(Answer(look(house, order.name.clone(), noted).await))
}

/// What is known of it now.
async fn look(house: &Arc<House>, name: String, mut noted: Noted) -> Outcome {
    let mut ending: Ending = serde_json::from_str(&noted.answer).unwrap_or_default();
    if noted.state == RequestState::Unknown
        && let Ok(hash) = noted.subject.parse::<Hash>()
        && let Some((state, found, cost)) = found(house, hash).await
    {
        if state != RequestState::Running {
            note(house, noted.id, state, &found, cost).await;
        }
        (noted.state, ending) = (state, found);
    }
    outcome(name, &noted, ending)
}

/// What LND says became of a payment that nobody here follows any more; `None` while it cannot say.
async fn found(house: &House, hash: Hash) -> Option<Ended> {
    let asked = async {
        let mut paying = house.node.client.track(hash).await?;
        paying.next().await
    };
    match tokio::time::timeout(GLANCE, asked).await.ok()? {
        Ok(Some(progress)) => Some(match progress.payment.state {
            PaymentState::Succeeded => {
                let (fee, amount) = (progress.payment.fee, progress.payment.amount);
                let proof = progress.preimage.map(|preimage| preimage.expose());
                let ending =
                    Ending { payment_hash: Some(hash.to_string()), fee: Some(fee), proof, ..Ending::default() };
                (RequestState::Done, ending, amount.checked_add(fee).map(twin::MilliSat::get))
            }
            PaymentState::InFlight => (RequestState::Running, Ending::default(), None),
            PaymentState::Failed(_) => (RequestState::Failed, failed("The payment failed; nothing was paid."), None),
        }),
        // It was noted here, and the power went before LND heard of it.
        Err(lnd::Error::NotFound(_)) => Some((RequestState::Failed, failed("It never reached the node."), None)),
        _ => None,
    }
}

fn failed(detail: &str) -> Ending {
    Ending { detail: detail.into(), ..Ending::default() }
}

fn outcome(idempotency_key: String, noted: &Noted, ending: Ending) -> Outcome {
    let state = match noted.state {
        RequestState::Running => Progress::Running,
        RequestState::Done => Progress::Done,
        RequestState::Failed => Progress::Failed,
        RequestState::Unknown => Progress::Unknown,
    };
    Outcome {
        idempotency_key,
        action: noted.action.clone(),
        state,
        detail: ending.detail,
        created_at: Time(noted.created),
        payment_hash: Some(noted.subject.clone()).filter(|hash| !hash.is_empty()).or(ending.payment_hash),
        fee_msat: ending.fee.map(Amount::from),
        preimage: ending.proof,
        message: ending.message,
        txid: ending.txid,
        channel_point: ending.channel,
    }
}

/// The answer to a request that is done once: 200 done, 202 on its way, 409 not done or not known.
pub(crate) struct Answer(Outcome);

impl Output for Answer {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        let schema = schemas.written.subschema_for::<Outcome>();
        for (status, about) in [("200", "Done"), ("202", "On its way: ask /api/v1/requests/{idempotency_key}")] {
            let answer = json!({ "description": about, "content": { "application/json": { "schema": schema } } });
            operation.responses.insert(status.into(), answer);
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let Self(outcome) = self;
        match outcome.state {
            Progress::Done => Json::<_, 200>(outcome).into_response(),
            Progress::Running => Json::<_, 202>(outcome).into_response(),
            Progress::Failed => {
                let why =
                    if outcome.detail.is_empty() { "It failed; nothing was done.".into() } else { outcome.detail };
                Problem::new(Code::NothingDone, why).into_response()
            }
            Progress::Unknown => {
                let detail =
                    "It may have been done. Look at the payments, transactions and channels before you try again.";
                Problem::new(Code::OutcomeUnknown, detail).into_response()
            }
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Name {
    /// The Idempotency-Key.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{8,64}$"))]
    key: String,
}

/// `GET /requests/{key}`.
pub(crate) async fn get(
    State(house): State<Arc<House>>,
    caller: Caller,
    Gap(Name { key }): Gap<Name>,
) -> Result<Json<Outcome>, Problem> {
    let noted = match is_idempotency_key(&key) {
        true => house.store.request(caller.id(), key.clone()).await?,
        false => None,
    };
    let noted = noted.ok_or_else(|| Problem::not_found("request of yours"))?;
    Ok(Json(look(&house, key, noted).await))
}
