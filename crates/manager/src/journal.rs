//! The journal, read by `journalctl`: a program of our own user, which a group lets read it. It is asked anew each time,
//! sends a bounded number of lines, and ends with who asked.

use std::{process::Stdio, time::Duration};

use futures_util::{Stream, stream};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::{self, Instant},
};

use crate::{scrub::scrub, sources::UNITS};

const PROGRAM: &str = "/usr/bin/journalctl";
/// So many lines are looked through for one page at most.
const SCANNED: usize = 20_000;
/// And for so long.
const PATIENCE: Duration = Duration::from_secs(8);
/// Bytes of one line; more is cut.
const LINE: usize = 4096;
/// What stands for the kernel in the choice of units.
pub(crate) const KERNEL: &str = "kernel";

/// How much a line matters, and all that matters more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "LogLevel")]
pub(crate) enum Level {
    #[default]
    All,
    Info,
    Warning,
    Error,
}

impl Level {
    pub(crate) const ALL: [Self; 4] = [Self::All, Self::Info, Self::Warning, Self::Error];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// Syslog's number of the least that counts.
    fn priority(self) -> &'static str {
        match self {
            Self::All => "7",
            Self::Info => "6",
            Self::Warning => "4",
            Self::Error => "3",
        }
    }
}

/// What is wanted. Made of what a browser sent: whatever is no unit of ours means all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Query {
    #[serde(default)]
    pub(crate) unit: String,
    #[serde(default)]
    pub(crate) level: Level,
    /// Part of a line, any case.
    #[serde(default)]
    pub(crate) search: String,
}

/// The units one can choose from.
pub(crate) fn units() -> impl Iterator<Item = &'static str> {
    UNITS.iter().copied().chain([KERNEL])
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Seconds since 1970.
    pub(crate) at: u64,
    pub(crate) from: String,
    /// Of syslog: 0 to 7, the less the worse.
    pub(crate) priority: u8,
    pub(crate) text: String,
    /// Its place in the journal, in journalctl's own words; empty where it says none.
    pub(crate) cursor: String,
}

/// Why the journal cannot be read, in a sentence.
#[derive(Debug, thiserror::Error)]
#[error("the journal cannot be read: {0}")]
pub(crate) struct JournalError(String);

/// What was found, newest first.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) lines: Vec<Line>,
    /// There may be older ones.
    pub(crate) more: bool,
    /// The place in the journal from which on nothing was looked at yet: what is added later comes after it. Empty where
    /// the units asked for have said nothing so far.
    pub(crate) end: String,
}

/// The newest lines, at most `most`; with a cursor, of those older than it.
pub(crate) async fn newest(query: &Query, cursor: Option<&str>, most: usize) -> Result<Found, JournalError> {
    collect(Reader::start(PROGRAM, query, Range::Before(cursor))?, most).await
}

async fn collect(mut reader: Reader, most: usize) -> Result<Found, JournalError> {
    let mut found = Found { more: true, ..Found::default() };
    let end = Instant::now() + PATIENCE;
    while found.lines.len() < most {
        match time::timeout_at(end, reader.next()).await {
            Ok(Some(line)) => found.lines.push(line),
            Ok(None) => {
                reader.verdict().await?;
                found.more = false;
                break;
            }
            // What was found by then.
            Err(_) => break,
        }
    }
    found.end = reader.first.unwrap_or_default();
    Ok(found)
}

/// Whether a text can be a cursor, and no option.
pub(crate) fn is_cursor(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'=' | b';');
    (1..=200).contains(&text.len()) && text.starts_with("s=") && text.bytes().all(is_letter)
}

/// All that is there, oldest first, at most [`SCANNED`] lines.
pub(crate) fn all(query: &Query) -> Result<impl Stream<Item = Line> + Send + use<>, JournalError> {
    Ok(Reader::start(PROGRAM, query, Range::All)?.stream())
}

/// What is added after a place in the journal ([`Found::end`]), until the stream is dropped. `None`: from now on.
pub(crate) fn follow(
    query: &Query,
    after: Option<&str>,
) -> Result<impl Stream<Item = Line> + Send + use<>, JournalError> {
    Ok(Reader::start(PROGRAM, query, after.map_or(Range::FromNow, Range::After))?.stream())
}

