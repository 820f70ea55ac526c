//! Looks at each page as people do: on a phone and at a desk, by day and by night, and with the checker for accessibility.

use std::path::PathBuf;

use crate::{
    axe::Axe,
    browser::{Browser, SIZES},
    report::{Outcome, fails},
};

/// What was seen on the pages so far.
pub(crate) struct Gallery<'a> {
    folder: PathBuf,
    axe: Option<&'a Axe>,
    pages: usize,
    violations: Vec<String>,
    complaints: Vec<String>,
    sideways: Vec<String>,
}

impl<'a> Gallery<'a> {
    /// Pictures go to `folder`.
    pub(crate) fn new(folder: PathBuf, axe: Option<&'a Axe>) -> Self {
        Self { folder, axe, pages: 0, violations: Vec::new(), complaints: Vec::new(), sideways: Vec::new() }
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// Looks at the page that is open.
    pub(crate) fn look(&mut self, browser: &Browser, name: &str) -> Outcome {
        self.pages += 1;
        self.listen(browser, name)?;
        for scheme in ["dark", "light"] {
            browser.prefer(scheme)?;
            for size in SIZES {
                browser.resize(size)?;
                let at = format!("{name}-{}-{scheme}", size.name);
                browser.picture(&self.folder.join(format!("{at}.png")))?;
                let wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
                if let Some(points) = browser.run(wide)?.as_i64().filter(|points| *points > 0) {
                    self.sideways.push(format!("{at}: {points} points too wide"));
                }
                if let Some(axe) = self.axe {
                    self.violations.extend(axe.check(browser)?.into_iter().map(|line| format!("{at}: {line}")));
                }
            }
        }
        self.listen(browser, name)
    }

    /// Keeps what the browser's console has said since the last call.
    pub(crate) fn listen(&mut self, browser: &Browser, name: &str) -> Outcome {
        self.complaints.extend(browser.complaints()?.into_iter().map(|line| format!("{name}: {line}")));
        Ok(())
    }

    /// Forgets what the browser's console has said, where an error answer was asked for.
    pub(crate) fn ignore(&self, browser: &Browser) -> Outcome {
        browser.complaints().map(|_| ())
    }

    pub(crate) fn no_violations(&self) -> Outcome<usize> {
        self.verdict(&self.violations)
    }

    pub(crate) fn no_complaints(&self) -> Outcome<usize> {
        self.verdict(&self.complaints)
    }

    pub(crate) fn nothing_sideways(&self) -> Outcome<usize> {
        self.verdict(&self.sideways)
    }

    fn verdict(&self, found: &[String]) -> Outcome<usize> {
        match (found, self.pages) {
            (_, 0) => fails("no page was looked at"),
            ([], pages) => Ok(pages),
            (found, _) => fails(found.join("\n")),
        }
    }
}
