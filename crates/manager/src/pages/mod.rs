//! The pages: server-rendered, small, the same frame for all.

pub(crate) mod access;
pub(crate) mod api;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod backups;
pub(crate) mod claim;
pub(crate) mod health;
pub(crate) mod home;
pub(crate) mod keys;
pub(crate) mod logs;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod password;
pub(crate) mod payments;
pub(crate) mod place;
pub(crate) mod recovery;
pub(crate) mod restart;
pub(crate) mod services;
pub(crate) mod settings;
pub(crate) mod setup;
pub(crate) mod sign_in;
pub(crate) mod support;
pub(crate) mod trust;
pub(crate) mod unlock;
pub(crate) mod updates;
pub(crate) mod words;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use rust_i18n::t;

use crate::{
    http::assets::{LOGO, SCRIPT, STYLE},
    session::Current,
};

/// Which entry of the navigation is the page one is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Home,
    Receive,
    Send,
    Channels,
    Audit,
    Settings,
}

/// A page for who is not signed in: the wizard, the sign-in, errors.
pub(crate) fn plain(title: &str, body: Markup) -> Markup {
    let logo = html! { img src=(LOGO.path) alt="" width="32" height="32"; };
    frame(title, linked(), brand(logo, "/"), html! { main.narrow { (body) } })
}

/// The same with the style inside and no script, for port 80, which serves no other files.
pub(crate) fn plain_with_style(title: &str, body: Markup) -> Markup {
    // The empty icon keeps browsers from asking for one.
    let head = html! { style { (PreEscaped(STYLE.content)) } link rel="icon" href="data:,"; };
    // The picture is our own file; in the page it needs no second request.
    let logo = html! { span.logo aria-hidden="true" { (PreEscaped(LOGO.content)) } };
    frame(title, head, brand(logo, "/"), html! { main.narrow { (body) } })
}

/// A page that asks for itself (or `to`) again after `seconds`.
pub(crate) fn progress(title: &str, seconds: u32, to: &str, body: Markup) -> Markup {
    let refresh = if to.is_empty() { seconds.to_string() } else { format!("{seconds};url={to}") };
    // Where scripts run they know when to go: a refresh that meets a box still away ends on the browser's error page.
    let head = html! { (linked()) noscript { meta http-equiv="refresh" content=(refresh); } };
    let logo = html! { img src=(LOGO.path) alt="" width="32" height="32"; };
    frame(title, head, brand(logo, "/"), html! { main.narrow { (body) } })
}

/// A page for the owner.
pub(crate) fn owner(title: &str, session: &Current, place: Option<Place>, body: Markup) -> Markup {
    owner_refreshed(title, session, place, None, body)
}

/// The same, asking for itself again after `refresh` seconds where the browser runs no scripts.
pub(crate) fn owner_refreshed(
    title: &str,
    session: &Current,
    place: Option<Place>,
    refresh: Option<u32>,
    body: Markup,
) -> Markup {
    let entry = |entry: Place, path: &str, name: &str| {
        html! { li { a href=(path) aria-current=[(place == Some(entry)).then_some("page")] { (name) } } }
    };
    let logo = html! { img src=(LOGO.path) alt="" width="32" height="32"; };
    let header = html! {
        (brand(logo, "/home"))
        nav aria-label=(t!("frame.main")) {
            ul {
                (entry(Place::Home, "/home", &t!("frame.home")))
                (entry(Place::Receive, "/receive", &t!("node.receive.title")))
                (entry(Place::Send, "/send", &t!("node.send.title")))
                (entry(Place::Channels, "/channels", &t!("node.channels.title")))
                (entry(Place::Audit, "/audit", &t!("audit.title")))
                (entry(Place::Settings, "/settings", &t!("settings.title")))
            }
        }
        form method="post" action="/sign-out" {
            (csrf(session))
            button.quiet { (t!("frame.sign_out")) }
        }
    };
    let head = html! {
        (linked())
        @if let Some(seconds) = refresh { noscript { meta http-equiv="refresh" content=(seconds); } }
    };
    frame(title, head, header, html! { main { (body) } })
}

/// The hidden field that every form of the owner carries.
pub(crate) fn csrf(session: &Current) -> Markup {
    html! { input type="hidden" name="csrf" value=(session.csrf); }
}

/// A message on a form, announced to screen readers and tied to its field by `id`.
pub(crate) fn complaint(id: &str, text: Option<&str>) -> Markup {
    html! { @if let Some(text) = text { p.complaint #(id) role="alert" { (text) } } }
}

fn linked() -> Markup {
    html! {
        link rel="stylesheet" href=(STYLE.path);
        script src=(SCRIPT.path) defer {}
        link rel="icon" type="image/svg+xml" href=(LOGO.path);
    }
}

fn brand(logo: Markup, home: &str) -> Markup {
    html! { a.brand href=(home) { (logo) span { "Homebolt" } } }
}

fn frame(title: &str, head: Markup, header: Markup, main: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(crate::language::current().code()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " \u{b7} Homebolt" }
                (head)
            }
            body {
                a.skip href="#main" { (t!("frame.skip")) }
                header { div.bar { (header) } }
                div #main tabindex="-1" { (main) }
            }
        }
    }
}
