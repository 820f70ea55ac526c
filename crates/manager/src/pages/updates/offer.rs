//! A version that can be had: what it is, what was looked at beforehand, and the button.

use maud::{Markup, html};
use release::{Refusal, Update};
use rust_i18n::t;
use twin::{State, updates::News};

use super::PATH;
use crate::{
    pages::{
        csrf,
        words::{self, Mood},
    },
    session::Current,
    shared::House,
    updates::{
        checks,
        install::{is_busy, is_older},
        preflight::{Check, Verdict, overall},
    },
};

/// What the channel has.
pub(super) fn channel(house: &House, session: &Current, state: &State) -> Markup {
    let news = &state.news;
    let found = house.updates.found();
    html! {
        section.card.wide aria-labelledby="new-heading" {
            h2 #new-heading { (t!("updates.new")) }
            @if let Some(why) = &news.withdrawn {
                p { strong { (t!("updates.withdrawn")) } " " (words::in_own_language(why).1) }
            }
            (heard(house, news))
            @if let Some(found) = found {
                @if !news.refusal.is_empty() { p { (news.refusal) } }
                (description(&found.update, found.one_way))
                (install(house, session, &found.update, None, "channel", html! {}))
            } @else if !news.refusal.is_empty() {
                p.complaint { (news.refusal) }
            } @else if news.answered > 0 {
                p { (t!("updates.newest")) }
            }
            @if house.updates.channel().is_some() {
                form.row method="post" action={ (PATH) "/look" } {
                    (csrf(session))
                    button.second { (t!("updates.look")) }
                }
            }
        }
    }
}

/// Whom the box asks, and whether they answered.
fn heard(house: &House, news: &News) -> Markup {
    html! {
        @match house.updates.channel() {
            None => p { (t!("updates.no_channel")) },
            Some(source) => p.small {
                (source.name) ", " (source.url)
                @if news.answered > 0 { " \u{b7} " (t!("updates.answered", at = words::moment(news.answered))) }
                @else { " \u{b7} " (t!("updates.never")) }
            },
        }
        @if news.asking { p role="status" { (t!("updates.asking")) } }
        @if !news.error.is_empty() { p.complaint { (t!("updates.silent")) " " (news.error) } }
    }
}

/// What a version is, in plain words.
pub(super) fn description(update: &Update, one_way: bool) -> Markup {
    let release = &update.release;
    let (language, notes) = words::in_own_language(&update.notes);
    html! {
        p.big { (t!("updates.version", version = release.version)) }
        div lang=(language) { @for line in notes.lines().filter(|line| !line.trim().is_empty()) { p { (line) } } }
        dl {
            dt { (t!("updates.size")) } dd { (words::bytes(update.bundle.size)) ", " (t!("updates.size_what")) }
            dt { "LND" } dd { (release.lnd_version.trim_start_matches('v')) }
            dt { (t!("updates.way_back")) }
            dd { @if one_way { (t!("updates.one_way")) } @else { (t!("updates.two_ways")) } }
        }
        @if release.development_keys { p.complaint { (t!("updates.development")) } }
    }
}

/// The pre-flight and the button. `fields` say more of where it comes from.
pub(super) fn install(
    house: &House,
    session: &Current,
    update: &Update,
    refusal: Option<&Refusal>,
    from: &str,
    fields: Markup,
) -> Markup {
    let checks = checks(house, update, refusal);
    let older = refusal.is_some_and(is_older);
    // What the owner can overrule does not take the button away.
    let is_blocked = |check: &Check| check.verdict == Verdict::Blocked && !(older && check.name == "version");
    let blocked = checks.iter().any(is_blocked);
    let id = format!("older-{}", update.bundle.sha256.get(..8).unwrap_or_default());
    html! {
        details open[overall(&checks) > Verdict::Good] {
            summary { (t!("updates.checked")) }
            (list(&checks))
        }
        @if is_busy(house) { p { (t!("updates.busy")) } }
        @else if blocked { p { (t!("updates.blocked")) } }
        @else {
            form method="post" action={ (PATH) "/install" } {
                (csrf(session))
                input type="hidden" name="from" value=(from);
                input type="hidden" name="version" value=(update.release.version);
                (fields)
                @if older {
                    p.check {
                        input id=(id) name="older" type="checkbox" value="yes" required;
                        label for=(id) { (t!("updates.older", version = update.release.version)) }
                    }
                }
                button { (t!("updates.install", version = update.release.version)) }
            }
            p.hint { (t!("updates.install_what")) }
        }
    }
}

fn list(checks: &[Check]) -> Markup {
    html! {
        ul.services {
            @for check in checks {
                @let mood = match check.verdict {
                    Verdict::Good => Mood::Good,
                    Verdict::Warning => Mood::Busy,
                    Verdict::Blocked => Mood::Bad,
                };
                li {
                    span.name {
                        (t!(format!("updates.check.name.{}", check.name)))
                        span.small {
                            (check.detail)
                            @if let Some(page) = check.page { " " a href=(page) { (t!("updates.check.page")) } }
                        }
                    }
                    span.badge.(mood.class()) { (t!(format!("updates.verdict.{}", mood.class()))) }
                }
            }
        }
    }
}
