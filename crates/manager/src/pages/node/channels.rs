//! Channels and peers: what there is, opening, closing, connecting.

use std::sync::Arc;

use axum::{
    extract::{Query, State as Of},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use lnd::{ChannelPoint, client::CloseChannel, types::FeeRate};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;
use twin::{State, node::Channel};

use super::{
    away,
    bitcoin::suggestion,
    cards::{bar, pending},
    refusal, short, typed_sat,
};
use crate::{
    command::{self, LEAST},
    copies,
    http::{extract::Form, fail::Fail},
    pages::{Place, complaint, csrf, owner},
    session::Current,
    setup::{audit, wallet::Origin},
    shared::House,
};

/// A fee rate above this is a slip of the finger, satoshis for a virtual byte.
const MOST_RATE: u32 = 5_000;
/// What is typed before a channel is closed without its peer.
const FORCE: &str = "FORCE";

/// Channels and peers on one page; more of them go on further pages.
const LINES: usize = 15;

#[derive(Deserialize)]
pub(crate) struct Paging {
    /// From 0.
    #[serde(default)]
    page: usize,
}

pub(crate) async fn get(
    Of(house): Of<Arc<House>>,
    session: Current,
    paging: Result<Query<Paging>, axum::extract::rejection::QueryRejection>,
) -> Markup {
    let at = paging.map_or(0, |Query(paging)| paging.page);
    page_at(&house, &session, None, None, at)
}

/// A form that was refused, and why.
#[derive(Clone, Copy)]
struct Refused<'a> {
    form: &'static str,
    text: &'a str,
    /// What was typed to open a channel, so that it need not be typed again.
    open: Option<&'a Open>,
}

/// Why no channel may be opened; `None` when one may.
pub(crate) fn closed_door(house: &House) -> Option<String> {
    let choices = house.setup.choices();
    if choices.wallet.as_ref().is_some_and(|wallet| wallet.origin == Origin::Restored) {
        return Some(t!("node.channels.recovery_only").into_owned());
    }
    away(house).or_else(|| copies::closed_door(house))
}

fn page(house: &House, session: &Current, refused: Option<Refused<'_>>, done: Option<&str>) -> Markup {
    page_at(house, session, refused, done, 0)
}

/// Links to the other pages, where there are any.
fn further(at: usize, pages: usize) -> Markup {
    html! {
        @if pages > 1 {
            nav.row aria-label=(t!("alerts.pages")) {
                @if at > 0 { a.button.second href={ "/channels?page=" (at - 1) } { (t!("alerts.before")) } }
                span { (t!("alerts.page", page = at + 1, pages = pages)) }
                @if at + 1 < pages { a.button.second href={ "/channels?page=" (at + 1) } { (t!("alerts.after")) } }
            }
        }
    }
}

