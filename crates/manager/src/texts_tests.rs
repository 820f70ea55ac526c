//! The texts as a whole: each in every language, each used, and none written into a page.
//!
//! The sources are looked at as text, not parsed: what is overlooked so costs nothing, and the rules are a few lines.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::language::Language;

fn texts(language: Language) -> BTreeMap<String, String> {
    let texts = crate::_rust_i18n_backend().messages_for_locale(language.code()).unwrap_or_default();
    texts.into_iter().map(|(key, text)| (key.into_owned(), text.into_owned())).collect()
}

/// `%{name}` of a text, sorted.
fn places(text: &str) -> Vec<&str> {
    let mut places: Vec<&str> = text.split("%{").skip(1).filter_map(|rest| rest.split('}').next()).collect();
    places.sort_unstable();
    places
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
}

/// Every source file below `src`, without comments and without its tests: name, text.
fn code() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    let name = |path: &Path| path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
    let files = paths.iter().map(|path| (name(path), fs::read_to_string(path).unwrap()));
    files.filter(|(name, _)| !name.contains("tests")).map(|(name, text)| (name, plain(&text))).collect()
}

fn plain(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// The string literals of a source and what stands before each.
fn literals(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(begin) = text[from..].find('"').map(|at| from + at + 1) {
        let mut end = begin;
        while let Some(at) = text[end..].find(['"', '\\']).map(|at| end + at) {
            end = at;
            if text[at..].starts_with('"') {
                break;
            }
            // What is escaped may be longer than one byte; the letter behind a backslash of ours never is.
            end += 2;
        }
        // The one quote that is no string.
        if text[..begin].ends_with("'\"") && text[begin..].starts_with('\'') {
            from = begin + 1;
            continue;
        }
        found.push((&text[..begin - 1], &text[begin..end]));
        from = end + 1;
    }
    found
}

/// Red when a file was edited and cargo did not compile the manager anew.
#[test]
fn the_texts_of_the_program_are_those_of_the_files() {
    let mut written = BTreeSet::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("locales")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let quoted =
            text.lines().filter_map(|line| line.trim().strip_prefix("en: ")).filter(|text| text.starts_with('"'));
        // In quotes YAML escapes as JSON does.
        written.extend(quoted.map(|text| serde_json::from_str::<String>(text).unwrap()));
    }
    let compiled: BTreeSet<String> = texts(Language::English).into_values().collect();
    assert!(written.len() > 400, "{} texts", written.len());
    let missing: Vec<_> = written.difference(&compiled).collect();
    assert!(missing.is_empty(), "not in the program: {missing:?}");
}

