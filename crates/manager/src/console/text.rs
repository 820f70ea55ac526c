//! What the console says: 80 columns, 24 lines, letters that the kernel's own font has.

use std::net::IpAddr;

use qrcode::{Color, EcLevel, QrCode};
use twin::State;

use crate::{access::reset::Shown, shared::Shared};

/// The smallest screen: a serial terminal, 80 by 25, less the line the cursor ends in.
const COLUMNS: usize = 80;
const LINES: usize = 24;
/// Light modules around the code; readers get along with two of the four that the standard asks for.
const MARGIN: usize = 2;

/// The whole text. `is_owned` hides the claim code: it is of use only to who wants to take the box over. `reset` is the
/// code for who forgot the password.
pub(crate) fn render(shared: &Shared, state: &State, is_owned: bool, reset: Option<&Shown>) -> String {
    let code = (!is_owned || shared.fault.is_some()).then(|| shared.claim.shown());
    // A visitor must see the trust page before the first warning; who owns the box has seen it.
    let scheme = if is_owned { "https" } else { "http" };
    let addresses: Vec<IpAddr> = state.network.addresses().collect();
    let first = addresses.first().map(|address| url(scheme, address));
    let qr = first.as_deref().and_then(qr).unwrap_or_default();

    let mut side = vec![format!("Homebolt {}", shared.release.version), shared.host(), String::new()];
    if shared.release.development_keys {
        // It takes updates from whoever has the keys of the machine that built it.
        side[0].push_str(", development keys");
    }
    if let Some(fault) = &shared.fault {
        side.push(format!("! {}.", fault.title()));
        side.extend(wrap(&fault.detail, width(&qr)).into_iter().take(4));
        side.push(String::new());
    }
    side.push("Open in a browser:".into());
    side.push(format!("  {scheme}://{}", state.network.local_name()));
    side.extend(addresses.iter().take(4).map(|address| format!("  {}", url(scheme, address))));
    if addresses.is_empty() {
        side.push("  (no address yet: is the cable in?)".into());
    }
    side.push(String::new());
    if let Some(code) = code {
        side.push(format!("Claim code:   {code}"));
        side.push(String::new());
    }
    if let Some(Shown { code, address }) = reset {
        side.push(format!("New password: {code}"));
        side.push(format!("  asked for by {address}"));
        side.push("  Not you? Tell nobody the code.".into());
        side.push(String::new());
    }
    side.push("Fingerprint of the certificate:".into());
    for half in shared.authority.words().chunks(3) {
        side.push(format!("  {}", half.join(" ")));
    }

    let mut text = beside(&qr, &side);
    let problems = state.boot.slots.iter().filter_map(|slot| Some((slot.slot, slot.problem.as_ref()?)));
    for (slot, problem) in problems {
        text.push(String::new());
        text.extend(wrap(&format!("System {slot:?} did not start: {problem}"), COLUMNS - 1));
    }
    text.truncate(LINES);
    text.join("\n") + "\n"
}

fn url(scheme: &str, address: &IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("{scheme}://{v4}"),
        IpAddr::V6(v6) => format!("{scheme}://[{v6}]"),
    }
}

/// Columns left beside the code.
fn width(qr: &[String]) -> usize {
    COLUMNS - 1 - qr.first().map_or(0, |line| line.chars().count() + 3)
}

fn beside(qr: &[String], side: &[String]) -> Vec<String> {
    let width = width(qr);
    let blank = " ".repeat(qr.first().map_or(0, |line| line.chars().count()));
    (0..qr.len().max(side.len()))
        .map(|index| {
            let left = qr.get(index).unwrap_or(&blank);
            let right: String = side.get(index).map(|line| line.chars().take(width).collect()).unwrap_or_default();
            let gap = if qr.is_empty() { "" } else { "   " };
            format!("{left}{gap}{right}").trim_end().to_owned()
        })
        .collect()
}

