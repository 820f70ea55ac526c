//! What the failed starts of a version left behind: why, in the box's own words, and the ends of the kernel's log and of the
//! journal.

use std::{fs::File, io::Read, path::Path, sync::Arc};

use axum::extract::{Path as Named, State};
use maud::{Markup, html};
use rust_i18n::t;

use super::PATH;
use crate::{
    http::fail::Fail,
    pages::{Place, owner},
    session::Current,
    shared::House,
    updates::beside,
};

/// What root keeps of each, and nothing else.
const FILES: [&str; 3] = ["why.txt", "kernel.txt", "journal.txt"];
/// Of one file, bytes; root keeps no more.
const LIMIT: u64 = 64 * 1024;

/// `GET /settings/updates/failed/{name}`.
pub(crate) async fn get(
    State(house): State<Arc<House>>,
    session: Current,
    Named(name): Named<String>,
) -> Result<Markup, Fail> {
    let state = house.shared.twin.state();
    // A folder that root names, and no other: what is asked for is never part of a path.
    let known =
        state.updates.history.iter().find_map(|attempt| attempt.evidence.as_ref().filter(|folder| **folder == name));
    let folder = known.filter(|folder| is_plain(folder)).ok_or(Fail::NotFound)?;
    let folder = house.shared.run_dir.join("failed").join(folder);
    let files = beside(move || FILES.map(|name| read(&folder.join(name)))).await?;
    let body = html! {
        h1 { (t!("updates.evidence")) }
        p.lead { (t!("updates.evidence_what")) }
        @for (name, text) in FILES.iter().zip(&files) {
            h2 { (name) }
            @match text {
                Some(text) => pre.file tabindex="0" role="region" aria-label=(name) { (text) },
                None => p { (t!("updates.evidence_none")) },
            }
        }
        p.actions { a.button.second href=(PATH) { (t!("setup.back")) } }
    };
    Ok(owner(&t!("updates.evidence"), &session, Some(Place::Settings), body))
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LIMIT).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    // Colours of a console are no text.
    Some(text.chars().filter(|letter| !letter.is_control() || matches!(letter, '\n' | '\t')).collect())
}
