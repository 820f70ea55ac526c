//! `FakeLnd`: answers what the manager's watchers ask, as LND would for a large node that nothing happens to. A fake for
//! a measurement alone: whether money moves right is tested with real nodes.

use std::{
    convert::Infallible,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    HeaderMap, Request, Response,
    body::{Bytes, Frame, Incoming},
    header::HeaderValue,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lnd::proto::lnrpc;
use prost::Message;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
};
use tokio_rustls::TlsAcceptor;

use crate::report::{Outcome, ensure};

/// What the node has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) channels: u64,
    pub(super) payments: u64,
    pub(super) invoices: u64,
}

/// A day in the life of a chain.
const NOW: i64 = 1_795_000_000;
const HEIGHT: u32 = 900_000;

type Body = BoxBody<Bytes, Infallible>;

/// Ends with this value.
pub(super) struct FakeLnd {
    _runtime: Runtime,
    /// The last page of payments was asked for.
    read: Arc<AtomicBool>,
}

impl FakeLnd {
    /// Listens on `port`, with its certificate and its macaroon in `folder` as LND has them.
    pub(super) fn start(port: u16, folder: &Path, size: Size) -> Outcome<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let key = rcgen::KeyPair::generate()?;
        let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
        let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], secret)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", port)))?;
        fs::write(folder.join("admin.macaroon"), b"a macaroon of a fake")?;
        fs::write(folder.join("tls.cert"), certificate.pem())?;
        let read = Arc::new(AtomicBool::new(false));
        let flag = read.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, flag) = (acceptor.clone(), flag.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| answer(request, size, flag.clone()));
                    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(Self { _runtime: runtime, read })
    }

    /// Fails until the manager has read all payments.
    pub(super) fn was_read(&self) -> Outcome {
        ensure!(self.read.load(Ordering::Acquire), "the manager has not read all payments");
        Ok(())
    }
}

async fn answer(request: Request<Incoming>, size: Size, read: Arc<AtomicBool>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let bytes = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    // One flag byte and four of length are in front of the message.
    let message = bytes.get(5..).unwrap_or_default();
    let method = path.rsplit('/').next().unwrap_or_default();
    let response = match method {
        "SubscribeState" => {
            let state = lnrpc::SubscribeStateResponse { state: lnrpc::WalletState::ServerActive.into() };
            streamed(Some(state.encode_to_vec()))
        }
        _ if method.starts_with("Subscribe") || method.starts_with("Track") || method.starts_with("Register") => {
            streamed(None)
        }
        _ => match told(method, message, size, &read) {
            Some(message) => once(&message),
            None => refused(method),
        },
    };
    Ok(response)
}

/// A message as gRPC frames it.
fn framed(message: &[u8]) -> Bytes {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(message);
    bytes.into()
}

fn response(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

fn once(message: &[u8]) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    response(Full::new(framed(message)).with_trailers(async move { Some(Ok(trailers)) }).boxed())
}

/// A stream that goes on for ever and tells nothing more.
fn streamed(first: Option<Vec<u8>>) -> Response<Body> {
    let first = stream::iter(first.map(|message| Ok(Frame::data(framed(&message)))));
    response(BodyExt::boxed(StreamBody::new(first.chain(stream::pending()))))
}

fn refused(method: &str) -> Response<Body> {
    let mut response = response(Full::new(Bytes::new()).boxed());
    response.headers_mut().insert("grpc-status", HeaderValue::from_static("12"));
    if let Ok(value) = HeaderValue::from_str(&format!("FakeLnd does not know {method}")) {
        response.headers_mut().insert("grpc-message", value);
    }
    response
}

