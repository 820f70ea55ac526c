//! The one page of the recovery, and what it shows on the consoles. Plain HTML: it works in every browser, and without one's
//! scripts. No I/O.

use std::{fmt::Write, net::IpAddr};

use twin::{DataState, Slot};

use crate::marks::Mark;

/// What became of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// None was begun since this start.
    None,
    /// It goes on: a sentence, and how far it is, in hundredths.
    Runs { said: String, percent: u8 },
    /// It ended without a new system, for this reason.
    Failed(String),
    /// The box restarts now: why.
    Restarts(String),
}

impl Job {
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Runs { .. } | Self::Restarts(_))
    }
}

/// One slot as a person sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    pub slot: Slot,
    pub version: Option<String>,
    /// Why it does not start.
    pub problem: String,
}

/// Everything there is to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Of the image this recovery came with.
    pub version: String,
    pub development_keys: bool,
    pub systems: Vec<System>,
    /// How the data partition stands; `None` while it is looked for.
    pub data: Option<(DataState, String)>,
    /// What keeps the disk from being used.
    pub disk: Option<String>,
    /// The newest last.
    pub marks: Vec<Mark>,
    pub addresses: Vec<IpAddr>,
    pub job: Job,
}

/// So many marks are shown.
const SHOWN: usize = 24;

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:44rem;margin:0 auto;padding:1rem;color:#1a1a1a;\
    background:#fff}h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}.note{border-left:.3rem solid #b35900;\
    padding:.2rem 0 .2rem 1rem}button,input{font:inherit}button{padding:.6rem 1.2rem;border:0;border-radius:.3rem;\
    background:#1f4e8c;color:#fff}input{max-width:100%}.scroll{overflow-x:auto}table{border-collapse:collapse;\
    font-size:.875rem}td,th{text-align:left;padding:.2rem .8rem .2rem 0;vertical-align:top}progress{width:100%}";

impl View {
    /// What is known before the disk was found.
    pub fn new(version: String, development_keys: bool) -> Self {
        Self {
            version,
            development_keys,
            systems: Vec::new(),
            data: None,
            disk: None,
            marks: Vec::new(),
            addresses: Vec::new(),
            job: Job::None,
        }
    }

    fn data_sentence(&self) -> String {
        match &self.data {
            None => "The data partition is being looked for.".into(),
            Some((DataState::Ok, _)) => {
                "The data partition is there and sound. Your wallet and your settings are on it.".into()
            }
            Some((_, detail)) => {
                format!("{detail} It is not touched here; the system that you install will offer what can be done.")
            }
        }
    }
}

fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut done, char| {
        match char {
            '&' => done.push_str("&amp;"),
            '<' => done.push_str("&lt;"),
            '>' => done.push_str("&gt;"),
            '"' => done.push_str("&quot;"),
            char => done.push(char),
        }
        done
    })
}

/// The page.
pub fn html(view: &View) -> String {
    let mut page = String::new();
    // Writing to a string does not fail.
    let _ = write_page(&mut page, view);
    page
}

fn write_page(page: &mut String, view: &View) -> std::fmt::Result {
    // Without a script the page asks again by itself while something goes on.
    let refresh = if view.job.is_busy() { "<meta http-equiv=\"refresh\" content=\"3\">" } else { "" };
    write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\">{refresh}<title>Homebolt recovery</title><style>{STYLE}</style></head>\
         <body><main><h1>Homebolt recovery</h1><p>Neither of the two systems on this box starts. Lightning does not run. \
         Your wallet is not touched by anything on this page.</p>"
    )?;
    if let Some(problem) = &view.disk {
        write!(page, "<p class=\"note\" role=\"alert\">{}</p>", escape(problem))?;
    }
    job(page, &view.job)?;
    write!(page, "<h2>What is wrong</h2>")?;
    if view.systems.is_empty() {
        write!(page, "<p>The systems are being looked at. Load this page again in a minute.</p>")?;
    }
    for system in &view.systems {
        let version =
            system.version.as_ref().map(|version| format!(", version {}", escape(version))).unwrap_or_default();
        write!(page, "<h3>System {}{version}</h3><p>{}</p>", system.slot, escape(&system.problem))?;
    }
    write!(page, "<p>{}</p>", escape(&view.data_sentence()))?;
    if !view.job.is_busy() {
        actions(page)?;
    }
    starts(page, &view.marks)?;
    let keys = if view.development_keys {
        " It takes systems signed with development keys: for trying, never for money."
    } else {
        ""
    };
    write!(page, "<p><small>Recovery of version {}.{keys}</small></p></main></body></html>", escape(&view.version))
}

fn job(page: &mut String, job: &Job) -> std::fmt::Result {
    match job {
        Job::None => Ok(()),
        Job::Runs { said, percent } => {
            let said = escape(said);
            write!(page, "<h2 id=\"job\">Installation</h2><p role=\"status\">{said}</p>")?;
            write!(page, "<progress max=\"100\" value=\"{percent}\" aria-labelledby=\"job\">{percent} %</progress>")
        }
        Job::Failed(reason) => {
            let reason = escape(reason);
            write!(page, "<p class=\"note\" role=\"alert\">Nothing was installed. {reason}</p>")
        }
        Job::Restarts(said) => write!(page, "<p class=\"note\" role=\"status\">{}</p>", escape(said)),
    }
}