fn page_at(house: &House, session: &Current, refused: Option<Refused<'_>>, done: Option<&str>, at: usize) -> Markup {
    let state = house.shared.twin.state();
    let most = state.node.channels.open.len().max(state.node.peers.len());
    let pages = most.div_ceil(LINES).max(1);
    let at = at.min(pages - 1);
    let of = |form: &str| refused.filter(|refused| refused.form == form).map(|refused| refused.text);
    let door = closed_door(house);
    let none = Open::default();
    let typed = refused.and_then(|refused| refused.open).unwrap_or(&none);
    let body = html! {
        h1 { (t!("node.channels.title")) }
        @if let Some(done) = done { p.notice.good role="status" { (done) } }
        @if let Some(away) = away(house) { p.notice { (away) } }
        div.cards {
            section.card.wide aria-labelledby="open-heading" {
                h2 #open-heading { (t!("node.channels.list")) }
                (complaint("close-complaint", of("close")))
                @if state.node.channels.open.is_empty() { p { (t!("node.channels.none")) } }
                @for channel in state.node.channels.open.iter().skip(at * LINES).take(LINES) { (one(&state, session, channel)) }
                (pending(&state))
                (further(at, pages))
            }
            section.card aria-labelledby="new-heading" {
                h2 #new-heading { (t!("node.channels.new")) }
                @if let Some(door) = &door {
                    p.notice #door { (door) @if copies::closed_door(house).is_some() { " " a href="/settings/backup" { (t!("backup.title")) } } }
                }
                form method="post" action="/channels/open" {
                    (csrf(session))
                    (complaint("open-complaint", of("open")))
                    p.field {
                        label for="peer" { (t!("node.channels.peer")) }
                        input #peer name="peer" type="text" required maxlength="300" autocomplete="off" autocapitalize="none"
                            spellcheck="false" aria-describedby="peer-hint" value=(typed.peer);
                    }
                    p.hint #peer-hint { (t!("node.channels.peer_hint")) }
                    p.field {
                        label for="amount" { (t!("node.amount")) }
                        input #amount name="amount" type="text" inputmode="numeric" maxlength="24" autocomplete="off" aria-describedby="amount-hint" value=(typed.amount);
                    }
                    p.hint #amount-hint { (t!("node.channels.amount_hint", least = LEAST)) }
                    (fee(&state, "open-fee", &typed.fee, &typed.rate))
                    p.check {
                        input #private name="private" type="checkbox" value="yes" checked[typed.private == "yes"];
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
                    @for peer in state.node.peers.iter().skip(at * LINES).take(LINES) {
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

fn fee(state: &State, id: &str, chosen: &str, typed: &str) -> Markup {
    let chosen = chosen.parse().unwrap_or(6_u16);
    let rate = format!("{id}-rate");
    html! {
        p.field {
            label for=(id) { (t!("node.send.fee_blocks")) }
            select #(id) name="fee" {
                @for (blocks, name) in [(2, "fast"), (6, "normal"), (144, "slow")] {
                    option value=(blocks) selected[blocks == chosen] { (t!(format!("node.send.fee_{name}"))) (suggestion(state, blocks)) }
                }
            }
        }
        p.field {
            label for=(rate) { (t!("bitcoind.rate")) }
            input #(rate) name="rate" type="text" inputmode="numeric" maxlength="5" autocomplete="off" value=(typed);
        }
    }
}

fn one(state: &State, session: &Current, channel: &Channel) -> Markup {
    let id = format!("fee-{}", short(&channel.point));
    let word = format!("force-{}", short(&channel.point));
    html! {
        (bar(&state.money, channel))
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
                (fee(state, &id, "", ""))
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

#[derive(Default, Deserialize)]
pub(crate) struct Open {
    peer: String,
    #[serde(default)]
    amount: String,
    #[serde(default)]
    fee: String,
    #[serde(default)]
    rate: String,
    #[serde(default)]
    private: String,
}

/// `POST /channels/open`.
pub(crate) async fn open(
    Of(house): Of<Arc<House>>,
    session: Current,
    Form(form): Form<Open>,
) -> Result<Response, Fail> {
    match begin(&house, &form).await {
        Ok(point) => {
            house.store.audit(audit(&session, "channel-opened", point.to_string())).await?;
            let text = t!("node.channels.opened", point = point);
            Ok(page(&house, &session, None, Some(&text)).into_response())
        }
        Err(text) => Ok(refused_of(&house, &session, Refused { form: "open", text: &text, open: Some(&form) })),
    }
}

fn refused(house: &House, session: &Current, form: &'static str, text: &str) -> Response {
    refused_of(house, session, Refused { form, text, open: None })
}

fn refused_of(house: &House, session: &Current, refused: Refused<'_>) -> Response {
    let page = page(house, session, Some(refused), None);
    (StatusCode::UNPROCESSABLE_ENTITY, page).into_response()
}

async fn begin(house: &House, form: &Open) -> Result<ChannelPoint, String> {
    let amount = match typed_sat(&form.amount)? {
        Some(amount) if amount < LEAST => return Err(t!("node.channels.too_small", least = LEAST).into_owned()),
        amount => amount,
    };
    let (peer, private) = (form.peer.clone(), form.private == "yes");
    let wish = command::Opening { peer, amount, fee: rate(&form.rate, &form.fee)?, private };
    command::open_channel(house, &wish).await.map_err(|refused| refused.sentence())
}

/// What was typed, or else what was chosen.
fn rate(typed: &str, chosen: &str) -> Result<FeeRate, String> {
    if typed.trim().is_empty() {
        return Ok(FeeRate::Blocks(chosen.trim().parse().unwrap_or(6_u16).clamp(1, 1008)));
    }
    let rate = typed.trim().parse::<u32>().ok().filter(|rate| (1..=MOST_RATE).contains(rate));
    rate.map(FeeRate::SatPerVbyte).ok_or_else(|| t!("bitcoind.rate_bad").into_owned())
}

#[derive(Deserialize)]
pub(crate) struct Close {
    point: String,
    #[serde(default)]
    fee: String,
    #[serde(default)]
    rate: String,
    #[serde(default)]
    force: String,
}

/// `POST /channels/close`.
pub(crate) async fn close(
    Of(house): Of<Arc<House>>,
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
    let fee = match rate(&form.rate, &form.fee) {
        Ok(fee) => fee,
        Err(text) => return Ok(refused(&house, &session, "close", &text)),
    };
    let close = CloseChannel { point, force: typed == FORCE, fee, address: None };
    match command::close_channel(&house, &session.actor(), &close).await {
        Ok(txid) => {
            let text = t!("node.channels.closed", txid = txid);
            Ok(page(&house, &session, None, Some(&text)).into_response())
        }
        Err(error) => Ok(refused(&house, &session, "close", &error.sentence())),
    }
}

#[derive(Deserialize)]
pub(crate) struct Connect {
    address: String,
}

/// `POST /peers/connect`.
pub(crate) async fn connect(
    Of(house): Of<Arc<House>>,
    session: Current,
    Form(form): Form<Connect>,
) -> Result<Response, Fail> {
    match command::connect(&house, &session.actor(), &form.address).await {
        Ok(_) => Ok(Redirect::to("/channels").into_response()),
        Err(error) => Ok(refused(&house, &session, "peer", &error.sentence())),
    }
}

#[derive(Deserialize)]
pub(crate) struct Disconnect {
    node: String,
}

/// `POST /peers/disconnect`.
pub(crate) async fn disconnect(
    Of(house): Of<Arc<House>>,
    session: Current,
    Form(form): Form<Disconnect>,
) -> Result<Response, Fail> {
    match command::disconnect(&house, &session.actor(), &form.node).await {
        Ok(()) => Ok(Redirect::to("/channels").into_response()),
        Err(error) => Ok(refused(&house, &session, "peer", &error.sentence())),
    }
}
