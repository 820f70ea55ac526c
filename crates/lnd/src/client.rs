//! Typed calls over one shared connection.

mod backups;
mod chain;
mod channels;
mod forwards;
mod graph;
mod invoices;
mod node;
mod payments;
mod wallet;

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::timeout};
use tonic::{
    Request, Response, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use twin::{MilliSat, Sat};

pub use self::{
    backups::ScbBlob,
    channels::{CloseChannel, Closed, ClosedHow, Closings, OpenChannel, OpenTo, Openings},
    forwards::{Forward, Forwards},
    invoices::NewInvoice,
    payments::{Pay, PayTo, Paying, Progress, Request as PaymentRequest},
    wallet::{NewWallet, Recovery},
};
use crate::{
    Config, Error,
    alive::Alive,
    connect::connect_watched,
    macaroon,
    proto::{
        chainrpc::chain_notifier_client::ChainNotifierClient,
        invoicesrpc::invoices_client::InvoicesClient,
        lnrpc::{lightning_client::LightningClient, wallet_unlocker_client::WalletUnlockerClient},
        routerrpc::router_client::RouterClient,
    },
};

/// Limit for what LND answers from memory.
pub(crate) const QUICK: Duration = Duration::from_secs(10);
/// Limit for what it reads from its database.
pub(crate) const READ: Duration = Duration::from_secs(30);
/// Limit for what takes its time on a small machine: keys from passwords, talks with peers, the wallet's transactions.
pub(crate) const SLOW: Duration = Duration::from_secs(180);
/// The longest answer that is taken, bytes. Pages keep far below it; 1,500 channels come near.
const LONGEST: usize = 16 << 20;

/// Calls LND. Cheap to clone; clones share one connection, which is made at the first call and again when it is gone.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    macaroon: Option<PathBuf>,
    link: Mutex<Option<Link>>,
}

#[derive(Clone, Debug)]
struct Link {
    service: Service,
    alive: Alive,
}

/// The connection with the macaroon laid to each call.
#[derive(Clone, Debug)]
pub(crate) struct Service(InterceptedService<Channel, Identity>);

#[derive(Clone, Debug)]
pub(crate) struct Identity(Option<MetadataValue<Ascii>>);

impl Interceptor for Identity {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(macaroon) = &self.0 {
            request.metadata_mut().insert("macaroon", macaroon.clone());
        }
        Ok(request)
    }
}

impl Service {
    pub(crate) fn lightning(self) -> LightningClient<InterceptedService<Channel, Identity>> {
        LightningClient::new(self.0).max_decoding_message_size(LONGEST)
    }

    pub(crate) fn router(self) -> RouterClient<InterceptedService<Channel, Identity>> {
        RouterClient::new(self.0).max_decoding_message_size(LONGEST)
    }

    fn invoices(self) -> InvoicesClient<InterceptedService<Channel, Identity>> {
        InvoicesClient::new(self.0)
    }

    pub(crate) fn blocks(self) -> ChainNotifierClient<InterceptedService<Channel, Identity>> {
        ChainNotifierClient::new(self.0)
    }

    fn unlocker(self) -> WalletUnlockerClient<InterceptedService<Channel, Identity>> {
        WalletUnlockerClient::new(self.0)
    }
}

/// `ask!(client, LIMIT, "what LND is asked to do", service.method(request))`
macro_rules! ask {
    ($client:expr, $limit:expr, $action:expr, $service:ident.$method:ident($request:expr)) => {{
        let request = $request;
        $client.call($action, $limit, |service| async move { service.$service().$method(request).await }).await
    }};
}
pub(crate) use ask;

impl Client {
    /// Without a macaroon only the wallet's own calls and LND's state are answered. The file is read on each connection.
    pub fn new(config: Config, macaroon: Option<PathBuf>) -> Self {
        Self { shared: Arc::new(Shared { config, macaroon, link: Mutex::new(None) }) }
    }

    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The present connection, or a new one.
    async fn service(&self) -> Result<Service, Error> {
        let mut link = self.shared.link.lock().await;
        if let Some(link) = link.as_ref().filter(|link| link.alive.is()) {
            return Ok(link.service.clone());
        }
        let identity = match &self.shared.macaroon {
            None => Identity(None),
            Some(path) => Identity(Some(macaroon::metadata(&macaroon::read(path)?))),
        };
        let (channel, alive) = connect_watched(&self.shared.config).await?;
        let service = Service(InterceptedService::new(channel, identity));
        *link = Some(Link { service: service.clone(), alive });
        Ok(service)
    }

    /// Makes the next call connect anew, with the files as they are then.
    async fn forget(&self) {
        *self.shared.link.lock().await = None;
    }

    /// One call within `limit`. `action` completes 'LND failed to ...'.
    pub(crate) async fn call<T, F>(
        &self,
        action: &'static str,
        limit: Duration,
        send: impl FnOnce(Service) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let address = self.shared.config.address;
        let service = self.service().await?;
        let outcome = match timeout(limit, send(service)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(Error::of_status(address, action, &status)),
            Err(_) => Err(Error::Timeout { address, action, seconds: limit.as_secs() }),
        };
        if let Err(error) = &outcome
            && error.is_of_the_connection()
        {
            self.forget().await;
        }
        outcome
    }

    /// The next message of a stream; `None` at its end. Waits as long as it takes.
    pub(crate) async fn next<T>(&self, action: &'static str, stream: &mut Streaming<T>) -> Result<Option<T>, Error> {
        stream.message().await.map_err(|status| Error::of_status(self.shared.config.address, action, &status))
    }

    /// A stream that has no natural end ended.
    pub(crate) fn ended(&self) -> Error {
        Error::Ended { address: self.shared.config.address }
    }
}

/// A page of a long list, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// What to ask for next; `None`: this was the last page.
    pub before: Option<u64>,
}

pub(crate) fn sat(action: &'static str, amount: i64) -> Result<Sat, Error> {
    Sat::try_from(amount).map_err(|error| Error::Answer { action, what: error.to_string() })
}

pub(crate) fn msat(action: &'static str, amount: i64) -> Result<MilliSat, Error> {
    MilliSat::try_from(amount).map_err(|error| Error::Answer { action, what: error.to_string() })
}

/// An amount for LND, which counts in signed numbers.
pub(crate) fn wire(action: &'static str, amount: u64) -> Result<i64, Error> {
    i64::try_from(amount).map_err(|_| Error::Answer { action, what: format!("{amount} is more than there is") })
}

/// Times of LND are signed; before 1970 there was no bitcoin.
pub(crate) fn seconds(time: i64) -> u64 {
    u64::try_from(time).unwrap_or_default()
}
