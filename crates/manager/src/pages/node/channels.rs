//! Channels and peers: what there is, opening, closing, connecting.

use std::sync::Arc;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use lnd::{
    ChannelPoint, NodeId,
    client::{CloseChannel, OpenChannel, OpenTo},
    types::{FeeRate, NodeAddress},
};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;
use twin::{Sat, node::Channel};

use super::{
    away,
    cards::{bar, pending},
    refusal, short, typed_sat,
};
use crate::{
    http::{extract::Form, fail::Fail},
    pages::{Place, complaint, csrf, owner},
    session::Current,
    setup::{audit, wallet::Origin},
    shared::House,
};

/// What LND takes at least.
const LEAST: Sat = Sat::new(20_000);
/// What is typed before a channel is closed without its peer.
const FORCE: &str = "FORCE";

pub(crate) async fn get(State(house): State<Arc<House>>, session: Current) -> Markup {
    page(&house, &session, None, None)
}

/// A form that was refused, and why.
#[derive(Clone, Copy)]
struct Refused<'a> {
    form: &'static str,
    text: &'a str,
}

/// Why no channel may be opened; `None` when one may.
fn closed_door(house: &House) -> Option<String> {
    let choices = house.setup.choices();
    if choices.wallet.as_ref().is_some_and(|wallet| wallet.origin == Origin::Restored) {
        return Some(t!("node.channels.recovery_only").into_owned());
    }
    away(house)
}

fn page(house: &House, session: &Current, refused: Option<Refused<'_>>, done: Option<&str>) -> Markup {
    let state = house.shared.twin.state();
    let of = |form: &str| refused.filter(|refused| refused.form == form).map(|refused| refused.text);
    let door = closed_door(house);
    let body = html! {
        h1 { (t!("node.channels.title")) }
        @if let Some(done) = done { p.notice.good role="status" { (done) } }
        @if let Some(away) = away(house) { p.notice { (away) } }
        div.cards {
            section.card.wide aria-labelledby="open-heading" {
                h2 #open-heading { (t!("node.channels.list")) }
                (complaint("close-complaint", of("close")))
                @if state.node.channels.open.is_empty() { p { (t!("node.channels.none")) } }
                @for channel in &state.node.channels.open { (one(session, channel)) }
                (pending(&state))
            }
            section.card aria-labelledby="new-heading" {
                h2 #new-heading { (t!("node.channels.new")) }
                @if let Some(door) = &door { p.notice { (door) } }
                form method="post" action="/channels/open" {
                    (csrf(session))
                    (complaint("open-complaint", of("open")))
                    p.field {
                        label for="peer" { (t!("node.channels.peer")) }
                        input #peer name="peer" type="text" required maxlength="300" autocomplete="off" autocapitalize="none"
                            spellcheck="false" aria-describedby="peer-hint";
                    }
                    p.hint #peer-hint { (t!("node.channels.peer_hint")) }
                    p.field {
                        label for="amount" { (t!("node.amount")) }
                        input #amount name="amount" type="text" inputmode="numeric" maxlength="24" autocomplete="off" aria-describedby="amount-hint";
                    }
                    p.hint #amount-hint { (t!("node.channels.amount_hint", least = LEAST)) }
                    (fee("open-fee"))
                    p.check {
                        input #private name="private" type="checkbox" value="yes";
                        label for="private" { (t!("node.channels.private")) }
                    }
                    button disabled[door.is_some()] { (t!("node.channels.open")) }
                }
            }
            section.card aria-labelledby="peers-heading" {
                h2 #peers-heading { (t!("node.channels.peers")) }
                (complaint("peer-complaint", of("peer")))
                @if state.node.peers.is_empty() { p { (t!("node.channels.no_peers")) } }
                ul.services {
                    @for peer in state.node.peers.iter() {
                        li {
                            span.name {
                                code title=(peer.pubkey) { (short(&peer.pubkey)) "\u{2026}" }
                                span.small { (peer.address) }
                                @if let Some(error) = &peer.last_error { span.small { (error) } }
                            }
                            form.row method="post" action="/peers/disconnect" {
                                (csrf(session))
                                input type="hidden" name="node" value=(peer.pubkey);
                                button.quiet { (t!("node.channels.disconnect")) }
                            }
                        }
                    }
                }
                form method="post" action="/peers/connect" {
                    (csrf(session))
                    p.field {
                        label for="address" { (t!("node.channels.connect_to")) }
                        input #address name="address" type="text" required maxlength="300" autocomplete="off" autocapitalize="none"
                            spellcheck="false" placeholder="pubkey@host:port";
                    }
                    button.second { (t!("node.channels.connect")) }
                }
            }
        }
    };
    owner(&t!("node.channels.title"), session, Some(Place::Channels), body)
}

fn fee(id: &str) -> Markup {
    html! {
        p.field {
            label for=(id) { (t!("node.send.fee_blocks")) }
            select #(id) name="fee" {
                @for (blocks, name) in [("2", "fast"), ("6", "normal"), ("144", "slow")] {
                    option value=(blocks) selected[blocks == "6"] { (t!(format!("node.send.fee_{name}"))) }
                }
            }
        }
    }
}