/// Lines of the code, two modules high each. The screen is dark, so light modules are drawn and dark ones left out.
fn qr(url: &str) -> Option<Vec<String>> {
    let code = QrCode::with_error_correction_level(url, EcLevel::L).ok()?;
    let size = code.width();
    let is_light = |x: usize, y: usize| {
        let inside = (MARGIN..MARGIN + size).contains(&x) && (MARGIN..MARGIN + size).contains(&y);
        !inside || code[(x - MARGIN, y - MARGIN)] == Color::Light
    };
    let whole = size + 2 * MARGIN;
    let line = |y: usize| {
        (0..whole)
            .map(|x| match (is_light(x, y), is_light(x, y + 1)) {
                (true, true) => '\u{2588}',
                (true, false) => '\u{2580}',
                (false, true) => '\u{2584}',
                (false, false) => ' ',
            })
            .collect()
    };
    Some((0..whole).step_by(2).map(line).collect())
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if lines[last].is_empty() {
            lines[last] = word.to_owned();
        } else if lines[last].chars().count() + 1 + word.chars().count() <= width {
            lines[last] = format!("{} {word}", lines[last]);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fault::{Fault, FaultKind},
        http::tests::shared,
    };

    fn state(addresses: &[&str]) -> State {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let interface = twin::Interface { name: "eth0".into(), up: true, mac: String::new(), addresses };
        let network = twin::Network { host_name: "homelab".into(), interfaces: vec![interface], ..Default::default() };
        State { network, ..State::default() }
    }

    fn fits(text: &str) {
        assert!(text.lines().count() <= LINES, "{text}");
        for line in text.lines() {
            assert!(line.chars().count() < COLUMNS, "{line}");
        }
    }

    #[tokio::test]
    async fn an_unclaimed_box_shows_code_words_and_addresses() {
        let (_folder, shared) = shared(None).await;
        let text = render(&shared, &state(&["192.168.100.200", "fd00::1"]), false, None);
        fits(&text);
        let code = shared.claim.shown();
        let needles =
            [code.as_str(), "http://192.168.100.200", "http://[fd00::1]", "homelab.local", ", development keys"];
        for needle in needles {
            assert!(text.contains(needle), "{needle} is missing in\n{text}");
        }
        assert!(text.contains(&shared.authority.words()[..3].join(" ")));
        assert!(text.contains(&shared.authority.words()[3..].join(" ")));
    }

    #[tokio::test]
    async fn a_claimed_box_hides_the_code() {
        let (_folder, shared) = shared(None).await;
        let text = render(&shared, &state(&["192.168.1.7"]), true, None);
        assert!(!text.contains(&shared.claim.shown()) && !text.to_lowercase().contains("claim"), "{text}");
        assert!(text.contains("https://192.168.1.7"));
    }

    #[tokio::test]
    async fn the_code_for_a_new_password_shows_with_who_asked() {
        let (_folder, shared) = shared(None).await;
        let address = "fd00:1234:5678:9abc:def0:1234:5678:9abc".parse().unwrap();
        let reset = Shown { code: "ABCD-EFGH".into(), address };
        let text = render(&shared, &state(&["192.168.1.7", "fd00::1", "10.0.0.1", "10.0.0.2"]), true, Some(&reset));
        fits(&text);
        assert!(
            text.contains("New password: ABCD-EFGH") && text.contains(&shared.authority.words()[3..].join(" ")),
            "{text}"
        );
        assert!(text.contains("fd00:1234:5678"), "{text}");
    }

    #[tokio::test]
    async fn a_faulty_box_says_so_and_shows_the_code_for_the_recovery() {
        let fault = Fault {
            kind: FaultKind::Foreign,
            detail: "The partition holds an NTFS file system labelled 'Holiday pictures 2019 to 2024, do not erase'."
                .into(),
            serial: String::new(),
            model: String::new(),
            aside: None,
        };
        let (_folder, shared) = shared(Some(fault)).await;
        let mut state = state(&["192.168.1.7", "10.0.0.7", "fd00:1234:5678:9abc:def0:1234:5678:9abc", "172.16.0.1"]);
        state.boot.slots = vec![twin::SlotStatus {
            slot: twin::Slot::A,
            booted: false,
            ok: false,
            tries: 3,
            version: None,
            problem: Some("a block of the root file system is damaged and the kernel stopped reading it".into()),
        }];
        let text = render(&shared, &state, false, None);
        fits(&text);
        for needle in ["holds something else", "NTFS", &shared.claim.shown(), "System A did not start"] {
            assert!(text.contains(needle), "{needle} is missing in\n{text}");
        }
    }

    #[test]
    fn the_code_is_square_and_has_a_light_margin() {
        let lines = qr("http://192.168.100.200").unwrap();
        assert_eq!(lines.len(), 15);
        assert!(lines.iter().all(|line| line.chars().count() == 29));
        assert!(lines[0].chars().all(|block| block == '\u{2588}'));
        assert!(lines[1].chars().nth(2) == Some(' '), "the finder pattern begins dark");
    }
}
