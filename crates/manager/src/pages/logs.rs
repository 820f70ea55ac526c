//! The journal: filtered, followed, downloaded.

use std::{convert::Infallible, fmt::Write, sync::Arc};

use axum::{
    body::Body,
    extract::{Query as Asked, State},
    http::{HeaderMap, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{StreamExt, stream};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::{Place, owner, words};
use crate::{
    http::{fail::Fail, is_plain},
    journal::{self, Found, JournalError, Level, Line, Query},
    session::Current,
    shared::House,
    sse,
};

/// Lines of one page.
const SHOWN: usize = 200;
/// Each costs a program that runs.
static FOLLOWERS: Semaphore = Semaphore::const_new(4);

pub(crate) async fn get(session: Current, Asked(query): Asked<Query>) -> Markup {
    let found = journal::newest(&query, None, SHOWN).await;
    let way = way(&query);
    let body = html! {
        h1 { (t!("logs.title")) }
        form method="get" action="/logs" {
            div.row {
                p.field {
                    label for="unit" { (t!("logs.unit")) }
                    select #unit name="unit" {
                        option value="" { (t!("logs.all_units")) }
                        @for unit in journal::units() { option value=(unit) selected[unit == query.unit] { (unit) } }
                    }
                }
                p.field {
                    label for="level" { (t!("logs.level")) }
                    select #level name="level" {
                        @for level in Level::ALL {
                            option value=(level.name()) selected[level == query.level] { (name(level)) }
                        }
                    }
                }
                p.field {
                    label for="search" { (t!("logs.search")) }
                    input #search name="search" type="search" maxlength="100" value=(query.search) autocomplete="off";
                }
            }
            p.row {
                button { (t!("logs.show")) }
                a.button.second href={ "/logs/download?" (way) } download { (t!("logs.download")) }
            }
        }
        p.hint { (t!("logs.hint")) }
        (lines(&found, &way))
    };
    owner(&t!("logs.title"), &session, Some(Place::Settings), body)
}

fn lines(found: &Result<Found, JournalError>, way: &str) -> Markup {
    match found {
        Err(error) => html! { p.notice.bad role="alert" { (words::sentence(&error.to_string())) } },
        Ok(found) => html! {
            @if found.lines.is_empty() { p { (t!("logs.none")) } }
            ol.log.journal data-follow={ "/logs/follow?" (way) "&after=" (quoted(&found.end)) } {
                @for line in &found.lines { (one(line)) }
            }
        },
    }
}

fn one(line: &Line) -> Markup {
    html! {
        li.bad[line.priority <= 3] {
            p.small { (words::moment(line.at)) " " (line.from) }
            p { code { (line.text) } }
        }
    }
}

fn name(level: Level) -> std::borrow::Cow<'static, str> {
    match level {
        Level::All => t!("logs.levels.all"),
        Level::Info => t!("logs.levels.info"),
        Level::Warning => t!("logs.levels.warning"),
        Level::Error => t!("logs.levels.error"),
    }
}

/// The query as a URL has it.
fn way(query: &Query) -> String {
    let mut way = format!("level={}", query.level.name());
    if let Some(unit) = journal::units().find(|unit| *unit == query.unit) {
        let _ = write!(way, "&unit={unit}");
    }
    if !query.search.is_empty() {
        let _ = write!(way, "&search={}", quoted(&query.search));
    }
    way
}

fn quoted(text: &str) -> String {
    text.bytes().fold(String::new(), |mut quoted, byte| {
        let letter = char::from(byte);
        let _ = if is_plain(letter) { write!(quoted, "{letter}") } else { write!(quoted, "%{byte:02X}") };
        quoted
    })
}

/// Where in the journal the page ends.
#[derive(Debug, Deserialize)]
pub(crate) struct After {
    /// A cursor; empty: the page could show nothing, so that all there is is new.
    after: Option<String>,
}

