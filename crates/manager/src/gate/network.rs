//! What the gate asks of the network.

use std::{cell::Cell, net::SocketAddr, time::Duration};

use platform::{Error, avahi::Found};
use twin::{net::Link, source::sentence, updates::Card};

use super::{Args, NETWORK_LIMIT, Verdict, again, healthz};

/// The cards that worked before the update work again. They are looked at again until they do: a router takes its time, and
/// a card some seconds until it sees its cable. One that never sees it is not the slot's fault: somebody may have pulled it
/// out.
pub(super) async fn as_before(cards: &[Card], links: impl AsyncFn() -> Result<Vec<Link>, Error>) -> Verdict {
    if cards.is_empty() {
        return Ok("no network card worked before the update".into());
    }
    let is_pulled = Cell::new(false);
    let verdict = again(NETWORK_LIMIT, async || {
        is_pulled.set(false);
        let links = links().await.map_err(|error| sentence(&error))?;
        let (faults, pulled) = (faults(cards, &links), pulled(cards, &links));
        if !faults.is_empty() {
            return Err(faults.join("; "));
        }
        is_pulled.set(!pulled.is_empty());
        if is_pulled.get() {
            return Err(format!("no cable at {}", pulled.join(", ")));
        }
        let names: Vec<&str> = cards.iter().map(|card| card.name.as_str()).collect();
        Ok(format!("the network cards that worked before are there: {}", names.join(", ")))
    });
    verdict
        .await
        .or_else(|why| if is_pulled.get() { Ok(format!("{why}, which is not the slot's fault")) } else { Err(why) })
}

/// The cards that are there and see no cable.
fn pulled<'a>(cards: &[Card], links: &'a [Link]) -> Vec<&'a str> {
    let bare = links.iter().filter(|link| !link.carrier && cards.iter().any(|card| card.mac == link.mac));
    bare.map(|link| link.name.as_str()).collect()
}

/// What is missing at cards that see their cable.
fn faults(cards: &[Card], links: &[Link]) -> Vec<String> {
    let fault = |card: &Card| match links.iter().find(|link| link.mac == card.mac) {
        None => Some(format!("the network card {} ({}) is not there any more", card.name, card.mac)),
        // Nobody has switched it on, so that it sees no cable either.
        Some(link) if link.setup == "unmanaged" => {
            Some(format!("the network card {} ({}) is not set up by this system", link.name, link.mac))
        }
        Some(link) if link.carrier && !link.is_reachable() => {
            Some(format!("the network card {} ({}) has a carrier and got no address", link.name, link.mac))
        }
        Some(_) => None,
    };
    cards.iter().filter_map(fault).collect()
}

/// One of these cards has an address that other devices reach.
pub(super) fn is_reached(cards: &[Card], links: &[Link]) -> bool {
    links.iter().any(|link| link.carrier && link.is_reachable() && cards.iter().any(|card| card.mac == link.mac))
}

/// The manager answers under the box's own name in the local network, looked up as another device would. With `outside`, a
/// name that leads to the loopback is asked again: avahi tells it so until it has seen the card's address.
pub(super) async fn by_name(
    args: &Args,
    limit: Duration,
    outside: bool,
    own: impl AsyncFn() -> Result<Option<Found>, Error>,
) -> Verdict {
    again(limit, async || {
        let Some(Found { name, at }) = own().await.map_err(|error| sentence(&error))? else {
            return Ok("no network card has an address: the box has no name to look up".into());
        };
        let mut at: SocketAddr = at;
        if outside && at.ip().is_loopback() {
            return Err(format!("{name} leads to {}, where no other device finds the box", at.ip()));
        }
        at.set_port(args.https.port());
        // The name of its certificate is another matter: two boxes of one name are told apart by avahi.
        let answer = healthz(at, &args.server_name, &args.ca).await;
        answer.map_err(|why| format!("{name} leads to {}, and the manager does not answer there: {why}", at.ip()))?;
        Ok(format!("the manager answers as {name} on {}", at.ip()))
    })
    .await
}

