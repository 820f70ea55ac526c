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
    pages::{audit, claim, health, home, node, password, recovery, restart, settings, setup, sign_in, trust},
    shared::{House, Shared},
};

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Access {
    Public,
    /// Who typed the claim code, and has not set the password yet.
    Claimer,
    /// Who is signed in.
    Owner,
}

pub(crate) struct Route<S> {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    handler: MethodRouter<S>,
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
    table![
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
        GET  "/receive"                Owner node::receive::get,
        POST "/receive/invoice"        Owner node::receive::invoice,
        GET  "/receive/invoice/{hash}" Owner node::receive::shown,
        POST "/receive/address"        Owner node::receive::address,
        GET  "/send"                   Owner node::send::get,
        POST "/send"                   Owner node::send::read,
        GET  "/send/{ticket}"          Owner node::send::ticket,
        POST "/send/{ticket}"          Owner node::send::confirm,
        GET  "/channels"               Owner node::channels::get,
        POST "/channels/open"          Owner node::channels::open,
        POST "/channels/close"         Owner node::channels::close,
        POST "/peers/connect"          Owner node::channels::connect,
        POST "/peers/disconnect"       Owner node::channels::disconnect,
        GET  "/setup"                  Owner setup::start,
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
        GET  "/setup/summary"          Owner setup::summary::get,
        POST "/setup/apply"            Owner setup::summary::post,
        GET  "/restart"           Owner   restart::get,
        POST "/restart"           Owner   restart::post,
    ]
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
    // Layers wrap the fall-backs, too: without a session nobody learns which paths exist.
    outer(router.layer(guarded)).with_state(house)
}

pub(crate) fn recovery_router(shared: Arc<Shared>) -> Router {
    outer(assemble(recovery_table()).fallback(recovery::elsewhere)).with_state(shared)
}

fn assemble<S: Clone + Send + Sync + 'static>(table: Vec<Route<S>>) -> Router<S> {
    let router = table.into_iter().fold(Router::new(), |router, route| router.route(route.path, route.handler));
    router.method_not_allowed_fallback(|| async { Fail::Method })
}

fn outer<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    let foreign = |error: ProtectionError| {
        tracing::warn!(%error, "refused a request of a foreign page");
        Fail::Foreign.into_response()
    };
    router
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(CsrfLayer::new().with_rejection_response(foreign))
        .layer(from_fn(limit_time))
        .layer(from_fn(headers::secure))
}

/// The table as `homebolt-manager routes` prints it, one JSON object a line.
pub(crate) fn listed<S>(table: &[Route<S>]) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        method: &'a str,
        path: &'a str,
        access: Access,
    }
    let line = |route: &Route<S>| {
        let line = Line { method: route.method.as_str(), path: route.path, access: route.access };
        serde_json::to_string(&line).unwrap_or_default() + "\n"
    };
    table.iter().map(line).collect()
}
