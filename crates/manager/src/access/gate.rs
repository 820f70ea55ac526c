//! The gate for paired phones: gRPC calls on the manager's own HTTPS ports, handed on to LND. REST calls go through
//! [`super::rest`], by the same rules.
//!
//! LND itself stays on loopback. A call passes when its method is one that phones need and its macaroon names the root
//! key of a paired phone; LND then judges the macaroon itself. So no port is opened, who has no phone cannot even ask
//! LND for its state, and the macaroons of this program and of the administrator are of no use from outside.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use hyper::body::{Frame, SizeHint};
use zeroize::Zeroizing;

use super::rest;
use crate::shared::House;

/// LND's services that a phone may call. Not among them: the wallet's unlocker, which needs no macaroon.
const SERVICES: [&str; 7] = [
    "lnrpc.Lightning",
    "lnrpc.State",
    "routerrpc.Router",
    "invoicesrpc.Invoices",
    "walletrpc.WalletKit",
    "chainrpc.ChainNotifier",
    "signrpc.Signer",
];
/// Headers that go on to LND; the others are about the connection to here.
const PASSED: [&str; 6] = ["content-type", "te", "macaroon", "grpc-timeout", "grpc-encoding", "grpc-accept-encoding"];
/// Bytes of a macaroon's hexadecimal text: one with all rights has some 600.
const LONGEST: usize = 4096;

/// Codes of gRPC.
#[derive(Clone, Copy)]
enum Refusal {
    PermissionDenied = 7,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// The layer before all others: takes calls of phones out of the way of pages.
pub(crate) async fn gate(State(house): State<Arc<House>>, request: Request, next: Next) -> Response {
    let kind = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if rest::is_for(request.uri().path()) {
        return rest::answer(&house, request).await;
    }
    if !kind.starts_with(b"application/grpc") {
        return next.run(request).await;
    }
    match pass(&house, request).await {
        Ok(answer) => answer,
        Err((code, words)) => refused(code, words),
    }
}

async fn pass(house: &House, request: Request) -> Result<Response, (Refusal, &'static str)> {
    let key = key_of(request.headers()).filter(|key| house.phones.admits(*key));
    let key = key.ok_or((Refusal::Unauthenticated, "this phone is not paired with the box"))?;
    if !is_for_phones(request.uri().path()) {
        return Err((Refusal::PermissionDenied, "this method is not for phones"));
    }
    let (parts, body) = request.into_parts();
    let mut call = axum::http::Request::new(body);
    *call.method_mut() = parts.method;
    *call.uri_mut() = parts.uri.path().parse().map_err(|_| (Refusal::PermissionDenied, "this is no method"))?;
    for name in PASSED {
        if let Some(value) = parts.headers.get(name) {
            call.headers_mut().insert(HeaderName::from_static(name), value.clone());
        }
    }
    let ended = Box::pin(house.phones.ended(key));
    // A phone that is ended while its call waits for LND's first word is not to wait any longer.
    tokio::select! {
        answer = house.node.passage.pass(call) => {
            let answer = answer.map_err(|error| {
                tracing::debug!(%error, "a phone's call did not reach LND");
                (Refusal::Unavailable, "LND does not answer at the moment")
            })?;
            let ended = Box::pin(house.phones.ended(key));
            Ok(answer.map(|body| Body::new(Guarded { body: Body::new(body), ended })))
        }
        () = ended => Err((Refusal::Unauthenticated, "this phone is not paired with the box any more")),
    }
}

/// The root key that the call's macaroon names.
fn key_of(headers: &HeaderMap) -> Option<u64> {
    root_key(headers.get("macaroon")?.as_bytes())
}

/// The root key that a macaroon in hexadecimal names.
pub(super) fn root_key(text: &[u8]) -> Option<u64> {
    let macaroon = Zeroizing::new(hex::decode(text.get(..text.len().min(LONGEST))?).ok()?);
    lnd::macaroon::root_key_of(&macaroon)
}

/// `/<service>/<method>`, with a service of the list.
fn is_for_phones(path: &str) -> bool {
    let mut parts = path.strip_prefix('/').unwrap_or_default().split('/');
    let (service, method) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let is_word = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_alphanumeric());
    SERVICES.contains(&service) && is_word && parts.next().is_none()
}

/// An answer without a body: gRPC reads the code in the head.
fn refused(code: Refusal, words: &'static str) -> Response {
    let mut answer = ().into_response();
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(code as u16));
    headers.insert("grpc-message", HeaderValue::from_static(words));
    answer
}

/// An answer that ends with its phone.
pub(super) struct Guarded<F> {
    pub(super) body: Body,
    pub(super) ended: Pin<Box<F>>,
}

impl<F: Future<Output = ()>> HttpBody for Guarded<F> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.ended.as_mut().poll(context).is_ready() {
            let ended = std::io::Error::other("the phone is not paired any more");
            return Poll::Ready(Some(Err(axum::Error::new(ended))));
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::*;
    use crate::http::tests::visit;

    #[test]
    fn phones_call_lnd_and_never_the_unlocker() {
        for path in ["/lnrpc.Lightning/GetInfo", "/routerrpc.Router/SendPaymentV2", "/lnrpc.State/SubscribeState"] {
            assert!(is_for_phones(path), "{path}");
        }
        for path in [
            "/lnrpc.WalletUnlocker/InitWallet",
            "/lnrpc.WalletUnlocker/ChangePassword",
            "/lnrpc.Lightning",
            "/lnrpc.Lightning/",
            "/lnrpc.Lightning/../lnrpc.WalletUnlocker/InitWallet",
            "/lnrpc.Lightning/GetInfo/x",
            "//lnrpc.Lightning/GetInfo",
            "lnrpc.Lightning/GetInfo",
            "/LNRPC.Lightning/GetInfo",
            "",
        ] {
            assert!(!is_for_phones(path), "{path}");
        }
    }

    proptest::proptest! {
        // Anybody in the home network can send them.
        #[test]
        fn no_bytes_of_a_stranger_make_it_fall_over(bytes in proptest::collection::vec(0_u8..=255, 0..200)) {
            root_key(&bytes);
            root_key(hex::encode(&bytes).as_bytes());
        }

        #[test]
        fn no_path_leads_to_the_unlocker(before in "[/a-zA-Z.]{0,12}", between in "[/.%2fF]{0,4}", method in "[A-Za-z/]{1,10}") {
            let path = format!("{before}{between}lnrpc.WalletUnlocker/{method}");
            proptest::prop_assert!(!is_for_phones(&path), "{}", path);
        }
    }

    #[tokio::test]
    async fn without_a_paired_phone_no_call_passes() {
        let mut visit = visit().await;
        for macaroon in ["", "zz", "0201", "02010300"] {
            let headers = [("content-type", "application/grpc"), ("macaroon", macaroon)];
            let mut request = axum::http::Request::builder().method(Method::POST).uri("/lnrpc.Lightning/GetInfo");
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let answer = crate::http::tests::send(&visit.router, request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.headers.get("grpc-status").unwrap(), "16", "{macaroon:?}");
            assert!(answer.text.is_empty());
        }
        // Without the type of gRPC it is a page that does not exist, for who is not signed in.
        let answer = visit.get("/lnrpc.Lightning/GetInfo").await;
        assert!(answer.status.is_redirection());
    }
}
