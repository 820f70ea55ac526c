//! Where the box stands: the language of its texts, its time zone and its name in the local network.
//!
//! Language and zone of the pages are the manager's own and kept in the store. Host name and zone of the system are the
//! root program's work (`Task::Place`), which keeps them on the data partition for every system that starts from it.

use std::{sync::LazyLock, time::Duration};

use jiff::tz::TimeZone;
use rust_i18n::t;
use serde::{Deserialize, Serialize};
use store::Audit;

use crate::{
    error::{Error, now},
    fault::set_aside,
    language::Language,
    request::Task,
    shared::{House, Shared},
};

/// Key of [`Place`] in the store.
pub(crate) const KEY: &str = "place";

/// The zone of a box whose owner has chosen none.
pub(crate) const UTC: &str = "UTC";

/// For the root program to name the machine and to start the responder for `.local` again.
const LIMIT: Duration = Duration::from_secs(25);

/// What the owner chose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Place {
    pub(crate) language: Option<Language>,
    /// A name of the time zone database: `Europe/Berlin`.
    pub(crate) zone: Option<String>,
}

impl Place {
    pub(crate) fn zone_name(&self) -> &str {
        self.zone.as_deref().unwrap_or(UTC)
    }

    /// UTC when none was chosen, or when the system does not know it (any more).
    pub(crate) fn time_zone(&self) -> TimeZone {
        self.zone.as_deref().and_then(|name| TimeZone::get(name).ok()).unwrap_or(TimeZone::UTC)
    }
}

/// The parts of the world by which the database names its zones; what else is in it are old names and offsets.
const REGIONS: [&str; 10] =
    ["Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific"];

static ZONES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let names = jiff::tz::db().available().map(|name| name.as_str().to_owned());
    let is_place = |name: &String| name.split_once('/').is_some_and(|(region, _)| REGIONS.contains(&region));
    let mut zones: Vec<String> = names.filter(is_place).collect();
    zones.sort();
    zones.insert(0, UTC.to_owned());
    zones
});

/// The zones that can be chosen, as the system knows them: UTC, then by region and city.
pub(crate) fn zones() -> &'static [String] {
    &ZONES
}

/// What was typed as the box's name, as it is used: small letters, without `.local`. `None` when it cannot be one: a
/// label as of RFC 1123, which is what becomes `<name>.local`.
pub(crate) fn host_name(typed: &str) -> Option<String> {
    let name = typed.trim().to_ascii_lowercase();
    let name = name.strip_suffix(".local").unwrap_or(&name);
    let is_label = (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    // The one is this machine's inner name everywhere, the other would be asked for as an address.
    let is_taken = name == "localhost" || name.bytes().all(|byte| byte.is_ascii_digit());
    (is_label && !is_taken).then(|| name.to_owned())
}

/// Reads a choice; an error is the field and a sentence.
pub(crate) fn read<'a>(
    language: &str,
    zone: &'a str,
    name: &str,
) -> Result<(Language, &'a str, String), (&'static str, String)> {
    let language = Language::from_code(language).ok_or_else(|| ("language", t!("place.bad_language").into_owned()))?;
    if !zones().iter().any(|known| known == zone) {
        return Err(("zone", t!("place.bad_zone").into_owned()));
    }
    let host = host_name(name).ok_or_else(|| ("name", t!("place.bad_name").into_owned()))?;
    Ok((language, zone, host))
}

/// Why a choice was not taken.
pub(crate) enum Refusal {
    /// The system would not, in its own sentence.
    System(String),
    Error(Error),
}

/// Takes `language`, `zone` and `host`, which have been checked: the system first, as it can refuse, then the store.
pub(crate) async fn take(
    house: &House,
    actor: String,
    language: Language,
    zone: &str,
    host: &str,
) -> Result<(), Refusal> {
    let was = house.shared.place();
    let is_new = host != house.shared.host() || zone != was.zone_name();
    if is_new {
        let content = format!("{host}\n{zone}");
        let asked = house.desk.ask(&house.shared.run_dir, Task::Place, &content, LIMIT).await;
        asked.map_err(|refused| Refusal::System(refused.0))?;
    }
    let place = Place { language: Some(language), zone: Some(zone.to_owned()) };
    let detail = format!("{}, {zone}, {host}", language.code());
    let entry = Audit { at: now(), actor, action: "place-chosen", detail };
    let kept = house.store.set(KEY, &place, Some(entry)).await;
    kept.map_err(|error| Refusal::Error(error.into()))?;
    house.shared.place.send_replace(place);
    certify(house, host).map_err(Refusal::Error)
}

/// Sees to it that the box has a certificate authority which may sign `host`. One that may not is set aside, as its
/// limits are part of it, and the manager begins anew, which makes another: the page has said so before.
fn certify(house: &House, host: &str) -> Result<(), Error> {
    let authority = &house.shared.authority;
    if authority.permits_name(&format!("{host}.local")) {
        return Ok(());
    }
    tracing::warn!(host, "the certificate authority was made for another name: it is set aside");
    set_aside(authority.file())?;
    house.shared.again.notify_one();
    Ok(())
}

/// The language of a box whose owner has just come: the one of the page. The next step asks.
pub(crate) async fn begin(house: &House, language: Language) -> Result<(), Error> {
    if house.shared.language().is_some() {
        return Ok(());
    }
    let place = Place { language: Some(language), ..house.shared.place() };
    house.store.set(KEY, &place, None).await?;
    house.shared.place.send_replace(place);
    Ok(())
}

impl Shared {
    pub(crate) fn place(&self) -> Place {
        self.place.borrow().clone()
    }

    /// The language of the box, if the owner has chosen one.
    pub(crate) fn language(&self) -> Option<Language> {
        self.place.borrow().language
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_plain_label() {
        for (typed, name) in [("attic", "attic"), (" Attic.local ", "attic"), ("box-2", "box-2"), ("2nd", "2nd")] {
            assert_eq!(host_name(typed).as_deref(), Some(name), "{typed}");
        }
        for bad in ["", "-a", "a-", "a.b", "a b", "\u{e4}ttic", "a\nb", "localhost", "127", &"a".repeat(64)] {
            assert_eq!(host_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_zones_are_the_system_s_own() {
        let zones = zones();
        for zone in [UTC, "Europe/Berlin", "America/Sao_Paulo", "Asia/Kolkata"] {
            assert!(zones.iter().any(|known| known == zone), "{zone} is missing");
        }
        for zone in zones {
            assert!(TimeZone::get(zone).is_ok(), "{zone}");
        }
        assert!(zones.len() > 300 && !zones.iter().any(|zone| zone.starts_with("posix/")));
    }

    #[test]
    fn an_unknown_zone_is_utc() {
        let place = Place { language: None, zone: Some("Moon/Crater".into()) };
        assert_eq!(place.time_zone(), TimeZone::UTC);
    }
}
