//! The watcher of LND's state: `SubscribeState` tells that something changed, `GetState` tells what is.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use twin::{
    Lnd, LndState, Sender, Update,
    source::{Backoff, Health, TwinGone, now, sentence},
};

use crate::{
    Config, Error, connect,
    proto::lnrpc::{GetStateRequest, SubscribeStateRequest, WalletState, state_client::StateClient},
};

/// The state is read this often even when the stream tells nothing.
pub const RESYNC: Duration = Duration::from_secs(60);
/// Limit for one call.
pub const CALL_LIMIT: Duration = Duration::from_secs(10);
/// Waits between attempts: from, to.
pub const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Follows LND's state, for as long as the twin lives.
pub async fn run(config: Config, twin: Sender) {
    run_and_tell(config, twin, watch::Sender::new(LndState::Unreachable)).await;
}

/// The same, and tells the state to `state`, too.
pub(super) async fn run_and_tell(config: Config, twin: Sender, state: watch::Sender<LndState>) {
    let mut watcher = Watcher { config, health: Health::new("lnd", twin), last: None, state };
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    loop {
        let Err(error) = watcher.follow(&mut backoff).await;
        match watcher.lost(&error).await {
            Err(TwinGone) => return,
            Ok(true) => tracing::info!("LND is not followed: {}", sentence(&error)),
            Ok(false) => {}
        }
        sleep(backoff.wait()).await;
    }
}

struct Watcher {
    config: Config,
    health: Health,
    last: Option<Lnd>,
    state: watch::Sender<LndState>,
}

impl Watcher {
    /// Connects and follows until something fails.
    async fn follow(&mut self, backoff: &mut Backoff) -> Result<std::convert::Infallible, Error> {
        let address = self.config.address;
        let mut client = StateClient::new(connect(&self.config).await?);
        // Subscribed before the first read: a change in between comes as a message.
        let subscription = timeout(CALL_LIMIT, client.subscribe_state(SubscribeStateRequest {})).await;
        let subscription = subscription.map_err(|_| self.late("open the stream of its state"))?;
        let mut changes =
            subscription.map_err(|status| self.failed("open the stream of its state", status))?.into_inner();
        loop {
            self.read(&mut client).await?;
            backoff.reset();
            match timeout(RESYNC, changes.message()).await {
                Err(_) | Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) => return Err(Error::Ended { address }),
                Ok(Err(status)) => return Err(self.failed("tell its state", status)),
            }
        }
    }

    async fn read(&mut self, client: &mut StateClient<tonic::transport::Channel>) -> Result<(), Error> {
        let answer = timeout(CALL_LIMIT, client.get_state(GetStateRequest {})).await;
        let answer = answer.map_err(|_| self.late("tell its state"))?;
        let number = answer.map_err(|status| self.failed("tell its state", status))?.into_inner().state;
        let state = of_number(number).ok_or(Error::UnknownState { address: self.config.address, number })?;
        self.tell(state).await?;
        Ok(self.health.connected().await?)
    }

    async fn lost(&mut self, error: &Error) -> Result<bool, TwinGone> {
        self.tell(LndState::Unreachable).await?;
        self.health.lost(error).await
    }

    async fn tell(&mut self, state: LndState) -> Result<(), TwinGone> {
        if self.last.as_ref().is_none_or(|last| last.state != state) {
            let lnd = Lnd { state, since: now() };
            self.last = Some(lnd.clone());
            self.health.send(Update::Lnd(lnd)).await?;
            self.state.send_replace(state);
        }
        Ok(())
    }

    fn late(&self, action: &'static str) -> Error {
        Error::Timeout { address: self.config.address, action, seconds: CALL_LIMIT.as_secs() }
    }

    fn failed(&self, action: &'static str, status: tonic::Status) -> Error {
        Error::of_status(self.config.address, action, &status)
    }
}

/// The twin's word for a number on the wire; `None` for one that this version does not know.
pub(crate) fn of_number(number: i32) -> Option<LndState> {
    Some(match WalletState::try_from(number).ok()? {
        WalletState::NonExisting => LndState::NonExisting,
        WalletState::Locked => LndState::Locked,
        WalletState::Unlocked => LndState::Unlocked,
        WalletState::RpcActive => LndState::RpcActive,
        WalletState::ServerActive => LndState::ServerActive,
        WalletState::WaitingToStart => LndState::WaitingToStart,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_lnd() {
        let numbers = [0, 1, 2, 3, 4, 255, 5, -1].map(of_number);
        use LndState::*;
        let known = [NonExisting, Locked, Unlocked, RpcActive, ServerActive, WaitingToStart].map(Some);
        assert_eq!(numbers[..6], known);
        assert_eq!(numbers[6..], [None, None]);
    }
}
