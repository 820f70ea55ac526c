//! The table of all routes. Each says who may use it; the router is made from the table and from nothing else.

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::Method,
    middleware::{from_fn, from_fn_with_state},
    response::IntoResponse,
    routing::{MethodFilter, MethodRouter, on},
};
use serde::Serialize;
use tower_http::csrf::{CsrfLayer, ProtectionError};

use super::{
    BODY_LIMIT, assets,
    fail::Fail,
    guard::{Guard, guard, limit_time},
    headers,
};
use crate::{
    access::gate::gate,
    api::{self, Scope, problem::instead_of_page},
    language::speak,
    pages::{
        access, api as api_docs, audit, backup, backups, claim, health, home, keys, logs, network, node, password,
        payments, place, recovery, restart, services, settings, setup, sign_in, support, trust, unlock, updates,
    },
    shared::{House, Shared},
};

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Public,
    /// Who typed the claim code, and has not set the password yet.
    Claimer,
    /// Who is signed in.
    Owner,
    /// A program with a key of this scope, or who is signed in.
    Key(Scope),
    /// A program with any key, or who is signed in.
    AnyKey,
}

impl Access {
    fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Claimer => "claimer",
            Self::Owner => "owner",
            Self::Key(_) | Self::AnyKey => "key",
        }
    }
}

pub(crate) struct Route<S> {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) handler: MethodRouter<S>,
}

macro_rules! table {
    ($($method:ident $path:literal $access:ident $handler:path),* $(,)?) => {
        vec![$(Route {
            method: Method::$method,
            path: $path,
            access: Access::$access,
            handler: on(MethodFilter::$method, $handler),
        }),*]
    };
}

