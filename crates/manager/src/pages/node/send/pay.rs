//! Paying what was confirmed.

use lnd::{Hash, client::Pay, types::FeeRate};
use rust_i18n::t;
use twin::{
    MilliSat, Sat,
    node::{Channel, PaymentFailure, PaymentState},
};

use super::tickets::{Order, Outcome};
use crate::{
    pages::node::{MOST, msat, refusal},
    shared::House,
};

pub(crate) async fn carry_out(house: &House, order: Order, fee: u64) -> Outcome {
    match order {
        Order::Lightning { mut pay, hash, .. } => {
            pay.fee_limit = msat(Sat::new(fee.min(MOST)));
            lightning(house, &pay, hash).await
        }
        Order::Chain { address, amount } => {
            let rate = FeeRate::Blocks(u16::try_from(fee).unwrap_or(6).clamp(1, 1008));
            match house.node.client.send_coins(&address, Some(amount), rate, "homebolt").await {
                Ok(txid) => Outcome::Sent { txid },
                Err(error) if is_unsure(&error) => Outcome::Unknown(refusal(&error)),
                Err(error) => Outcome::Failed(refusal(&error)),
            }
        }
    }
}

/// Whether LND may have done it all the same.
fn is_unsure(error: &lnd::Error) -> bool {
    matches!(error, lnd::Error::Timeout { .. } | lnd::Error::Ended { .. })
}

async fn lightning(house: &House, pay: &Pay, hash: Hash) -> Outcome {
    let client = &house.node.client;
    let begun = match client.pay(pay).await {
        Ok(paying) => paying.end().await,
        Err(error) => Err(error),
    };
    let ended = match begun {
        // The line broke, the payment goes on: what became of it is asked of LND, never paid again.
        Err(error) if is_unsure(&error) => match client.track(hash).await {
            Ok(paying) => paying.end().await,
            Err(lnd::Error::NotFound(_)) => return Outcome::Failed(refusal(&error)),
            Err(_) => return Outcome::Unknown(refusal(&error)),
        },
        ended => ended,
    };
    match ended {
        Ok(progress) => match progress.payment.state {
            PaymentState::Succeeded => {
                let proof = progress.preimage.map(|preimage| preimage.expose()).unwrap_or_default();
                Outcome::Paid { fee: progress.payment.fee, proof }
            }
            PaymentState::InFlight => Outcome::Unknown(t!("node.send.in_flight").into_owned()),
            PaymentState::Failed(PaymentFailure::InsufficientBalance) => {
                Outcome::Failed(t!(short_of(house, progress.payment.amount).await).into_owned())
            }
            PaymentState::Failed(failure) => Outcome::Failed(failed(failure)),
        },
        Err(error) if is_unsure(&error) => Outcome::Unknown(refusal(&error)),
        Err(error) => Outcome::Failed(refusal(&error)),
    }
}

/// Why LND counts less money than a payment takes. To LND a channel holds nothing while its peer is away, nor, a moment
/// after it opened, while it is not in the graph: neither is a matter of too little money.
async fn short_of(house: &House, amount: MilliSat) -> &'static str {
    let state = house.shared.twin.state();
    let (mut usable, mut early, mut offline) = (Sat::ZERO, Sat::ZERO, Sat::ZERO);
    for channel in &state.node.channels.open {
        let held = channel.local.checked_sub(channel.local_reserve).unwrap_or_default();
        let place = if !channel.active {
            &mut offline
        } else if is_payable(house, channel, &state.node.info.pubkey).await {
            &mut usable
        } else {
            &mut early
        };
        *place = place.checked_add(held).unwrap_or(*place);
    }
    reason(msat(usable), msat(early), msat(offline), amount)
}

/// In doubt it is: an untrue 'wait' would be worse than LND's own 'too much'.
async fn is_payable(house: &House, channel: &Channel, own: &str) -> bool {
    let (Ok(point), Ok(own)) = (channel.point.parse(), own.parse()) else { return true };
    house.node.client.is_payable(point, own).await.unwrap_or(true)
}

/// The key of the sentence, from what is in channels of each kind.
fn reason(usable: MilliSat, early: MilliSat, offline: MilliSat, amount: MilliSat) -> &'static str {
    let with = |more: MilliSat| usable.checked_add(more).is_some_and(|sum| sum >= amount);
    if early > MilliSat::ZERO && with(early) {
        "node.send.failure.not_yet"
    } else if offline > MilliSat::ZERO && with(offline.checked_add(early).unwrap_or(offline)) {
        "node.send.failure.offline"
    } else {
        "node.send.failure.insufficient_balance"
    }
}

fn failed(failure: PaymentFailure) -> String {
    let key = match failure {
        PaymentFailure::Timeout => "timeout",
        PaymentFailure::NoRoute => "no_route",
        PaymentFailure::Error => "error",
        PaymentFailure::IncorrectDetails => "incorrect_details",
        PaymentFailure::InsufficientBalance => "insufficient_balance",
        PaymentFailure::Canceled => "cancelled",
    };
    t!(format!("node.send.failure.{key}")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_money_is_said_only_where_it_is_so() {
        let word = |usable, early, offline, amount| {
            let [usable, early, offline, amount] = [usable, early, offline, amount].map(MilliSat::new);
            reason(usable, early, offline, amount).rsplit('.').next().unwrap_or_default()
        };
        assert_eq!(word(0, 1000, 0, 900), "not_yet");
        assert_eq!(word(500, 500, 0, 900), "not_yet");
        assert_eq!(word(500, 0, 500, 900), "offline");
        assert_eq!(word(0, 500, 500, 900), "offline");
        assert_eq!(word(500, 0, 0, 900), "insufficient_balance");
        assert_eq!(word(1000, 0, 0, 900), "insufficient_balance", "its reserve for fees is LND's matter");
        assert_eq!(word(1, 1, 1, 900), "insufficient_balance");
    }
}