/// Which lines, in which order.
#[derive(Debug, Clone, Copy)]
enum Range<'a> {
    /// Newest first; with a cursor, the older ones.
    Before(Option<&'a str>),
    All,
    /// Oldest first, without an end. Without a cursor: since the start of the machine.
    After(&'a str),
    FromNow,
}

impl Range<'_> {
    fn arguments(self) -> Vec<String> {
        let after = |cursor: &str| format!("--after-cursor={cursor}");
        match self {
            // 'After' is in the order of the output, which is from the newest on.
            Self::Before(cursor) => {
                [format!("--lines={SCANNED}"), "--reverse".into()].into_iter().chain(cursor.map(after)).collect()
            }
            Self::All => vec![format!("--lines={SCANNED}")],
            Self::After("") => vec!["--follow".into(), "--no-tail".into()],
            Self::After(cursor) => vec!["--follow".into(), "--no-tail".into(), after(cursor)],
            Self::FromNow => vec!["--follow".into(), "--lines=0".into()],
        }
    }
}

/// Ends its program when dropped.
struct Reader {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    search: String,
    /// Cursor of the first line that came, whether it is searched for or not.
    first: Option<String>,
}

impl Reader {
    fn start(program: &str, query: &Query, range: Range) -> Result<Self, JournalError> {
        let mut command = Command::new(program);
        command.args(["--quiet", "--no-pager", "--output=json", "--boot"]).args(range.arguments());
        command.arg("--output-fields=MESSAGE,PRIORITY,_SYSTEMD_UNIT,SYSLOG_IDENTIFIER");
        command.args(["--priority", query.level.priority()]);
        match units().find(|unit| *unit == query.unit) {
            Some(KERNEL) => command.arg("--dmesg"),
            Some(unit) => command.args(["--unit", unit]),
            None => &mut command,
        };
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| JournalError(error.to_string()))?;
        let output = child.stdout.take().ok_or_else(|| JournalError("it says nothing".into()))?;
        let search = query.search.trim().to_lowercase();
        Ok(Self { child, lines: BufReader::new(output).lines(), search, first: None })
    }

    /// The next line that is searched for; `None` at the end.
    async fn next(&mut self) -> Option<Line> {
        loop {
            let text = self.lines.next_line().await.ok()??;
            let Some(line) = parse(&text) else { continue };
            self.first.get_or_insert_with(|| line.cursor.clone());
            if line.has(&self.search) {
                return Some(line);
            }
        }
    }

    /// How the program ended, which says whether the end was the journal's.
    async fn verdict(&mut self) -> Result<(), JournalError> {
        match time::timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(status)) if !status.success() => Err(JournalError(format!("journalctl ended with {status}"))),
            _ => Ok(()),
        }
    }

    fn stream(self) -> impl Stream<Item = Line> + Send + use<> {
        stream::unfold(self, |mut reader| async move { reader.next().await.map(|line| (line, reader)) })
    }
}

impl Line {
    fn has(&self, search: &str) -> bool {
        search.is_empty() || self.text.to_lowercase().contains(search) || self.from.contains(search)
    }
}