#[test]
fn every_text_is_there_in_every_language_with_the_same_places() {
    let english = texts(Language::English);
    assert!(english.len() > 400, "{} texts", english.len());
    let mut faults = Vec::new();
    for language in Language::ALL {
        let code = language.code();
        let texts = texts(language);
        faults.extend(texts.keys().filter(|key| !english.contains_key(*key)).map(|key| format!("{key}: only {code}")));
        for (key, original) in &english {
            match texts.get(key).map(|text| text.trim()) {
                None | Some("") => faults.push(format!("{key}: not in {code}")),
                Some(text) if places(text) != places(original) => faults.push(format!("{key}: other places in {code}")),
                Some(_) => {}
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_text_whose_place_was_lost_is_found() {
    assert_eq!(places("%{b} of %{a}"), ["a", "b"]);
    assert_ne!(places("%{b} of %{a}"), places("%{b} of"));
}

/// Whether `t!(` stands there, and not the end of `format!(`.
fn is_asked(before: &str) -> bool {
    before.strip_suffix("t!(").is_some_and(|rest| !rest.ends_with(char::is_alphanumeric))
}

/// `setup.steps.` of `setup.steps.{}`: a key that is put together.
fn key_begun(literal: &str) -> Option<&str> {
    let (prefix, _) = literal.split_once('{')?;
    let is_key =
        prefix.contains('.') && prefix.chars().all(|letter| letter.is_ascii_lowercase() || matches!(letter, '.' | '_'));
    is_key.then_some(prefix)
}

#[test]
fn every_key_that_a_source_names_exists_and_every_text_is_used() {
    let english = texts(Language::English);
    let (mut named, mut begun, mut faults) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for (file, text) in code() {
        for (before, literal) in literals(&text) {
            let before = before.trim_end();
            if is_asked(before) && !english.contains_key(literal) {
                faults.push(format!("{file}: there is no text {literal}"));
            }
            if let Some(prefix) = key_begun(literal) {
                begun.insert(prefix.to_owned());
            }
            // A key may also come by way of a table or a variable.
            named.insert(literal.to_owned());
        }
    }
    let is_made = |key: &String| begun.iter().any(|prefix| key.starts_with(prefix.as_str()));
    let unused = english.keys().filter(|key| !named.contains(*key) && !is_made(key));
    faults.extend(unused.map(|key| format!("nothing uses the text {key}")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Whether what follows is the word of a line of the audit log.
fn is_audited(before: &str) -> bool {
    const CALLS: [&str; 6] =
        ["audit(&session,", "audit(session,", "caller.audit(", "line(actor,", "entry(", "entry(peer,"];
    let mut end: Vec<char> = before.chars().rev().filter(|letter| !letter.is_whitespace()).take(120).collect();
    end.reverse();
    let end: String = end.into_iter().collect();
    CALLS.iter().any(|call| end.ends_with(call)) || (end.ends_with("action:") && end.contains("Audit{"))
}

#[test]
fn each_word_of_the_audit_log_has_a_sentence() {
    let (english, mut words) = (texts(Language::English), BTreeSet::new());
    for (_, text) in code() {
        let found = literals(&text).into_iter().filter(|(before, _)| is_audited(before));
        words.extend(found.map(|(_, word)| word.to_owned()));
    }
    assert!(words.len() > 70, "only {} words were found", words.len());
    words.retain(|word| !english.contains_key(&format!("audit.action.{word}")));
    assert!(words.is_empty(), "these have none: {words:?}");
}

/// What reads like a sentence in a page and is none for people, or is the same in every language.
const NO_TEXT: [&str; 15] = [
    "Homebolt",
    "Lightning",
    "SQLite",
    "Postgres",
    "width=device-width, initial-scale=1",
    "light dark",
    "iPhone, iPad",
    "-----BEGIN CERTIFICATE-----",
    "noopener noreferrer nofollow",
    // of the audit log
    "Wrong password.",
    "The password was right, the code was not.",
    "A code for a new password was put on the screen.",
    "With the code on the screen. All sessions were ended.",
    "addresses by the router",
    "no rates",
];

/// Details of the audit log, which is kept in one language, and words of HTML.
const ASIDE: [&str; 8] = [
    "A code for a new password was put on the screen.",
    "With the code on the screen. All sessions were ended.",
    "addresses by the router",
    "no rates",
    "Wrong password.",
    "The password was right, the code was not.",
    "-----BEGIN CERTIFICATE-----",
    "noopener noreferrer nofollow",
];

/// Two words in a row, or one that begins with a capital letter and stands as content of an element.
fn is_text(before: &str, literal: &str) -> bool {
    let letters: Vec<char> = literal.chars().collect();
    let is_word = |run: &[char]| run.iter().all(|letter| letter.is_alphabetic());
    let two_words = letters.windows(5).any(|five| is_word(&five[..2]) && five[2] == ' ' && is_word(&five[3..]));
    let is_content = before.trim_end().ends_with('{') && letters.first().is_some_and(|first| first.is_uppercase());
    (two_words || (is_content && letters.len() > 3 && is_word(&letters)))
        && !NO_TEXT.contains(&literal)
        && !ASIDE.contains(&literal)
        && !is_ids(literal)
}

/// Names of elements, as `aria-describedby` has them.
fn is_ids(literal: &str) -> bool {
    literal.contains('-') && literal.chars().all(|letter| letter.is_ascii_lowercase() || matches!(letter, '-' | ' '))
}

/// What a literal stands in that no page shows: the log, the audit log, errors for the log, conditions.
fn is_aside(before: &str) -> bool {
    let line = before.rsplit("\n\n").next().unwrap_or(before);
    let statement = line.rsplit([';', '}']).next().unwrap_or(line);
    ["tracing::", "audit(", "Audit {", "format!(", "detail", "Error::system(", "reason = ", "Error::file(", "action:"]
        .iter()
        .any(|sign| statement.contains(sign))
}

#[test]
fn no_page_has_a_text_of_its_own() {
    let mut faults = Vec::new();
    for (file, text) in code() {
        if !file.starts_with("pages/") && file != "http/fail.rs" {
            continue;
        }
        for (before, literal) in literals(&text) {
            if is_text(before, literal) && !is_aside(before) {
                faults.push(format!("{file}: {literal:?}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_sentence_in_a_page_is_found() {
    let found = |text: &str| literals(text).iter().any(|(before, literal)| is_text(before, literal));
    assert!(
        found("p { \"Nothing was done.\" }") && found("h1 { \"Settings\" }") && found("owner(\"Audit log\", body)")
    );
    assert!(!found("p { (t!(\"fail.start\")) }") && !found("input name=\"code\" type=\"text\";"));
}