fn actions(page: &mut String) -> std::fmt::Result {
    write!(
        page,
        "<h2>Install a system</h2><p>Choose the bundle of a release (a file that ends in <code>.raucb</code>). Its signature is \
         verified, and one that is older than what was on this box, or whose Lightning is older than your wallet, is refused.</p>\
         <form method=\"post\" action=\"/bundle\" enctype=\"multipart/form-data\"><p><label for=\"bundle\">Bundle</label><br>\
         <input id=\"bundle\" name=\"bundle\" type=\"file\" accept=\".raucb\" required></p><p><button>Install</button></p></form>\
         <h2>Try both systems again</h2><p>After power cuts, or once a cable or a disk was set right, they may start as before.</p>\
         <form method=\"post\" action=\"/again\"><p><button>Try again</button></p></form>"
    )
}

fn starts(page: &mut String, marks: &[Mark]) -> std::fmt::Result {
    if marks.is_empty() {
        return Ok(());
    }
    write!(
        page,
        "<h2>The last starts</h2><div class=\"scroll\" role=\"region\" aria-label=\"The last starts\" tabindex=\"0\">"
    )?;
    write!(page, "<table><thead><tr><th>When (UTC)</th><th>System</th><th>How far it came</th></tr></thead><tbody>")?;
    for mark in marks.iter().rev().take(SHOWN) {
        let (time, stage) = (time(mark.at), escape(&mark.stage));
        write!(page, "<tr><td>{time}</td><td>{}</td><td>{stage}</td></tr>", mark.slot)?;
    }
    write!(page, "</tbody></table></div>")
}

/// Date and time of day in UTC. Days by Howard Hinnant's `civil_from_days`.
fn time(seconds: u64) -> String {
    let (days, second) = (i64::try_from(seconds / 86_400).unwrap_or_default() + 719_468, seconds % 86_400);
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", second / 3600, second / 60 % 60)
}

/// What the consoles show: screen and serial line.
pub fn console(view: &View) -> String {
    let mut text = String::from("RECOVERY. Neither of the two systems on this box starts.\n");
    let mut line = |sentence: &str| {
        text.push_str(sentence);
        text.push('\n');
    };
    view.systems.iter().for_each(|system| line(&system.problem));
    view.disk.iter().for_each(|problem| line(problem));
    if let Some((state, _)) = &view.data
        && *state != DataState::Ok
    {
        line(&view.data_sentence());
    }
    match &view.job {
        Job::None => {}
        Job::Runs { said, .. } | Job::Restarts(said) => line(said),
        Job::Failed(reason) => line(&format!("Nothing was installed. {reason}")),
    }
    let addresses: Vec<String> = view
        .addresses
        .iter()
        .map(|address| match address {
            IpAddr::V4(address) => format!("http://{address}"),
            IpAddr::V6(address) => format!("http://[{address}]"),
        })
        .collect();
    if addresses.is_empty() {
        line("No router has given this box an address yet. Is the cable plugged in?");
    } else {
        line(&format!("Open {} in a browser of the same network.", addresses.join(" or ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        let system = |slot, problem: &str| System { slot, version: Some("0.1.0".into()), problem: problem.into() };
        View {
            systems: vec![
                system(Slot::A, "Slot A was started 3 times without success: <it> does not match its root hash."),
                System { version: None, ..system(Slot::B, "Slot B is switched off.") },
            ],
            data: Some((DataState::Ok, String::new())),
            marks: vec![Mark { id: "1".into(), slot: Slot::A, at: 1_764_335_400, stage: "root & all".into() }],
            addresses: vec!["192.168.1.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
            ..View::new("0.1.0".into(), true)
        }
    }

    #[test]
    fn the_page_gives_the_reasons_and_both_ways_out() {
        let page = html(&view());
        for part in [
            "<h3>System A, version 0.1.0</h3><p>Slot A was started 3 times without success: &lt;it&gt; does not match",
            "<h3>System B</h3><p>Slot B is switched off.",
            "The data partition is there and sound",
            "action=\"/bundle\" enctype=\"multipart/form-data\"",
            "action=\"/again\"",
            "<td>2025-11-28 13:10</td><td>A</td><td>root &amp; all</td>",
            "development keys",
        ] {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
        assert!(!page.contains("http-equiv"));
    }

    #[test]
    fn while_something_goes_on_the_page_renews_itself_and_offers_nothing_else() {
        let job = Job::Runs { said: "System A is being written.".into(), percent: 40 };
        let page = html(&View { job, ..view() });
        assert!(page.contains("http-equiv=\"refresh\"") && page.contains("System A is being written."));
        assert!(page.contains("value=\"40\"") && !page.contains("<form"));
        let page = html(&View { job: Job::Failed("The signature is wrong.".into()), ..view() });
        assert!(page.contains("Nothing was installed. The signature is wrong.") && page.contains("<form"));
    }

    #[test]
    fn a_damaged_data_partition_is_told() {
        let data = Some((DataState::Damaged, "The data partition cannot be read: <EIO>.".into()));
        let page = html(&View { data, ..view() });
        assert!(page.contains("cannot be read: &lt;EIO&gt;. It is not touched here"));
    }

    #[test]
    fn the_consoles_show_the_reasons_and_where_to_go() {
        let text = console(&view());
        assert!(text.starts_with("RECOVERY.") && text.contains("Slot B is switched off.\n"));
        assert!(
            text.ends_with("Open http://192.168.1.7 or http://[2001:db8::7] in a browser of the same network.\n"),
            "{text}"
        );
        let text = console(&View { addresses: Vec::new(), ..view() });
        assert!(text.contains("Is the cable plugged in?"));
    }

    #[test]
    fn a_time_is_told_in_words_of_the_calendar() {
        assert_eq!(time(0), "1970-01-01 00:00");
        assert_eq!(time(951_782_399), "2000-02-28 23:59");
        assert_eq!(time(951_868_740), "2000-02-29 23:59");
        assert_eq!(time(1_735_689_599), "2024-12-31 23:59");
    }
}