/// The answer to a single question.
fn told(method: &str, message: &[u8], size: Size, read: &AtomicBool) -> Option<Vec<u8>> {
    let answer = match method {
        "GetState" => lnrpc::GetStateResponse { state: lnrpc::WalletState::ServerActive.into() }.encode_to_vec(),
        "GetInfo" => lnrpc::GetInfoResponse {
            identity_pubkey: key(0),
            alias: "a large node".into(),
            block_height: HEIGHT,
            block_hash: "00".repeat(32),
            synced_to_chain: true,
            uris: vec![format!("{}@192.0.2.1:9735", key(0))],
            best_header_timestamp: NOW,
            version: "0.21.2-beta".into(),
            chains: vec![lnrpc::Chain { network: "mainnet".into() }],
            synced_to_graph: true,
        }
        .encode_to_vec(),
        "GetNetworkInfo" => {
            lnrpc::NetworkInfo { num_nodes: 17_000, num_channels: 44_000, total_network_capacity: 5 << 38 }
                .encode_to_vec()
        }
        "GetRecoveryInfo" => lnrpc::GetRecoveryInfoResponse::default().encode_to_vec(),
        "WalletBalance" => {
            lnrpc::WalletBalanceResponse { confirmed_balance: 12_345_678, ..Default::default() }.encode_to_vec()
        }
        "ChannelBalance" => {
            let amount = |sat: u64| Some(lnrpc::Amount { msat: sat * 1000 });
            let total = size.channels * 1_000_000;
            lnrpc::ChannelBalanceResponse {
                local_balance: amount(total),
                remote_balance: amount(total),
                ..Default::default()
            }
            .encode_to_vec()
        }
        "ListChannels" => {
            lnrpc::ListChannelsResponse { channels: (1..=size.channels).map(channel).collect() }.encode_to_vec()
        }
        "PendingChannels" => lnrpc::PendingChannelsResponse::default().encode_to_vec(),
        "ClosedChannels" => lnrpc::ClosedChannelsResponse::default().encode_to_vec(),
        "ListPeers" => lnrpc::ListPeersResponse { peers: (1..=size.channels).map(peer).collect() }.encode_to_vec(),
        "GetTransactions" => {
            lnrpc::TransactionDetails { transactions: (1..=size.channels * 2).map(transaction).collect() }
                .encode_to_vec()
        }
        "ListPayments" => {
            let asked = lnrpc::ListPaymentsRequest::decode(message).ok()?;
            let numbers = page(size.payments, asked.index_offset, asked.max_payments, asked.reversed);
            if !asked.reversed && numbers.clone().next_back().is_none_or(|last| last == size.payments) {
                read.store(true, Ordering::Release);
            }
            lnrpc::ListPaymentsResponse { payments: numbers.map(payment).collect(), ..Default::default() }
                .encode_to_vec()
        }
        "ListInvoices" => {
            let asked = lnrpc::ListInvoiceRequest::decode(message).ok()?;
            let numbers = page(size.invoices, asked.index_offset, asked.num_max_invoices, asked.reversed);
            lnrpc::ListInvoiceResponse { invoices: numbers.map(invoice).collect(), ..Default::default() }
                .encode_to_vec()
        }
        "BakeMacaroon" => lnrpc::BakeMacaroonResponse { macaroon: "00ff".into() }.encode_to_vec(),
        "CheckMacaroonPermissions" => lnrpc::CheckMacPermResponse { valid: true }.encode_to_vec(),
        "ListMacaroonIDs" => lnrpc::ListMacaroonIDsResponse::default().encode_to_vec(),
        "ExportAllChannelBackups" => {
            let points = (1..=size.channels).map(|number| lnrpc::ChannelPoint {
                funding_txid: Some(lnrpc::channel_point::FundingTxid::FundingTxidBytes(vec![number as u8; 32])),
                output_index: 0,
            });
            lnrpc::ChanBackupSnapshot {
                multi_chan_backup: Some(lnrpc::MultiChanBackup {
                    chan_points: points.collect(),
                    multi_chan_backup: vec![7; size.channels as usize * 300],
                }),
            }
            .encode_to_vec()
        }
        _ => return None,
    };
    Some(answer)
}

