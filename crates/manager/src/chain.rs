//! Follows the owner's own bitcoind, where one is chosen.

use tokio::{sync::watch, task::JoinSet};
use twin::{Bitcoin, Update};

use crate::setup::{Choices, bitcoin::Backend};

/// The name of the source in the twin.
pub(crate) const NAME: &str = "bitcoind";

/// The bitcoind that the owner chose.
fn chosen(choices: &Choices) -> Option<bitcoind::Config> {
    match choices.bitcoin.as_ref()? {
        bitcoin if bitcoin.chain.network().is_none() => None,
        bitcoin => match &bitcoin.backend {
            Backend::Bitcoind(own) => own.config(bitcoin.chain),
            Backend::Neutrino { .. } => None,
        },
    }
}

/// Runs the watcher of the chosen one, and of another once another is chosen, for as long as the choices live.
pub(crate) async fn follow(mut choices: watch::Receiver<Choices>, twin: twin::Sender) {
    loop {
        let config = chosen(&choices.borrow_and_update());
        // Dropped, and with it the watcher, before the next round.
        let mut watcher = JoinSet::new();
        if let Some(config) = config.clone() {
            watcher.spawn(bitcoind::watch::run(config, twin.clone()));
        }
        if choices.wait_for(|choices| chosen(choices) != config).await.is_err() {
            return;
        }
        watcher.shutdown().await;
        // What the other one said is true no longer.
        let forgotten = [Update::Bitcoin(Bitcoin::default()), Update::Gone(NAME)];
        for update in forgotten {
            if twin.send(update).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::bitcoin::{Bitcoin as Chosen, Chain, Database, Own};

    fn choices(backend: Backend) -> Choices {
        let bitcoin = Chosen { chain: Chain::Regtest, backend, database: Database::Sqlite };
        Choices { bitcoin: Some(bitcoin), ..Choices::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_bitcoind_is_followed_once_it_is_chosen_and_forgotten_with_the_choice() {
        let (twin, sender, reader) = twin::Twin::new();
        tokio::spawn(twin.run());
        let (choose, chosen) = watch::channel(Choices::default());
        tokio::spawn(follow(chosen, sender));
        // Nothing listens there.
        let own = Own { rpc: "127.0.0.1:1".parse().unwrap(), user: "a".into(), password: "b".into(), zmq: None };
        choose.send(choices(Backend::Bitcoind(own))).unwrap();
        let until = async |is_there: bool| {
            for _ in 0..1000 {
                if reader.state().sources.contains_key(NAME) == is_there {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            panic!("the source is there: {}", !is_there);
        };
        until(true).await;
        assert!(!reader.state().sources[NAME].connected);
        choose.send(choices(Backend::Neutrino { peers: vec![], fee_url: String::new(), headers: false })).unwrap();
        until(false).await;
    }
}
