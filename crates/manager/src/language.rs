//! Which language a text is in, and which time zone.
//!
//! A page speaks the language that the owner chose for the box; before there is an owner's choice, the one that the
//! browser asks for. The choice travels with the request's task, so that two requests at a time never mix: there is no
//! global to set. `t!` of `rust_i18n` reaches it by [`Spoken`], so a page just says `t!("area.key")`.

use std::{borrow::Cow, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::Response,
};
use jiff::tz::TimeZone;
use rust_i18n::Backend;
use serde::{Deserialize, Serialize};

use crate::shared::Shared;

/// The languages of the box. Each text is there in all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Language {
    #[default]
    #[serde(rename = "en")]
    English,
    #[serde(rename = "de")]
    German,
    #[serde(rename = "fr")]
    French,
    #[serde(rename = "pt")]
    Portuguese,
    #[serde(rename = "es")]
    Spanish,
}

impl Language {
    pub(crate) const ALL: [Self; 5] = [Self::English, Self::German, Self::French, Self::Portuguese, Self::Spanish];

    /// ISO 639-1, as in the files of texts and in `<html lang>`.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
            Self::French => "fr",
            Self::Portuguese => "pt",
            Self::Spanish => "es",
        }
    }

    /// Its own name in itself: who cannot read the page finds it.
    pub(crate) fn own_name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::German => "Deutsch",
            Self::French => "Français",
            Self::Portuguese => "Português",
            Self::Spanish => "Español",
        }
    }

    pub(crate) fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.code().eq_ignore_ascii_case(code))
    }

    /// The one of ours that the browser likes best (`Accept-Language`, RFC 9110), English when it likes none.
    fn asked(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(header::ACCEPT_LANGUAGE).into_iter().filter_map(|line| line.to_str().ok());
        let wishes = lines.flat_map(|line| line.split(',')).filter_map(wish);
        // Of equal wishes the first counts.
        let best = wishes.reduce(|best, wish| if wish.1 > best.1 { wish } else { best });
        best.map(|(language, _)| language).unwrap_or_default()
    }
}

/// `de-AT;q=0.8`: a language of ours, and how much it is liked, in thousandths.
fn wish(text: &str) -> Option<(Language, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let language = Language::from_code(parts.next()?.split('-').next()?)?;
    let weight = match parts.find_map(|part| part.strip_prefix("q=")) {
        None => 1000,
        Some(weight) => (weight.parse::<f32>().ok()?.clamp(0.0, 1.0) * 1000.0) as u16,
    };
    (weight > 0).then_some((language, weight))
}

/// How a text is written for its reader.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    language: Language,
    /// In which moments are shown; they are kept in UTC.
    zone: TimeZone,
}

impl Default for Manner {
    fn default() -> Self {
        Self { language: Language::default(), zone: TimeZone::UTC }
    }
}

impl Manner {
    #[cfg(test)]
    pub(crate) fn new(language: Language, zone: TimeZone) -> Self {
        Self { language, zone }
    }

    /// The box's own, for what all its readers see.
    pub(crate) fn of_box(shared: &Shared) -> Self {
        Self { language: shared.language().unwrap_or_default(), zone: shared.place().time_zone() }
    }
}

tokio::task_local! {
    static MANNER: Manner;
}

/// The language of what is being done: the page's; English where nobody said anything.
pub(crate) fn current() -> Language {
    MANNER.try_with(|manner| manner.language).unwrap_or_default()
}

/// The time zone of what is being done; UTC where nobody said anything.
pub(crate) fn zone() -> TimeZone {
    MANNER.try_with(|manner| manner.zone.clone()).unwrap_or(TimeZone::UTC)
}

/// Does `work` in that manner.
pub(crate) fn writing<T>(manner: Manner, work: impl FnOnce() -> T) -> T {
    MANNER.sync_scope(manner, work)
}

/// `work` for a task of its own, in the manner of the one that starts it: a new task knows nothing of its parent.
pub(crate) fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    MANNER.scope(MANNER.try_with(Clone::clone).unwrap_or_default(), work)
}

/// `work` in the manner of the box, for what it does without being asked.
pub(crate) fn of_box<F: Future>(shared: &Shared, work: F) -> impl Future<Output = F::Output> {
    MANNER.scope(Manner::of_box(shared), work)
}

/// The layer around all routes: every answer is in one language.
pub(crate) async fn speak(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let mut manner = Manner::of_box(&shared);
    if shared.language().is_none() {
        manner.language = Language::asked(request.headers());
    }
    MANNER.scope(manner, next.run(request)).await
}

/// Where `t!` looks first. Without a word about it `t!` asks for `en`, which nobody ever changes; here that means the
/// language of the task.
pub(crate) struct Spoken;

impl Backend for Spoken {
    fn available_locales(&self) -> Vec<Cow<'_, str>> {
        Vec::new()
    }

    fn translate(&self, locale: &str, key: &str) -> Option<Cow<'_, str>> {
        let language = current();
        if locale != Language::English.code() || language == Language::English {
            return None;
        }
        crate::_rust_i18n_backend().translate(language.code(), key)
    }

    fn messages_for_locale(&self, _locale: &str) -> Option<Vec<(Cow<'_, str>, Cow<'_, str>)>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_browser_s_best_liked_language_of_ours_is_taken() {
        for (said, expected) in [
            ("de", Language::German),
            ("de-AT,de;q=0.9,en;q=0.8", Language::German),
            ("en-GB;q=0.7, pt-BR;q=0.9", Language::Portuguese),
            ("nl, fr;q=0.5, es;q=0.4", Language::French),
            ("es,fr", Language::Spanish),
            ("de;q=0, en;q=0.1", Language::English),
            ("nl", Language::English),
            ("*", Language::English),
            ("de;q=cheese", Language::English),
            ("", Language::English),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_str(said).unwrap());
            assert_eq!(Language::asked(&headers), expected, "{said}");
        }
        assert_eq!(Language::asked(&HeaderMap::new()), Language::English);
    }

    #[tokio::test]
    async fn tasks_side_by_side_never_mix_their_languages() {
        let speak = async |language: Language| {
            for _ in 0..50 {
                assert_eq!(current(), language);
                assert_eq!(rust_i18n::t!("setup.next"), crate::_rust_i18n_translate(language.code(), "setup.next"));
                tokio::task::yield_now().await;
            }
        };
        let one = |language| MANNER.scope(Manner { language, ..Manner::default() }, speak(language));
        tokio::join!(one(Language::German), one(Language::English), one(Language::French), one(Language::Spanish));
        assert_eq!(current(), Language::English);
    }

    #[tokio::test]
    async fn a_task_started_by_a_request_goes_on_in_its_language() {
        let manner = Manner { language: Language::German, ..Manner::default() };
        let task = writing(manner, || tokio::spawn(carried(async { current() })));
        assert_eq!(task.await.unwrap(), Language::German);
    }
}
