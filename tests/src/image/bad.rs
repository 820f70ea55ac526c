//! Part `bad`: releases that are broken on purpose, each in another way. However an update ends, the box ends on a system that
//! works, and its page says why.
//!
//! ```text
//!  the image ─► some files exchanged (homebolt rework) ─► bundle ─► RAUC ─► restart ─► three tries ─► the old system, reason
//!                                                            └► refused, reason
//! ```
//! Each takes about seven minutes on an emulated processor: it is chosen by `--part bad` alone.

mod cpio;
mod spoil;

use std::{path::Path, time::Duration};

use twin::updates::Stage;

use crate::{
    Context,
    report::{Outcome, Report, ensure, fails, until},
    shelf::Shelf,
    visitor,
};

use super::{
    fallback::{marked_good, says_why},
    lab::{BOOT, Lab, Live, Options},
    lanes::{self, Case},
    update,
};
use spoil::Workshop;

/// Three failed starts, each with its pause or its watchdog, and a good one.
const PATIENCE: Duration = Duration::from_secs(900);

/// How an update ends.
enum End {
    /// After three tries the old system runs again, and its page says this of the new one.
    FallsBack(&'static str),
    /// The same, once somebody has put it there past root's own check of what was written.
    ForcedFallsBack(&'static str),
    /// RAUC does not take it, and says this.
    Refused(&'static str),
    /// The new system is kept, and its home page says this.
    Stays(&'static str),
}

/// A release, and how it ends.
struct Bad {
    name: &'static str,
    spoil: fn(&Workshop<'_>) -> Outcome<std::path::PathBuf>,
    end: End,
}

const RELEASES: [Bad; 11] = [
    Bad { name: "a kernel cut short", spoil: spoil::kernel, end: End::FallsBack("its kernel or initrd is broken") },
    Bad {
        name: "a kernel that panics, as its initrd has no first process",
        spoil: spoil::panic,
        end: End::FallsBack("its kernel or initrd is broken"),
    },
    Bad {
        name: "an initrd that lacks the module of dm-verity",
        spoil: spoil::module,
        end: End::FallsBack("it stopped at the step 'open the root slot'"),
    },
    Bad {
        name: "a root that does not match its root hash",
        spoil: spoil::verity,
        end: End::ForcedFallsBack("does not match its root hash"),
    },
    Bad {
        name: "a system whose first process ends",
        spoil: spoil::init,
        end: End::FallsBack("its system started, but was never found healthy"),
    },
    Bad {
        name: "a manager that crashes at its start",
        spoil: spoil::manager_crashes,
        end: End::FallsBack("its health check failed"),
    },
    Bad { name: "a manager that hangs", spoil: spoil::manager_hangs, end: End::FallsBack("its health check failed") },
    Bad {
        name: "a page that is not served where it should be",
        spoil: spoil::page_is_elsewhere,
        end: End::FallsBack("its health check failed"),
    },
    Bad {
        name: "a network that is not configured",
        spoil: spoil::network,
        end: End::FallsBack("its health check failed"),
    },
    Bad { name: "a release of another board", spoil: spoil::board, end: End::Refused("is for another-board") },
    Bad { name: "an LND that does not start", spoil: spoil::lnd, end: End::Stays("LND") },
];

pub(super) fn run(report: &mut Report, lab: &Lab, context: &Context, disk: &Path) {
    let mut cases: Vec<Case<'_>> = (1..)
        .zip(&RELEASES)
        .map(|(number, bad)| {
            let how = match bad.end {
                End::FallsBack(_) | End::ForcedFallsBack(_) => "the old system runs again and says why",
                End::Refused(_) => "it is refused and changes nothing",
                End::Stays(_) => "the new system is kept, and says what is wrong",
            };
            let log = format!("bad-{number}");
            Case::new(format!("{}: {how}", bad.name), move |lab| try_out(bad, &log, lab, context, disk))
        })
        .collect();
    cases.push(Case::new("with the clock at 1970 a good release is installed and kept", |lab| {
        let bundle = Workshop::new(context, lab)?;
        let shelf = bundle.shelve(&lab.image)?;
        let options = Options { throw_away: true, clock_of_1970: true, ..Options::default() };
        let mut live = started(lab, disk, "bad-clock", options)?;
        install(&mut live, &shelf)?;
        restarts(&mut live)?;
        marked_good(&mut live, "B")
    }));
    if let Some(words) = &context.only {
        cases.retain(|case| case.name.contains(words));
        report.need(&format!("there is a release with {words:?} in its name"), || {
            ensure!(!cases.is_empty(), "there is none");
            Ok(())
        });
    }
    lanes::run(report, lab, &cases);
}

fn try_out(bad: &Bad, log: &str, lab: &Lab, context: &Context, disk: &Path) -> Outcome {
    let workshop = Workshop::new(context, lab)?;
    let image = (bad.spoil)(&workshop)?;
    let shelf = workshop.shelve(&image)?;
    let mut live = started(lab, disk, log, Options { throw_away: true, ..Options::default() })?;
    match bad.end {
        End::Refused(words) => {
            update::fetch(&mut live, &shelf, spoil::DESCRIPTION, "update.json")?;
            update::refused(&mut live, &update::wish(&shelf, spoil::BUNDLE), words)
        }
        End::FallsBack(reason) | End::ForcedFallsBack(reason) => {
            let before = live.starts("A");
            if matches!(bad.end, End::FallsBack(_)) {
                install(&mut live, &shelf)?;
                restarts(&mut live)?;
            } else {
                force(&mut live, &shelf)?;
            }
            live.wait_for_start("A", before, PATIENCE)?;
            ensure!(live.starts("B") == 3, "system B was started {} times", live.starts("B"));
            live.wait_for_page(BOOT)?;
            live.wait_for_shell(BOOT)?;
            let owner = live.client().with_session(&visitor::sign_in(&live.client())?);
            says_why(&live, &owner, "B", reason)?;
            marked_good(&mut live, "A")
        }
        End::Stays(words) => {
            install(&mut live, &shelf)?;
            restarts(&mut live)?;
            live.wait_for_page(BOOT)?;
            live.wait_for_shell(BOOT)?;
            marked_good(&mut live, "B")?;
            let owner = live.client().with_session(&visitor::sign_in(&live.client())?);
            until(Duration::from_secs(120), || {
                let page = owner.get("/home")?.text();
                ensure!(page.contains(words), "the home page says {}", crate::road::words_of(&page));
                Ok(())
            })
        }
    }
}

fn started(lab: &Lab, disk: &Path, name: &str, options: Options) -> Outcome<Live> {
    let mut live = lab.start(disk, name, options)?;
    live.wait_for_page(BOOT)?;
    live.wait_for_shell(BOOT)?;
    marked_good(&mut live, "A")?;
    Ok(live)
}

/// The box installs the bundle, as its owner asks.
fn install(live: &mut Live, shelf: &Shelf) -> Outcome {
    update::fetch(live, shelf, spoil::DESCRIPTION, "update.json")?;
    let (taken, said) = update::ask(live, "update-install", &update::wish(shelf, spoil::BUNDLE))?;
    ensure!(taken, "refused: {said}");
    let job = update::job(live, &update::ENDED, update::INSTALL)?;
    ensure!(job.stage == Stage::Installed, "the job ends with {job:?}");
    Ok(())
}

/// Restarts the box, and waits until system B is started.
fn restarts(live: &mut Live) -> Outcome {
    // The connection may end before the answer is read.
    if let Ok((false, said)) = update::ask(live, "update-restart", "") {
        return fails(format!("refused: {said}"));
    }
    live.wait_for_start("B", 0, BOOT)
}

/// What root's own job does, without its reading back.
fn force(live: &mut Live, shelf: &Shelf) -> Outcome {
    let (code, said) = update::rauc(live, shelf, spoil::BUNDLE)?;
    ensure!(code == 0, "RAUC ends with {code}:\n{said}");
    live.shell("rauc status mark-active other")?;
    // The connection ends with the system.
    let _ = live.ask("systemctl reboot --no-block");
    live.wait_for_start("B", 0, BOOT)
}