/// A line of `journalctl --output=json`.
fn parse(text: &str) -> Option<Line> {
    let Value::Object(fields) = serde_json::from_str(text).ok()? else { return None };
    let word = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut message = match fields.get("MESSAGE")? {
        Value::String(text) => text.clone(),
        // Bytes that are no UTF-8.
        Value::Array(bytes) => {
            let bytes: Vec<u8> = bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        // journalctl leaves out what is too long.
        _ => "[\u{2026}]".to_owned(),
    };
    message.truncate(message.floor_char_boundary(LINE));
    let unit = word("_SYSTEMD_UNIT");
    let from = if unit.is_empty() { word("SYSLOG_IDENTIFIER") } else { unit };
    Some(Line {
        at: word("__REALTIME_TIMESTAMP").parse::<u64>().unwrap_or_default() / 1_000_000,
        from: from.chars().take(64).collect(),
        priority: word("PRIORITY").parse().unwrap_or(6),
        text: scrub(&plain(&message)),
        cursor: word("__CURSOR").to_owned(),
    })
}

/// Without colours and other control characters, which a program writes for a terminal.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => {
                let _ = letters.by_ref().find(char::is_ascii_alphabetic);
            }
            '\n' | '\t' => plain.push(letter),
            letter if letter.is_control() => {}
            letter => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_journal_is_read_and_its_secrets_are_covered() {
        let text = r#"{"__REALTIME_TIMESTAMP":"1700000000123456","PRIORITY":"4","_SYSTEMD_UNIT":"lnd.service","MESSAGE":"\u001b[31mrpcpass=hunter2\u001b[0m here"}"#;
        let line = parse(text).unwrap();
        assert_eq!((line.at, line.priority, line.from.as_str()), (1_700_000_000, 4, "lnd.service"));
        assert_eq!(line.text, "rpcpass=[covered] here");
        assert!(line.has("here") && line.has("lnd") && !line.has("hunter2"));
    }

    #[test]
    fn a_cursor_is_never_an_option() {
        assert!(is_cursor("s=0639;i=8;b=51;m=4f9;t=4fd;x=9"));
        for bad in ["", "--flush", "s=1 --flush", "i=1", "s=1\n"] {
            assert!(!is_cursor(bad), "{bad}");
        }
    }

    #[test]
    fn odd_lines_are_no_trouble() {
        let bytes = parse(r#"{"MESSAGE":[104,105,255,300,-1],"SYSLOG_IDENTIFIER":"kernel"}"#).unwrap();
        assert_eq!((bytes.text.as_str(), bytes.from.as_str(), bytes.priority), ("hi\u{fffd}", "kernel", 6));
        assert_eq!(parse(r#"{"MESSAGE":null}"#).unwrap().text, "[\u{2026}]");
        for odd in ["", "{}", "[]", "7", "{\"MESSAGE\""] {
            assert_eq!(parse(odd), None, "{odd}");
        }
        let long = format!(r#"{{"MESSAGE":"{}"}}"#, "\u{e9}".repeat(LINE));
        assert!(parse(&long).unwrap().text.len() <= LINE);
    }

    #[tokio::test]
    async fn a_unit_that_is_none_of_ours_is_no_argument() {
        let query = Query { unit: "--flush".into(), ..Query::default() };
        let reader = Reader::start(PROGRAM, &query, Range::All);
        // Where there is no journalctl there is a sentence.
        match reader {
            Ok(reader) => assert!(collect(reader, 0).await.is_ok()),
            Err(error) => assert!(error.to_string().contains("cannot be read")),
        }
    }

    #[test]
    fn journalctl_is_asked_for_what_comes_after_the_page() {
        let words = |range: Range| range.arguments().join(" ");
        assert_eq!(words(Range::Before(None)), "--lines=20000 --reverse");
        assert_eq!(words(Range::Before(Some("s=1"))), "--lines=20000 --reverse --after-cursor=s=1");
        assert_eq!(words(Range::After("s=1")), "--follow --no-tail --after-cursor=s=1");
        assert_eq!(words(Range::After("")), "--follow --no-tail");
        assert_eq!(words(Range::FromNow), "--follow --lines=0");
    }

    /// A journalctl of a journal that is a file with a message a line: numbers are cursors. Knows the few options that
    /// matter here, and ends where the real one would wait.
    fn journalctl(folder: &std::path::Path) -> String {
        let program = folder.join("journalctl");
        let text = format!(
            "#!/bin/sh\nfirst=0; order=cat\nfor word; do case $word in\n\
             --after-cursor=*) first=${{word##*=}} ;;\n--reverse) order=tac ;;\nesac; done\n\
             /usr/bin/awk -v first=$first 'NR > first {{ printf \"{{\\\"__CURSOR\\\":\\\"s=%d\\\",\\\"MESSAGE\\\":\\\"%s\\\"}}\\n\", NR, $0 }}' \
             {} | /usr/bin/$order\n",
            folder.join("journal").display()
        );
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        program.to_string_lossy().into_owned()
    }

    #[tokio::test]
    async fn what_is_written_between_the_page_and_its_stream_is_on_the_stream() {
        let folder = tempfile::tempdir().unwrap();
        let (program, journal) = (journalctl(folder.path()), folder.path().join("journal"));
        for search in ["line", "in between", "no such words"] {
            let query = Query { search: search.into(), ..Query::default() };
            for before in ["", "line one\nline two\n"] {
                std::fs::write(&journal, before).unwrap();
                let page = collect(Reader::start(&program, &query, Range::Before(None)).unwrap(), 10).await.unwrap();
                std::fs::write(&journal, format!("{before}a line in between\n")).unwrap();
                let stream = Reader::start(&program, &query, Range::After(&page.end)).unwrap().stream();
                let followed: Vec<Line> = futures_util::StreamExt::collect(stream).await;
                let shown = |lines: &[Line]| lines.iter().map(|line| line.text.clone()).collect::<Vec<_>>();
                let all = [shown(&followed), shown(&page.lines)].concat();
                let text = format!("{before}a line in between");
                let mut expected: Vec<&str> = text.lines().filter(|line| line.contains(search)).collect();
                expected.reverse();
                assert_eq!(all, expected, "{search:?} after {before:?}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_it_fall_over(text in "\\PC*|\\{\"MESSAGE\":.*\\}") {
            parse(&text);
            plain(&text);
        }
    }
}