/// The routes of a box in order.
#[rustfmt::skip]
pub(crate) fn table() -> Vec<Route<Arc<House>>> {
    let mut table = table![
        GET  "/"                  Public  home::start,
        GET  "/healthz"           Public  health::get,
        GET  "/static/{name}"     Public  assets::get,
        GET  "/trust"             Public  trust::of_house,
        GET  "/ca.crt"            Public  trust::certificate_of_house,
        GET  "/claim"             Public  claim::get,
        POST "/claim"             Public  claim::post,
        GET  "/password"          Claimer password::get,
        POST "/password"          Claimer password::post,
        GET  "/sign-in"           Public  sign_in::get,
        POST "/sign-in"           Public  sign_in::post,
        POST "/sign-out"          Owner   sign_in::out,
        GET  "/home"              Owner   home::get,
        GET  "/events"            Owner   home::events,
        GET  "/audit"             Owner   audit::get,
        GET  "/settings"          Owner   settings::get,
        POST "/settings/password" Owner   settings::change_password,
        POST "/settings/sessions" Owner   settings::end_sessions,
        GET  "/settings/sessions"              Owner access::sessions::get,
        POST "/settings/sessions/end"          Owner access::sessions::end,
        GET  "/settings/second-factor"         Owner access::factor::get,
        POST "/settings/second-factor/begin"   Owner access::factor::begin,
        POST "/settings/second-factor/confirm" Owner access::factor::confirm,
        POST "/settings/second-factor/codes"   Owner access::factor::renew,
        POST "/settings/second-factor/off"     Owner access::factor::off,
        GET  "/settings/phones"                Owner access::phones::get,
        POST "/settings/phones"                Owner access::phones::pair,
        POST "/settings/phones/end"            Owner access::phones::end,
        POST "/settings/notice"                Owner access::read,
        GET  "/settings/services"              Owner services::get,
        POST "/settings/services"              Owner services::restart,
        GET  "/logs"                           Owner logs::get,
        GET  "/logs/follow"                    Owner logs::follow,
        GET  "/logs/download"                  Owner logs::download,
        GET  "/settings/support"               Owner support::get,
        POST "/settings/support"               Owner support::make,
        POST "/settings/support/download"      Owner support::download,
        GET  "/settings/updates"               Owner updates::get,
        POST "/settings/updates"               Owner updates::set,
        POST "/settings/updates/look"          Owner updates::look,
        POST "/settings/updates/install"       Owner updates::install,
        POST "/settings/updates/cancel"        Owner updates::cancel,
        POST "/settings/updates/restart"       Owner updates::restart,
        POST "/settings/updates/switch"        Owner updates::switch,
        POST "/settings/updates/upload"        Owner updates::offline::upload,
        POST "/settings/updates/discard"       Owner updates::discard,
        GET  "/settings/updates/stick"         Owner updates::offline::stick,
        POST "/settings/updates/stick"         Owner updates::offline::open,
        GET  "/settings/updates/failed/{name}" Owner updates::failed::get,
        GET  "/settings/reset"                 Owner updates::reset::get,
        POST "/settings/reset"                 Owner updates::reset::post,
        GET  "/forgot"                         Public access::forgot::get,
        POST "/forgot"                         Public access::forgot::ask,
        POST "/forgot/reset"                   Public access::forgot::reset,
        GET  "/settings/payments"          Owner payments::get,
        POST "/settings/payments/limits"   Owner payments::limits,
        POST "/settings/payments/shown"    Owner payments::shown,
        POST "/settings/payments/servers"  Owner payments::servers,
        GET  "/receive"                Owner node::receive::get,
        POST "/receive/invoice"        Owner node::receive::invoice,
        GET  "/receive/invoice/{hash}" Owner node::receive::shown,
        POST "/receive/address"        Owner node::receive::address,
        GET  "/send"                   Owner node::send::get,
        POST "/send"                   Owner node::send::read,
        GET  "/send/{ticket}"          Owner node::send::ticket,
        POST "/send/{ticket}"          Owner node::send::confirm,
        GET  "/send/offer/{number}"    Owner node::send::offer::get,
        POST "/send/offer/{number}"    Owner node::send::offer::choose,
        GET  "/channels"               Owner node::channels::get,
        POST "/channels/open"          Owner node::channels::open,
        POST "/channels/close"         Owner node::channels::close,
        POST "/peers/connect"          Owner node::channels::connect,
        POST "/peers/disconnect"       Owner node::channels::disconnect,
        GET  "/setup"                  Owner setup::start,
        GET  "/setup/place"            Owner place::get,
        POST "/setup/place"            Owner place::post,
        GET  "/settings/place"         Owner place::settings,
        POST "/settings/place"         Owner place::change,
        GET  "/setup/network"          Owner network::in_setup,
        POST "/setup/network"          Owner network::go_on,
        POST "/setup/network/try"      Owner network::try_in_setup,
        GET  "/settings/network"       Owner network::in_settings,
        POST "/settings/network/try"   Owner network::try_in_settings,
        POST "/setup/network/wifi"     Owner network::join_in_setup,
        POST "/setup/network/wifi/scan" Owner network::scan_in_setup,
        POST "/settings/network/wifi"  Owner network::join_in_settings,
        POST "/settings/network/wifi/scan" Owner network::scan_in_settings,
        POST "/network/withdraw"       Owner network::withdraw,
        GET  "/network/confirm"        Public network::confirm::get,
        POST "/network/confirm"        Public network::confirm::post,
        GET  "/setup/disk"             Owner setup::disk::get,
        POST "/setup/disk/stay"        Owner setup::disk::stay,
        GET  "/settings/disk"          Owner setup::disk::settings,
        POST "/disk/scan"              Owner setup::disk::scan,
        POST "/disk/move"              Owner setup::disk::relocate,
        POST "/disk/cancel"            Owner setup::disk::cancel,
        POST "/disk/adopt"             Owner setup::disk::adopt,
        GET  "/setup/bitcoin"          Owner setup::bitcoin::get,
        POST "/setup/bitcoin"          Owner setup::bitcoin::post,
        GET  "/setup/bitcoin/test"     Owner setup::bitcoin::test,
        POST "/setup/bitcoin/use"      Owner setup::bitcoin::take,
        GET  "/setup/wallet"           Owner setup::wallet::get,
        POST "/setup/wallet/new"       Owner setup::wallet::new,
        GET  "/setup/wallet/words"     Owner setup::wallet::words,
        POST "/setup/wallet/written"   Owner setup::wallet::written,
        POST "/setup/wallet/check"     Owner setup::wallet::check,
        GET  "/setup/wallet/restore"   Owner setup::wallet::restore,
        POST "/setup/wallet/restore"   Owner setup::wallet::restore_given,
        GET  "/setup/backup"           Owner backup::get,
        POST "/setup/backup/later"     Owner backup::later,
        POST "/setup/backup/sticks"    Owner backup::look_for_sticks,
        GET  "/setup/backup/test"      Owner backup::test::get,
        POST "/setup/backup/host-key"  Owner backup::test::host_key,
        POST "/setup/backup/code"      Owner backup::test::code,
        POST "/setup/backup/use"       Owner backup::test::take,
        GET  "/setup/backup/{kind}"    Owner backup::form::get,
        POST "/setup/backup/{kind}"    Owner backup::form::post,
        GET  "/settings/backup"        Owner backup::get,
        GET  "/backups"                Owner backups::get,
        GET  "/backups/current"        Owner backups::current,
        POST "/backups/verify"         Owner backups::verify,
        POST "/backups/retry"          Owner backups::retry,
        POST "/backups/seen"           Owner backups::seen,
        POST "/backups/restore"        Owner backups::give,
        GET  "/unlock"                 Owner unlock::get,
        POST "/unlock"                 Owner unlock::post,
        POST "/unlock/by-hand"         Owner unlock::by_hand,
        GET  "/setup/summary"          Owner setup::summary::get,
        POST "/setup/apply"            Owner setup::summary::post,
        GET  "/restart"           Owner   restart::get,
        POST "/restart"           Owner   restart::post,
        GET  "/api"               Owner   api_docs::get,
        GET  "/settings/keys"         Owner keys::get,
        POST "/settings/keys"         Owner keys::make,
        POST "/settings/keys/revoke"  Owner keys::revoke,
    ];
    table.extend(api::route::table().into_iter().map(Into::into));
    table
}

