//! A way through to LND for calls of others, which are neither read nor changed.

use tokio::sync::Mutex;
use tonic::{
    body::Body,
    codegen::{Body as HttpBody, Bytes, StdError, http},
    transport::Channel,
};
use tower::ServiceExt;

use crate::{Config, Error, alive::Alive, connect::connect_watched};

/// One connection to LND that all passing calls share. It is not the one of [`crate::Client`]: what a guest does cannot
/// hold up this program's own calls.
#[derive(Debug)]
pub struct Passage {
    config: Config,
    link: Mutex<Option<(Channel, Alive)>>,
}

impl Passage {
    pub fn new(config: Config) -> Self {
        Self { config, link: Mutex::new(None) }
    }

    /// Hands a gRPC call on; the answer's body goes on as long as LND has something to say. Only path, body and the
    /// headers that are there get through: authority and scheme become LND's.
    pub async fn pass<B>(&self, call: http::Request<B>) -> Result<http::Response<Body>, Error>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
    {
        let channel = self.channel().await?;
        let answer = channel.oneshot(call.map(Body::new)).await;
        answer.map_err(|_| Error::Ended { address: self.config.address })
    }

    async fn channel(&self) -> Result<Channel, Error> {
        let mut link = self.link.lock().await;
        if let Some((channel, _)) = link.as_ref().filter(|(_, alive)| alive.is()) {
            return Ok(channel.clone());
        }
        let (channel, alive) = connect_watched(&self.config).await?;
        *link = Some((channel.clone(), alive));
        Ok(channel)
    }
}