#[cfg(test)]
mod tests {
    use twin::net::{Assigned, Origin};

    use super::*;

    fn card(number: u8) -> Card {
        Card { mac: format!("52:54:00:00:00:0{number}"), name: format!("eth{number}") }
    }

    fn link(number: u8, carrier: bool, from: Option<Origin>) -> Link {
        let assigned = from.map(|from| Assigned { address: [10, 0, 2, 15].into(), prefix: 24, from });
        // The kernel has named it otherwise.
        Link {
            mac: card(number).mac,
            name: "new".into(),
            carrier,
            addresses: assigned.into_iter().collect(),
            ..Link::default()
        }
    }

    #[test]
    fn a_card_that_is_gone_or_gets_no_address_is_the_slots_fault() {
        let cards = [card(1), card(2)];
        let well = [link(1, true, Some(Origin::Dhcp)), link(2, true, Some(Origin::Static))];
        assert!(faults(&cards, &well).is_empty());
        let gone = faults(&cards, &well[..1]);
        assert_eq!(gone, ["the network card eth2 (52:54:00:00:00:02) is not there any more"]);
        let bare = [link(1, true, Some(Origin::LinkLocal)), link(2, true, None)];
        assert!(faults(&cards, &bare).iter().all(|fault| fault.contains("got no address")));
    }

    #[test]
    fn a_box_is_reached_by_a_card_of_before_that_has_an_address() {
        let well = link(1, true, Some(Origin::Dhcp));
        assert!(is_reached(&[card(1)], std::slice::from_ref(&well)));
        assert!(!is_reached(&[card(2)], &[well]), "a card that did not work before");
        assert!(!is_reached(&[card(1)], &[link(1, false, Some(Origin::Static)), link(1, true, None)]));
    }

    #[test]
    fn a_card_that_is_not_set_up_is_the_slots_fault_though_it_sees_no_cable() {
        let bare = Link { setup: "unmanaged".into(), ..link(1, false, None) };
        assert!(faults(&[card(1)], &[bare])[0].ends_with("is not set up by this system"));
    }

    #[test]
    fn a_card_without_a_carrier_is_not_the_slots_fault() {
        assert!(faults(&[card(1)], &[link(1, false, None)]).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_card_is_given_time_to_see_its_cable_and_excused_when_it_never_does() {
        let tries = std::cell::Cell::new(0);
        let late = async || {
            tries.set(tries.get() + 1);
            let is_up = tries.get() > 5;
            Ok(vec![link(1, is_up, is_up.then_some(Origin::Dhcp))])
        };
        let well = as_before(&[card(1)], late).await.unwrap();
        assert_eq!((well.contains("are there"), tries.get()), (true, 6), "{well}");
        let never = as_before(&[card(1)], async || Ok(vec![link(1, false, None)])).await.unwrap();
        assert_eq!(never, "no cable at new, which is not the slot's fault");
    }

    #[tokio::test(start_paused = true)]
    async fn a_router_may_take_its_time_and_a_network_that_stays_away_ends_with_its_reason() {
        let tries = std::cell::Cell::new(0);
        let late = async || {
            tries.set(tries.get() + 1);
            Ok(vec![link(1, true, (tries.get() > 20).then_some(Origin::Dhcp))])
        };
        assert!(as_before(&[card(1)], late).await.is_ok());
        let never = as_before(&[card(1)], async || Ok(vec![])).await.unwrap_err();
        assert!(never.contains("is not there any more"), "{never}");
        let dead = as_before(&[card(1)], async || Err(Error::Disconnected)).await.unwrap_err();
        assert_eq!(dead, "the connection to the system bus ended");
    }

    #[tokio::test]
    async fn a_box_that_had_no_network_needs_none() {
        as_before(&[], async || panic!("the network was asked")).await.unwrap();
    }
}