impl After {
    /// The place to go on from. A browser that lost the stream and asks again names the last line it had.
    fn place<'a>(&'a self, headers: &'a HeaderMap) -> Option<&'a str> {
        let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
        let is_place = |text: &&str| text.is_empty() || journal::is_cursor(text);
        last.filter(|text| journal::is_cursor(text)).or(self.after.as_deref().filter(is_place))
    }
}

/// `GET /logs/follow`: new lines as they come, for pages whose browser runs scripts.
pub(crate) async fn follow(
    State(house): State<Arc<House>>,
    session: Current,
    Asked(query): Asked<Query>,
    Asked(after): Asked<After>,
    headers: HeaderMap,
) -> Result<Response, Fail> {
    let Ok(place) = FOLLOWERS.try_acquire() else { return Err(Fail::Wait(std::time::Duration::from_secs(30))) };
    let Ok(lines) = journal::follow(&query, after.place(&headers)) else { return Err(Fail::NotFound) };
    let event = |line: Line| {
        let event = Event::default().event("line").data(one(&line).into_string());
        if journal::is_cursor(&line.cursor) { event.id(line.cursor) } else { event }
    };
    let bye = stream::iter([Event::default().event("bye").data("")]);
    // A journal that has ended says nothing more; only the end of the session is the end of the page.
    let events =
        lines.map(event).chain(stream::pending()).take_until(sse::end(house, session)).chain(bye).map(move |event| {
            let _keeps = &place;
            Ok::<_, Infallible>(event)
        });
    let answer = Sse::new(events).keep_alive(KeepAlive::default());
    Ok(([(header::CACHE_CONTROL, "no-store")], answer).into_response())
}

/// `GET /logs/download`: as text, oldest first.
pub(crate) async fn download(Asked(query): Asked<Query>) -> Result<Response, Fail> {
    let Ok(lines) = journal::all(&query) else { return Err(Fail::NotFound) };
    let text = lines.map(|line| Ok::<_, Infallible>(written(&line)));
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"homebolt-journal.txt\""),
    ];
    Ok((headers, Body::from_stream(text)).into_response())
}

/// A line of a text file.
pub(crate) fn written(line: &Line) -> String {
    format!("{} {} <{}> {}\n", words::moment(line.at), line.from, line.priority, line.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_the_same_lines_is_quoted() {
        let query = Query { unit: "lnd.service".into(), level: Level::Error, search: "a b&c\u{e9}".into() };
        assert_eq!(way(&query), "level=error&unit=lnd.service&search=a%20b%26c%C3%A9");
        assert_eq!(way(&Query { unit: "x&y".into(), ..Query::default() }), "level=all");
    }

    #[test]
    fn the_page_hands_its_place_in_the_journal_to_the_stream() {
        let end = "s=06;i=8;b=51";
        let found = Ok(Found { end: end.into(), ..Found::default() });
        let page = lines(&found, "level=all").into_string();
        let path = page.split("data-follow=\"").nth(1).unwrap().split('"').next().unwrap().replace("&amp;", "&");
        assert_eq!(path, "/logs/follow?level=all&after=s%3D06%3Bi%3D8%3Bb%3D51");
        let after = |path: &str| Asked::<After>::try_from_uri(&path.parse().unwrap()).unwrap().0;
        let mut headers = HeaderMap::new();
        assert_eq!(after(&path).place(&headers), Some(end));
        assert_eq!(after("/logs/follow?after=").place(&headers), Some(""));
        for path in ["/logs/follow", "/logs/follow?after=--flush"] {
            assert_eq!(after(path).place(&headers), None, "{path}");
        }
        // A stream that broke off goes on behind the last line that came.
        headers.insert("last-event-id", "s=06;i=9".parse().unwrap());
        assert_eq!(after(&path).place(&headers), Some("s=06;i=9"));
        headers.insert("last-event-id", "--flush".parse().unwrap());
        assert_eq!(after(&path).place(&headers), Some(end));
    }
}
