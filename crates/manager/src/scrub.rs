//! Covers what looks like a secret in text that leaves the box: lines of the journal, and the support bundle. There
//! should be none in it; this is the net below.

use std::borrow::Cow;

const COVER: &str = "[covered]";
/// How a macaroon of LND begins, in hexadecimal and in base64: version 2, location `lnd`.
const MACAROONS: [&str; 2] = ["0201036c6e64", "AgEDbG5k"];
/// Keys of BIP 32, which begin so on every chain.
const KEYS: [&str; 3] = ["xprv", "tprv", "aezeed"];
/// What stands before a value that is not to be seen.
const NAMES: [&str; 8] = ["rpcpass", "password", "passphrase", "macaroon", "secret", "token", "preimage", "dsn"];
/// So many words of the seed's list in a row are no sentence.
const SEED_WORDS: usize = 6;

/// The text without what looks like a secret.
pub(crate) fn scrub(text: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(|line| line_of(line).into_owned()).collect();
    if text.ends_with('\n') {
        lines.push(String::new());
    }
    lines.join("\n")
}

fn line_of(line: &str) -> Cow<'_, str> {
    let mut words: Vec<Cow<'_, str>> = line.split(' ').map(word).collect();
    let mut changed = words.iter().any(|word| matches!(word, Cow::Owned(_)));
    for index in 1..words.len() {
        // `password: hunter2`, and `password = hunter2`.
        let before = if matches!(&*words[index - 1], "=" | ":") { index.checked_sub(2) } else { Some(index - 1) };
        let ends = |word: &str| word.ends_with([':', '=']) || index - before.unwrap_or(index) == 2;
        let is_named = before.is_some_and(|at| ends(&words[at]) && is_name(words[at].trim_end_matches([':', '='])));
        if is_named && !words[index].is_empty() && !matches!(&*words[index], "=" | ":") {
            words[index] = COVER.into();
            changed = true;
        }
    }
    changed |= cover_seed(&mut words);
    if changed { words.join(" ").into() } else { line.into() }
}

/// One word: a key of some kind, or a name with its value.
fn word(text: &str) -> Cow<'_, str> {
    for mark in MACAROONS.iter().chain(&KEYS) {
        if let Some(at) = text.find(mark)
            && text.len() - at > 20
        {
            return format!("{}{COVER}", &text[..at]).into();
        }
    }
    // Name and password in a URL.
    if let Some((scheme, rest)) = text.split_once("://")
        && let Some((who, place)) = rest.split_once('@')
        && who.contains(':')
    {
        return format!("{scheme}://{COVER}@{place}").into();
    }
    let value = text.find(['=', ':']).filter(|at| at + 1 < text.len() && is_name(&text[..*at]));
    value.map_or(text.into(), |at| format!("{}{COVER}", &text[..=at]).into())
}

fn is_name(text: &str) -> bool {
    let plain = text.trim_matches(|letter: char| !letter.is_ascii_alphanumeric()).to_ascii_lowercase();
    // The last part of `bitcoind.rpcpass`, and `walletpassword`.
    NAMES.iter().any(|name| plain.ends_with(name))
}

fn cover_seed(words: &mut [Cow<'_, str>]) -> bool {
    let is_seed = |word: &str| {
        let plain = word.trim_matches(|letter: char| !letter.is_ascii_alphabetic());
        !plain.is_empty() && bip39::Language::English.find_word(plain).is_some()
    };
    let mut found = false;
    let mut start = 0;
    while start < words.len() {
        let run = words[start..].iter().take_while(|word| is_seed(word)).count();
        if run >= SEED_WORDS {
            words[start..start + run].fill(COVER.into());
            found = true;
        }
        start += run.max(1);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_covered_whatever_stands_before_them() {
        let macaroon = "0201036c6e6402f801030a10aabbccddeeff00112233445566778899";
        for (line, hidden) in [
            (format!("called with macaroon {macaroon} from x"), "aabbccdd"),
            ("lndconnect://1.2.3.4:8443?cert=x&macaroon=AgEDbG5kAvgBAwoQqrvM3e7_".into(), "qrvM3e7"),
            ("bitcoind.rpcpass=hunter2".into(), "hunter2"),
            ("wallet password: hunter2!".into(), "hunter2"),
            ("Password = hunter2".into(), "hunter2"),
            ("\"rpcpassword\":\"hunter2\",".into(), "hunter2"),
            ("db.postgres.dsn=postgres://alice:hunter2@db:5432/lnd".into(), "hunter2"),
            ("open postgres://alice:hunter2@db:5432/lnd now".into(), "hunter2"),
            ("key xprv9s21ZrQH143K3QTDL4LXw2F7HEK3wJUD2nW2nRk4stbPy6cq3jPPqjiChkVvvNKmPGJxWUtg6LnF5kejMRNNU3TGtRBeJgk33yuGBxrMPHi".into(), "QTDL4"),
            ("seed: abandon ability, able about above absent".into(), "ability"),
        ] {
            let covered = scrub(&line);
            assert!(!covered.contains(hidden) && covered.contains(COVER), "{line}: {covered}");
        }
    }

    #[test]
    fn what_helps_stays() {
        for line in [
            "Opened wallet at height 812345, hash 000000000000000000025edbf5ea025e4af2674b318ba82206f70681d97ca162",
            "a sign-in with a wrong password",
            "a sign-in was refused address=192.168.1.7 why=\"The password was right, the code was not.\"",
            "peer 02abcdef@10.0.0.1:9735: read next header: EOF",
            "https://homelab.local:8443/home?x=1",
            "",
        ] {
            assert_eq!(scrub(line), line);
        }
        assert_eq!(scrub("a\nb\n"), "a\nb\n");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_fall_over(text in ".*") {
            scrub(&text);
        }
    }
}
