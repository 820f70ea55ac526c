//! What this box knows of itself when a version is judged.

use release::{Facts, LndVersion, Release, Version};
use twin::State;

use super::{Settings, seen::Seen};

/// What [`facts`] are made of.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) release: &'a Release,
    pub(super) state: &'a State,
    pub(super) settings: &'a Settings,
    pub(super) seen: &'a Seen,
    /// The channel's name; empty where there is none.
    pub(super) channel: &'a str,
    pub(super) id: &'a [u8],
    pub(super) now: u64,
}

/// The facts, as for what the box does by itself. An error is a sentence: where something is not known, nothing is guessed.
pub(super) fn facts(given: Given<'_>) -> Result<Facts, String> {
    let Given { release, state, settings, seen, channel, id, now } = given;
    let report = &state.updates;
    let unknown = |what: &str, value: &str| {
        format!("this system does not know {what} ({value:?}): install one that does by hand")
    };
    let version = |text: &str| Version::parse(text).ok();
    let lnd = |text: &String| LndVersion::parse(text).ok_or_else(|| unknown("an LND version", text));
    Ok(Facts {
        version: version(&release.version).ok_or_else(|| unknown("its own version", &release.version))?,
        board: release.board.clone(),
        base: release.base.clone(),
        lnd: lnd(&release.lnd_version)?,
        fence: report.fence.as_ref().map(lnd).transpose()?,
        now,
        // The initrd sets the clock no earlier than the last time the box saw. To keep a time here, too, would make one wrong
        // answer of a time server last for years.
        clock_floor: release.built,
        clock_set: state.resources.clock_set == Some(true),
        channel: channel.to_owned(),
        channel_seen: seen.channel(channel),
        id: id.to_vec(),
        failed: report.failed.iter().filter_map(|failed| version(failed)).collect(),
        kept: settings.keep,
        by_hand: false,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn release() -> Release {
        Release {
            version: "0.1.0".into(),
            board: "x86-64".into(),
            base: "debian".into(),
            built: 1_700_000_000,
            lnd_version: "v0.20.1-beta".into(),
            development_keys: false,
            eeprom: None,
        }
    }

    fn of(release: &Release, state: &State) -> Result<Facts, String> {
        let mut seen = Seen::default();
        seen.take("beta", 7);
        let settings = Settings { keep: true, ..Settings::default() };
        facts(Given {
            release,
            state,
            settings: &settings,
            seen: &seen,
            channel: "beta",
            id: b"me",
            now: 1_800_000_000,
        })
    }

    #[test]
    fn they_come_from_release_report_settings_and_what_was_seen() {
        let mut state = State::default();
        state.resources.clock_set = Some(true);
        let report = Arc::make_mut(&mut state.updates);
        report.failed = vec!["0.2.0".into(), "no version".into()];
        report.fence = Some("v0.21.2-beta".into());
        let facts = of(&release(), &state).unwrap();
        assert_eq!((facts.version, facts.failed), (Version::new(0, 1, 0), vec![Version::new(0, 2, 0)]));
        assert_eq!(
            (facts.lnd, facts.fence),
            (LndVersion::parse("v0.20.1-beta").unwrap(), LndVersion::parse("v0.21.2-beta"))
        );
        assert_eq!((facts.clock_floor, facts.channel_seen), (1_700_000_000, 7));
        assert!(facts.clock_set && facts.kept && !facts.by_hand);
    }

    #[test]
    fn a_fence_that_cannot_be_read_is_not_taken_for_none() {
        let mut state = State::default();
        Arc::make_mut(&mut state.updates).fence = Some("newest".into());
        assert!(of(&release(), &state).unwrap_err().contains("newest"));
        let odd = Release { version: "one".into(), ..release() };
        assert!(of(&odd, &State::default()).is_err());
    }
}
