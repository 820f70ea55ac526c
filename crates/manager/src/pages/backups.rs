//! The copies of the channel backup: the last one, those before it, and whether it is any good.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use rust_i18n::t;
use twin::copies::{Copies, Restore};

use super::{
    Place, complaint, csrf,
    node::alerts::drawn,
    owner_refreshed,
    words::{bytes, moment, sentence},
};
use crate::{
    alerts,
    copies::{self, restore},
    error::now,
    http::{fail::Fail, upload::Upload},
    session::Current,
    setup::{audit, wallet::Origin},
    shared::House,
};

/// `GET /backups`.
pub(crate) async fn get(State(house): State<Arc<House>>, session: Current) -> Markup {
    page(&house, &session, None)
}

fn page(house: &House, session: &Current, refusal: Option<&str>) -> Markup {
    let state = house.shared.twin.state();
    let copies = &state.copies;
    let refresh = (copies.drilling || copies.pending.is_some()).then_some(3);
    let is_restored = house.setup.choices().wallet.is_some_and(|wallet| wallet.origin == Origin::Restored);
    let body = html! {
        div data-poll=[refresh] {
            h1 { (t!("backups.title")) }
            p.lead { (t!("backups.lead")) }
            (drawn(&alerts::of_copies(copies, state.node.backup.channels, now())))
            div.cards {
                section.card aria-labelledby="now-heading" { (last(session, copies)) }
                section.card aria-labelledby="drill-heading" { (drill(session, copies)) }
                section.card aria-labelledby="file-heading" { (file(house)) }
                @if is_restored || copies.restore.is_some() {
                    section.card aria-labelledby="given-heading" { (given(session, copies, is_restored, refusal)) }
                }
                section.card.wide aria-labelledby="history-heading" { (history(copies)) }
            }
        }
    };
    owner_refreshed(&t!("backups.title"), session, Some(Place::Settings), refresh, body)
}

fn last(session: &Current, copies: &Copies) -> Markup {
    html! {
        h2 #now-heading { (t!("backups.last")) }
        @match &copies.target {
            None => { p { (t!("backups.nowhere")) } p.row { a.button href="/settings/backup" { (t!("backups.choose")) } } }
            Some(target) => {
                dl {
                    dt { (t!("backups.where")) } dd { (target) }
                    @match &copies.saved {
                        Some(saved) => {
                            dt { (t!("backups.when")) } dd { (moment(saved.at)) }
                            dt { (t!("backups.channels")) } dd { (saved.channels) }
                            dt { (t!("backups.name")) } dd { code { (saved.name) } }
                        }
                        None => { dt { (t!("backups.when")) } dd { (t!("backups.none_yet")) } }
                    }
                }
                @if let Some(pending) = &copies.pending {
                    p {
                        span.badge.busy { (t!("backups.pending")) } " "
                        (t!("backups.pending_what", since = moment(pending.since), channels = pending.channels))
                        @if let Some(next) = pending.next_try { " " (t!("backups.next_try", time = moment(next))) }
                    }
                    form method="post" action="/backups/retry" { (csrf(session)) button.second { (t!("backups.retry")) } }
                } @else if copies.saved.is_some() {
                    p { span.badge.good { (t!("backups.all_saved")) } }
                }
                @if copies.shrunk.is_some() {
                    form method="post" action="/backups/seen" { (csrf(session)) button.second { (t!("backups.seen")) } }
                }
                p { a href="/settings/backup" { (t!("backups.change")) } }
            }
        }
    }
}

