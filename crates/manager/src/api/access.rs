//! Who may use the box beside programs: sessions and phones. A phone that may do everything needs the owner's password:
//! no key is to make itself a wider one.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, Uri},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    caller::Caller,
    describe::{Body, Gap, Input, Json, Nothing, Query},
    keys::Scope,
    node::there,
    owner::{FactorCode, Password, prove},
    problem::{Code, Problem},
    types::{Page, Part, Short, Time},
};
use crate::{
    access::phones::{PhoneError, Rights, lndconnect},
    pages::access::{
        phones::{self, Door},
        sessions,
    },
    shared::House,
};

type Home = State<Arc<House>>;

impl Input for HeaderMap {}
impl Input for Uri {}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Session")]
pub(crate) struct SessionOut {
    /// What it is ended by.
    name: String,
    address: String,
    /// As it calls itself, in short; may be empty.
    browser: String,
    begun_at: Time,
    seen_at: Time,
    /// The one that asks.
    own: bool,
}

/// `GET /sessions`.
pub(crate) async fn list(
    State(house): Home,
    caller: Caller,
    Query(part): Query<Part>,
) -> Result<Json<Page<SessionOut>>, Problem> {
    let page = part.of(&house.sessions.list(caller.token()), |session| SessionOut {
        name: session.name.clone(),
        address: session.address.clone(),
        browser: session.browser.clone(),
        begun_at: Time(session.created),
        seen_at: Time(session.last_seen),
        own: session.is_own,
    });
    page.map(Json).map_err(Problem::invalid)
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct SessionName {
    /// The session's name in the list.
    #[schemars(regex(pattern = r"^[0-9a-f]{16}$"))]
    name: String,
}

/// `DELETE /sessions/{name}`.
pub(crate) async fn end(
    State(house): Home,
    caller: Caller,
    Gap(SessionName { name }): Gap<SessionName>,
) -> Result<Nothing, Problem> {
    let entry = |detail| caller.audit("session-ended", detail);
    match sessions::end_named(&house, caller.token(), &name, entry).await? {
        true => Ok(Nothing),
        false => Err(Problem::not_found("other session")),
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Phone")]
pub(crate) struct PhoneOut {
    /// What it is ended by.
    key: String,
    name: String,
    /// `read`, `invoices` or `all`.
    rights: &'static str,
    paired_at: Time,
    /// When it was last here, since the manager's start.
    seen_at: Option<Time>,
    /// It gets no further; LND may still know its key.
    ended: bool,
}

/// `GET /phones`.
pub(crate) async fn phones(State(house): Home, Query(part): Query<Part>) -> Result<Json<Page<PhoneOut>>, Problem> {
    let page = part.of(&house.phones.list(), |phone| PhoneOut {
        key: phone.key.to_string(),
        name: phone.name.clone(),
        rights: phone.rights.name(),
        paired_at: Time(phone.made),
        seen_at: house.phones.seen(phone.key).map(Time),
        ended: phone.ended,
    });
    page.map(Json).map_err(Problem::invalid)
}

/// What a phone that is paired over the API may do, and never more than the key that asks.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "PhoneRights")]
pub(crate) enum Wanted {
    /// See everything. The key needs the scope `read`, too.
    Read,
    /// Make invoices and see them. The key needs the scope `invoices`, too.
    Invoices,
    /// Everything: pay, open and close channels. The key needs the scope `access`, too, and the request the password.
    All,
}

/// A phone to be paired.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PairPhone")]
pub(crate) struct Pair {
    name: Short<40>,
    rights: Wanted,
    /// Under what the phone reaches the box: one of its addresses, or its name [default: as this request came].
    #[serde(default)]
    host: Option<Short<255>>,
    /// The owner's, with the rights `all`.
    #[serde(default)]
    password: Password,
    /// The same, where the second factor is on: a code of it.
    #[serde(default)]
    code: FactorCode,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PairedPhone")]
pub(crate) struct Paired {
    /// For the phone, for gRPC and for REST. It is told this once and kept nowhere: whoever has it is the phone.
    lndconnect: String,
}

/// `POST /phones`.
pub(crate) async fn pair(
    State(house): Home,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    Body(ask): Body<Pair>,
) -> Result<Json<Paired, 201>, Problem> {
    let (rights, needed) = match ask.rights {
        Wanted::Read => (Rights::Read, Scope::Read),
        Wanted::Invoices => (Rights::Invoices, Scope::Invoices),
        Wanted::All => (Rights::All, Scope::Access),
    };
    caller.need(needed)?;
    let name = phones::named(&ask.name.0);
    if name.is_empty() {
        return Err(Problem::invalid("the phone needs a name"));
    }
    let door = Door::of(&house, &uri, &headers);
    let host = match &ask.host {
        None => door.hosts.first(),
        Some(wanted) => door.hosts.iter().find(|host| **host == wanted.0),
    };
    let host = host.ok_or_else(|| Problem::invalid("the host is none of the box's addresses and not its name"))?;
    there(&house)?;
    if rights == Rights::All {
        prove(&house, &caller, ask.password, &ask.code).await?;
    }
    let entry = caller.audit("phone-paired", format!("{name} ({})", rights.name()));
    let macaroon = house.phones.pair(&house.node.client, &name, rights, entry).await.map_err(refused)?;
    let url = lndconnect(host, door.port, house.shared.authority.der(), &macaroon);
    Ok(Json(Paired { lndconnect: url.expose().clone() }))
}

fn refused(error: PhoneError) -> Problem {
    match error {
        PhoneError::Own(error) => error.into(),
        PhoneError::Lnd(error) => error.into(),
        error @ (PhoneError::Full | PhoneError::Twice) => Problem::invalid(error.to_string()),
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct PhoneKey {
    /// The phone's key in the list.
    #[schemars(regex(pattern = r"^[0-9]{1,20}$"))]
    phone: String,
}

/// `DELETE /phones/{phone}`: at once, even with LND away; then LND has yet to forget it, which is told as a problem.
pub(crate) async fn end_phone(
    State(house): Home,
    caller: Caller,
    Gap(PhoneKey { phone }): Gap<PhoneKey>,
) -> Result<Nothing, Problem> {
    let key = phone.parse::<u64>().ok();
    let found = house.phones.list().into_iter().find(|phone| Some(phone.key) == key);
    let phone = found.ok_or_else(|| Problem::not_found("phone"))?;
    match house.phones.end(&house.node.client, phone.key, caller.audit("phone-ended", phone.name)).await {
        Ok(()) => Ok(Nothing),
        Err(PhoneError::Lnd(_)) => {
            let detail = "The phone gets no further from now on. LND does not answer and still knows its key: end it once more later.";
            Err(Problem::new(Code::NodeAway, detail))
        }
        Err(error) => Err(refused(error)),
    }
}
