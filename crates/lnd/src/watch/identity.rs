//! Keeps this program's own macaroon one that LND accepts.

use tokio::time::sleep;
use twin::source::{Backoff, TwinGone, sentence};

use super::{
    Macaroons,
    follow::{BACKOFF, Context},
};
use crate::macaroon::ensure_own_macaroon;

const NAME: &str = "macaroon";

/// Checks the macaroon whenever LND has begun to answer, and when a watcher says that it is refused.
pub(super) async fn keep(macaroons: Macaroons, mut context: Context) {
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    while context.answers().await.is_ok() {
        match ensure_own_macaroon(context.client.config(), &macaroons.admin, &macaroons.own).await {
            Ok(()) => {
                if context.fares.lock().await.well(NAME).await.is_err() {
                    return;
                }
                context.set_known(true);
                backoff.reset();
                if context.unknown().await.is_err() {
                    return;
                }
                context.set_known(false);
            }
            Err(error) => {
                let words = sentence(&error);
                match context.fares.lock().await.ill(NAME, error).await {
                    Err(TwinGone) => return,
                    Ok(true) => tracing::info!("LND does not know this program: {words}"),
                    Ok(false) => {}
                }
            }
        }
        sleep(backoff.wait()).await;
    }
}