fn drill(session: &Current, copies: &Copies) -> Markup {
    html! {
        h2 #drill-heading { (t!("backups.drill")) }
        p { (t!("backups.drill_why")) }
        @match &copies.drill {
            Some(drill) => {
                @match &drill.fault {
                    None => { p #drill-result { span.badge.good { (t!("backups.drill_good")) } " " (moment(drill.at)) ", " code { (drill.name) } } }
                    Some(fault) => { p #drill-result { span.badge.bad { (t!("backups.drill_bad")) } " " (moment(drill.at)) ". " (sentence(fault)) } }
                }
            }
            None => { p { (t!("backups.drill_never")) } }
        }
        @if copies.drilling { p role="status" { (t!("backups.drilling")) } }
        @else if copies.target.is_none() { p.hint { (t!("backups.drill_no_target")) } }
        @else if !copies.readable { p.hint { (t!("backups.drill_mail")) } }
        @else { form method="post" action="/backups/verify" { (csrf(session)) button.second { (t!("backups.drill_now")) } } }
    }
}

fn file(house: &House) -> Markup {
    let latest = house.copies.latest.borrow();
    html! {
        h2 #file-heading { (t!("backups.file")) }
        p { (t!("backups.file_why")) }
        @match latest.as_ref() {
            Some(latest) => {
                p.row { a.button.second href="/backups/current" download { (t!("backups.download")) } }
                p.small { (t!("backups.file_what", channels = latest.blob.channels.len(), size = bytes(latest.blob.bytes.len() as u64))) }
            }
            None => { p.hint { (t!("backups.no_file")) } }
        }
    }
}

/// A backup that the owner gave to restore, and the way to give one.
fn given(session: &Current, copies: &Copies, can_give: bool, refusal: Option<&str>) -> Markup {
    html! {
        h2 #given-heading { (t!("backups.given")) }
        @match &copies.restore {
            None => { p { (t!("backups.given_none")) } }
            Some(Restore::Waiting) => { p { span.badge.busy { (t!("backups.given_waiting")) } " " (t!("backups.given_waiting_what")) } }
            Some(Restore::Done { channels, at }) => {
                p { span.badge.good { (t!("backups.given_done")) } " " (t!("backups.given_done_what", channels = channels, time = moment(*at))) }
            }
            Some(Restore::Failed { why, at }) => {
                p { span.badge.bad { (t!("backups.given_failed")) } " " (moment(*at)) ". " (sentence(why)) }
            }
        }
        @if can_give {
            form method="post" action="/backups/restore" enctype="multipart/form-data" {
                (csrf(session))
                (complaint("given-complaint", refusal))
                p.field {
                    label for="file" { (t!("backups.given_file")) }
                    input #file name="file" type="file" required;
                }
                button.second { (t!("backups.given_button")) }
            }
        }
    }
}

fn history(copies: &Copies) -> Markup {
    html! {
        h2 #history-heading { (t!("backups.history")) }
        @if copies.history.is_empty() { p { (t!("backups.none_yet")) } }
        @else {
            ul.log {
                @for copy in &copies.history {
                    li {
                        p { code { (copy.name) } }
                        p.small { (moment(copy.at)) ", " (t!("backups.with_channels", count = copy.channels)) ", " (copy.target) }
                    }
                }
            }
            p.hint { (t!("backups.history_hint")) }
        }
    }
}

/// `POST /backups/verify`.
pub(crate) async fn verify(State(house): State<Arc<House>>, session: Current) -> Result<Redirect, Fail> {
    if copies::begin_drill(&house) {
        house.store.audit(audit(&session, "backup-verified", "")).await?;
    }
    Ok(Redirect::to("/backups"))
}

/// `POST /backups/retry`.
pub(crate) async fn retry(State(house): State<Arc<House>>, session: Current) -> Result<Redirect, Fail> {
    house.store.audit(audit(&session, "backup-retried", "")).await?;
    house.copies.retry().await;
    Ok(Redirect::to("/backups"))
}

/// `POST /backups/seen`: the owner knows why channels are missing.
pub(crate) async fn seen(State(house): State<Arc<House>>, session: Current) -> Result<Redirect, Fail> {
    house.store.audit(audit(&session, "backup-shrink-seen", "")).await?;
    house.copies.accept_shrunk().await;
    Ok(Redirect::to("/backups"))
}

/// `GET /backups/current`: the file as LND's own tools know it. It is encrypted with a key from the seed.
pub(crate) async fn current(State(house): State<Arc<House>>) -> Result<Response, Fail> {
    let bytes = house.copies.latest.borrow().as_ref().map(|latest| latest.blob.bytes.clone()).ok_or(Fail::NotFound)?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"channel.backup\""),
    ];
    Ok((headers, bytes).into_response())
}

/// `POST /backups/restore`: another file for a wallet that was restored.
pub(crate) async fn give(
    State(house): State<Arc<House>>,
    session: Current,
    upload: Upload<{ restore::LONGEST }>,
) -> Result<Response, Fail> {
    let is_restored = house.setup.choices().wallet.is_some_and(|wallet| wallet.origin == Origin::Restored);
    match upload.file().map(<[u8]>::to_vec) {
        _ if !is_restored => Ok(Redirect::to("/backups").into_response()),
        Some(bytes) if (restore::SHORTEST..=restore::LONGEST).contains(&bytes.len()) => {
            house.store.audit(audit(&session, "backup-given", format!("{} bytes", bytes.len()))).await?;
            house.copies.give(bytes).await?;
            Ok(Redirect::to("/backups").into_response())
        }
        _ => {
            let page = page(&house, &session, Some(&t!("setup.wallet.restore_backup_bad")));
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
    }
}
