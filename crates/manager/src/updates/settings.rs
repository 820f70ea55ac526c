//! What the owner set about updates: whom to ask, what the box does by itself, and when.

use std::{fs, path::Path};

use rust_i18n::t;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::window::Window;

/// Key of [`Settings`] in the store.
pub(super) const KEY: &str = "updates";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    /// `None`: the channel that the image names, if it names one.
    pub(crate) channel: Option<Source>,
    pub(crate) automatic: Automatic,
    pub(crate) window: Window,
    /// The owner stays on the version that runs.
    pub(crate) keep: bool,
}

/// What the box does without being asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "AutomaticUpdates")]
pub(crate) enum Automatic {
    /// Nothing: it asks nobody.
    Off,
    /// It looks once a day, and tells.
    #[default]
    Look,
    /// It installs in the window, and restarts there.
    Install,
}

impl Automatic {
    pub(crate) const ALL: [Self; 3] = [Self::Off, Self::Look, Self::Install];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Look => "look",
            Self::Install => "install",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// A channel, and the folder that it is published in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    /// The address of the folder.
    pub(crate) url: String,
    /// `stable`, `beta` or another.
    pub(crate) name: String,
    /// The owner said that it is a server at home: it may have a private address, and do without TLS.
    #[serde(default)]
    pub(crate) home: bool,
}

impl Source {
    /// Reads what was typed; an error is a sentence.
    pub(crate) fn read(url: &str, name: &str, home: bool) -> Result<Self, String> {
        let (url, name) = (url.trim(), name.trim().to_owned());
        release::channel_name(&name).map_err(|_| t!("updates.set.bad_name").into_owned())?;
        let is_folder = |url: &Url| {
            let (query, fragment) = (url.query(), url.fragment());
            url.has_host() && url.username().is_empty() && url.password().is_none() && query.or(fragment).is_none()
        };
        let parsed = Url::parse(url).ok().filter(is_folder).ok_or_else(|| t!("updates.set.bad_url").into_owned())?;
        match parsed.scheme() {
            "https" => {}
            "http" if home => {}
            "http" => return Err(t!("updates.set.plain").into_owned()),
            _ => return Err(t!("updates.set.bad_url").into_owned()),
        }
        Ok(Self { url: parsed.into(), name, home })
    }

    /// What the image names, in `file`; `None` where it names none.
    pub(super) fn of_image(file: &Path) -> Option<Self> {
        let named: Self = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
        Self::read(&named.url, &named.name, false)
            .inspect_err(|error| tracing::error!(error, file = %file.display(), "the image names no usable channel"))
            .ok()
    }

    /// The channel's list.
    pub(crate) fn list(&self) -> Option<Url> {
        self.file(&[&format!("{}.json", self.name)])
    }

    /// A file below the folder. Names are those of a signed list, and still no part of them becomes another server.
    pub(crate) fn file(&self, path: &[&str]) -> Option<Url> {
        let mut url = Url::parse(&self.url).ok()?;
        url.path_segments_mut().ok()?.pop_if_empty().extend(path);
        Some(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_a_folder_on_the_web_and_without_tls_only_at_home() {
        for (url, home, list) in [
            ("https://example.org", false, "https://example.org/stable.json"),
            (" https://example.org/box/ ", false, "https://example.org/box/stable.json"),
            ("https://example.org/box", false, "https://example.org/box/stable.json"),
            ("http://192.168.1.5:8000/x", true, "http://192.168.1.5:8000/x/stable.json"),
        ] {
            let source = Source::read(url, "stable", home).unwrap();
            assert_eq!(source.list().unwrap().as_str(), list);
        }
        for (url, home) in [
            ("", false),
            ("example.org", false),
            ("http://example.org", false),
            ("ftp://example.org", true),
            ("https://user@example.org", false),
            ("https://example.org/?x", false),
            ("https://example.org/#x", false),
            ("file:///etc", true),
        ] {
            assert!(Source::read(url, "stable", home).is_err(), "{url}");
        }
        for name in ["", "Stable", "../x", "a b"] {
            assert!(Source::read("https://example.org", name, false).is_err(), "{name}");
        }
    }

    #[test]
    fn no_name_in_a_list_leads_to_another_server() {
        let source = Source::read("https://example.org/box", "stable", false).unwrap();
        for (path, expected) in [
            (["files", "a.raucb"], "https://example.org/box/files/a.raucb"),
            (["http:", "evil.example"], "https://example.org/box/http:/evil.example"),
            (["files", "a?b#c d"], "https://example.org/box/files/a%3Fb%23c%20d"),
        ] {
            assert_eq!(source.file(&path).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn what_the_image_names_may_not_be_at_home() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("channel.json");
        assert_eq!(Source::of_image(&file), None);
        std::fs::write(&file, r#"{"url":"https://example.org/","name":"beta","home":true}"#).unwrap();
        assert_eq!(Source::of_image(&file).map(|source| (source.name, source.home)), Some(("beta".into(), false)));
        std::fs::write(&file, r#"{"url":"http://example.org/","name":"beta"}"#).unwrap();
        assert_eq!(Source::of_image(&file), None);
    }
}