/// The routes of a box whose data cannot be used: no wizard, no sign-in, no wallet.
#[rustfmt::skip]
pub(crate) fn recovery_table() -> Vec<Route<Arc<Shared>>> {
    table![
        GET  "/"               Public recovery::get,
        GET  "/healthz"        Public health::get,
        GET  "/static/{name}"  Public assets::get,
        GET  "/trust"          Public trust::get,
        GET  "/ca.crt"         Public trust::certificate,
        POST "/recovery"       Public recovery::post,
    ]
}

pub(crate) fn router(house: Arc<House>) -> Router {
    let table = table();
    let guarded = from_fn_with_state(Guard::new(house.clone(), &table), guard);
    let router = assemble(table).fallback(|| async { Fail::NotFound });
    let measured = from_fn_with_state(house.clone(), api::measure);
    // Layers wrap the fall-backs, too: without a session nobody learns which paths exist.
    let shared = house.shared.clone();
    let pages = outer(router.layer(guarded).layer(measured), shared);
    // Outside of all that is about pages: a phone's call may last as long as it likes.
    pages.layer(from_fn_with_state(house.clone(), gate)).with_state(house)
}

pub(crate) fn recovery_router(shared: Arc<Shared>) -> Router {
    outer(assemble(recovery_table()).fallback(recovery::elsewhere), shared.clone()).with_state(shared)
}

fn assemble<S: Clone + Send + Sync + 'static>(table: Vec<Route<S>>) -> Router<S> {
    let router = table.into_iter().fold(Router::new(), |router, route| router.route(route.path, route.handler));
    router.method_not_allowed_fallback(|| async { Fail::Method })
}

fn outer<S: Clone + Send + Sync + 'static>(router: Router<S>, shared: Arc<Shared>) -> Router<S> {
    let foreign = |error: ProtectionError| {
        tracing::warn!(%error, "refused a request of a foreign page");
        Fail::Foreign.into_response()
    };
    router
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(CsrfLayer::new().with_rejection_response(foreign))
        .layer(from_fn(limit_time))
        .layer(from_fn(instead_of_page))
        // Outside of all that can answer with a page.
        .layer(from_fn_with_state(shared, speak))
        .layer(from_fn(headers::secure))
}

/// The table as `homebolt-manager routes` prints it, one JSON object a line.
pub(crate) fn listed<S>(table: &[Route<S>]) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        method: &'a str,
        path: &'a str,
        access: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        scope: Option<Scope>,
    }
    let line = |route: &Route<S>| {
        let scope = if let Access::Key(scope) = route.access { Some(scope) } else { None };
        let line = Line { method: route.method.as_str(), path: route.path, access: route.access.name(), scope };
        serde_json::to_string(&line).unwrap_or_default() + "\n"
    };
    table.iter().map(line).collect()
}