fn one(session: &Current, channel: &Channel) -> Markup {
    let id = format!("fee-{}", short(&channel.point));
    let word = format!("force-{}", short(&channel.point));
    html! {
        (bar(channel))
        details {
            summary { (t!("node.channels.more")) }
            dl {
                dt { (t!("node.channels.peer_key")) } dd { code { (channel.peer) } }
                dt { (t!("node.channels.point")) } dd { code { (channel.point) } }
                dt { (t!("node.channels.sent")) } dd.amount { (channel.sent) }
                dt { (t!("node.channels.received")) } dd.amount { (channel.received) }
                @if !channel.flags.is_empty() { dt { (t!("node.channels.flags")) } dd { (channel.flags) } }
            }
            form method="post" action="/channels/close" {
                (csrf(session))
                input type="hidden" name="point" value=(channel.point);
                (fee(&id))
                @if !channel.active {
                    p.hint { (t!("node.channels.force_why")) }
                    p.field {
                        label for=(word) { (t!("node.channels.force_word", word = FORCE)) }
                        input #(word) name="force" type="text" maxlength="16" autocomplete="off";
                    }
                }
                button.second { (t!("node.channels.close")) }
            }
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct Open {
    peer: String,
    #[serde(default)]
    amount: String,
    #[serde(default)]
    fee: String,
    #[serde(default)]
    private: String,
}

/// `POST /channels/open`.
pub(crate) async fn open(
    State(house): State<Arc<House>>,
    session: Current,
    Form(form): Form<Open>,
) -> Result<Response, Fail> {
    match begin(&house, &form).await {
        Ok(point) => {
            house.store.audit(audit(&session, "channel-opened", point.to_string())).await?;
            let text = t!("node.channels.opened", point = point);
            Ok(page(&house, &session, None, Some(&text)).into_response())
        }
        Err(text) => Ok(refused(&house, &session, "open", &text)),
    }
}

fn refused(house: &House, session: &Current, form: &'static str, text: &str) -> Response {
    let page = page(house, session, Some(Refused { form, text }), None);
    (StatusCode::UNPROCESSABLE_ENTITY, page).into_response()
}

async fn begin(house: &House, form: &Open) -> Result<ChannelPoint, String> {
    if let Some(door) = closed_door(house) {
        return Err(door);
    }
    let amount = match typed_sat(&form.amount)? {
        Some(amount) if amount < LEAST => return Err(t!("node.channels.too_small", least = LEAST).into_owned()),
        Some(amount) => OpenTo::Amount(amount),
        None => OpenTo::Everything,
    };
    let peer = form.peer.trim();
    let node: NodeId = if peer.contains('@') {
        let address: NodeAddress = peer.parse().map_err(|error| refusal(&error))?;
        match house.node.client.connect_peer(&address).await {
            Ok(()) | Err(lnd::Error::PeerConnected) => {}
            Err(error) => return Err(refusal(&error)),
        }
        address.node
    } else {
        peer.parse().map_err(|error| refusal(&error))?
    };
    let open = OpenChannel {
        node,
        amount,
        push: Sat::ZERO,
        fee: rate(&form.fee),
        private: form.private == "yes",
        memo: String::new(),
    };
    let opened = house.node.client.open_channel(&open).await;
    opened.map(|(point, _)| point).map_err(|error| refusal(&error))
}

fn rate(typed: &str) -> FeeRate {
    FeeRate::Blocks(typed.trim().parse().unwrap_or(6_u16).clamp(1, 1008))
}

#[derive(Deserialize)]
pub(crate) struct Close {
    point: String,
    #[serde(default)]
    fee: String,
    #[serde(default)]
    force: String,
}

/// `POST /channels/close`.
pub(crate) async fn close(
    State(house): State<Arc<House>>,
    session: Current,
    Form(form): Form<Close>,
) -> Result<Response, Fail> {
    let typed = form.force.trim();
    if !typed.is_empty() && typed != FORCE {
        return Ok(refused(&house, &session, "close", &t!("node.channels.force_wrong", word = FORCE)));
    }
    let point: ChannelPoint = match form.point.parse() {
        Ok(point) => point,
        Err(error) => return Ok(refused(&house, &session, "close", &refusal(&error))),
    };
    let detail = if typed == FORCE { format!("{point}, by force") } else { point.to_string() };
    house.store.audit(audit(&session, "channel-closed", detail)).await?;
    let close = CloseChannel { point, force: typed == FORCE, fee: rate(&form.fee), address: None };
    match house.node.client.close_channel(&close).await {
        Ok((txid, _)) => {
            let text = t!("node.channels.closed", txid = txid);
            Ok(page(&house, &session, None, Some(&text)).into_response())
        }
        Err(error) => Ok(refused(&house, &session, "close", &refusal(&error))),
    }
}

#[derive(Deserialize)]
pub(crate) struct Connect {
    address: String,
}

/// `POST /peers/connect`.
pub(crate) async fn connect(
    State(house): State<Arc<House>>,
    session: Current,
    Form(form): Form<Connect>,
) -> Result<Response, Fail> {
    let connected = match form.address.parse::<NodeAddress>() {
        Ok(address) => house.node.client.connect_peer(&address).await,
        Err(error) => Err(error),
    };
    match connected {
        Ok(()) | Err(lnd::Error::PeerConnected) => Ok(Redirect::to("/channels").into_response()),
        Err(error) => Ok(refused(&house, &session, "peer", &refusal(&error))),
    }
}

#[derive(Deserialize)]
pub(crate) struct Disconnect {
    node: String,
}

/// `POST /peers/disconnect`.
pub(crate) async fn disconnect(
    State(house): State<Arc<House>>,
    session: Current,
    Form(form): Form<Disconnect>,
) -> Result<Response, Fail> {
    let gone = match form.node.parse::<NodeId>() {
        Ok(node) => house.node.client.disconnect_peer(node).await,
        Err(error) => Err(error),
    };
    match gone {
        Ok(()) => Ok(Redirect::to("/channels").into_response()),
        Err(error) => Ok(refused(&house, &session, "peer", &refusal(&error))),
    }
}