/// The numbers of a page, as LND counts them: from 1, after the offset, or before it when reversed.
fn page(total: u64, offset: u64, count: u64, reversed: bool) -> std::ops::RangeInclusive<u64> {
    if reversed {
        let end = if offset == 0 { total } else { offset.saturating_sub(1).min(total) };
        end.saturating_sub(count) + 1..=end
    } else {
        offset + 1..=(offset + count).min(total)
    }
}

fn key(number: u64) -> String {
    format!("02{number:064x}")
}

fn hash(number: u64) -> String {
    format!("{:064x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn channel(number: u64) -> lnrpc::Channel {
    lnrpc::Channel {
        active: !number.is_multiple_of(9),
        remote_pubkey: key(number),
        channel_point: format!("{}:1", hash(number)),
        chan_id: (800_000 + number) << 40,
        capacity: 2_000_000,
        local_balance: 1_000_000,
        remote_balance: 1_000_000,
        total_satoshis_sent: 123_456 * number as i64,
        total_satoshis_received: 654_321,
        initiator: true,
        chan_status_flags: "ChanStatusDefault".into(),
        lifetime: 1_000_000,
        uptime: 999_999,
        local_constraints: Some(lnrpc::ChannelConstraints { chan_reserve_sat: 20_000 }),
        remote_constraints: Some(lnrpc::ChannelConstraints { chan_reserve_sat: 20_000 }),
        peer_alias: format!("a peer of some name, number {number}"),
        ..Default::default()
    }
}

fn peer(number: u64) -> lnrpc::Peer {
    lnrpc::Peer {
        pub_key: key(number),
        address: format!("192.0.2.{}:9735", number % 250),
        flap_count: 3,
        ..Default::default()
    }
}

fn transaction(number: u64) -> lnrpc::Transaction {
    lnrpc::Transaction {
        tx_hash: hash(number),
        amount: -21_000,
        num_confirmations: 6,
        block_height: HEIGHT as i32 - number as i32,
        time_stamp: NOW - number as i64 * 600,
        total_fees: 500,
        label: "openchannel".into(),
    }
}

fn payment(number: u64) -> lnrpc::Payment {
    let status = if number.is_multiple_of(7) {
        lnrpc::payment::PaymentStatus::Failed
    } else {
        lnrpc::payment::PaymentStatus::Succeeded
    };
    lnrpc::Payment {
        payment_hash: hash(number),
        payment_preimage: hash(number + 1),
        value_msat: 1_000 * number as i64,
        // As long as real ones, which the manager must not keep.
        payment_request: "lnbc1".repeat(60),
        status: status.into(),
        fee_msat: 1_234,
        creation_time_ns: (NOW - 20_000 + number as i64) * 1_000_000_000,
        payment_index: number,
        ..Default::default()
    }
}

fn invoice(number: u64) -> lnrpc::Invoice {
    lnrpc::Invoice {
        memo: format!("order number {number}, with a text of some length"),
        r_preimage: vec![1; 32],
        r_hash: vec![number as u8; 32],
        creation_date: NOW - 20_000 + number as i64,
        settle_date: NOW - 19_990 + number as i64,
        payment_request: "lnbc1".repeat(60),
        expiry: 3600,
        add_index: number,
        amt_paid_msat: 21_000,
        state: lnrpc::invoice::InvoiceState::Settled.into(),
        value_msat: 21_000,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::page;

    #[test]
    fn pages_are_counted_as_lnd_counts_them() {
        assert_eq!(page(10, 0, 4, false), 1..=4);
        assert_eq!(page(10, 8, 4, false), 9..=10);
        assert_eq!(page(10, 10, 4, false).count(), 0);
        assert_eq!(page(10, 0, 4, true), 7..=10);
        assert_eq!(page(10, 3, 4, true), 1..=2);
    }
}
