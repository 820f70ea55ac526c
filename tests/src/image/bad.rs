//! Part `bad`: releases that are broken on purpose, each in another way. However an update ends, the box ends on a system that
//! works, and its page says why.
//!
//! ```text
//!  the image ─► some files exchanged (homebolt rework) ─► bundle ─► RAUC ─► restart ─► three tries ─► the old system, reason
//!                                                            └► refused, reason
//! ```
//! Each takes one to ten minutes on an emulated processor: it is chosen by `--part bad` alone.

mod cpio;
mod spoil;

use std::{path::Path, process::Command, time::Duration};

use twin::updates::Stage;

use crate::{
    Context,
    disk::remove_partition,
    report::{Outcome, Report, ensure, fails, until},
    shelf::Shelf,
    visitor,
};

use super::{
    data,
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

/// What the home page says of a unit that ends again and again.
const LND_FAILS: &str = "Failing, tried again";

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
    Bad { name: "an LND that does not start", spoil: spoil::lnd, end: End::Stays(LND_FAILS) },
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
    cases.extend([
        Case::new(
            "an LND that migrates its database and then fails: the new system is kept, and there is no way back",
            |lab| migrates(lab, context, disk),
        ),
        Case::new("with the data partition full a release is refused; if it fills up meanwhile, it is kept", |lab| {
            full(lab, context, disk)
        }),
        Case::new("with the data partition gone a good release is kept, starts no wallet, and says why", |lab| {
            without_data(lab, context, disk)
        }),
        Case::new("with the clock at 1970 a good release is installed and kept", |lab| {
            let options = Options { throw_away: true, clock_of_1970: true, ..Options::default() };
            let workshop = Workshop::new(context, lab)?;
            let shelf = workshop.shelve(&lab.image)?;
            let mut live = started(lab, disk, "bad-clock", options)?;
            install(&mut live, &shelf)?;
            stays(&mut live)
        }),
    ]);
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
            set_up(&mut live)?;
            install(&mut live, &shelf)?;
            stays(&mut live)?;
            home_says(&live, words)
        }
    }
}

fn migrates(lab: &Lab, context: &Context, disk: &Path) -> Outcome {
    let workshop = Workshop::new(context, lab)?;
    let shelf = workshop.shelve(&spoil::lnd_migrates(&workshop)?)?;
    let mut live = started(lab, disk, "bad-migrates", Options { throw_away: true, ..Options::default() })?;
    set_up(&mut live)?;
    install(&mut live, &shelf)?;
    stays(&mut live)?;
    home_says(&live, LND_FAILS)?;
    let (taken, said) = update::ask(&mut live, "slot-switch", &lab.manifest.release.version)?;
    ensure!(taken, "refused: {said}");
    let job = update::job(&mut live, &update::ENDED, BOOT)?;
    ensure!(job.stage == Stage::Refused && job.error.contains("there is no way back"), "the job is {job:?}");
    let state = live.boot_state()?;
    ensure!(state.contains("ORDER=B A"), "system A is the next to start:\n{state}");
    live.shell(&format!("cat {}", spoil::MIGRATED)).map(drop)
}

/// Takes all room that is not root's own, as a program does that knows no measure. Most of it at once: the rest, which
/// the file system's own records share, until nothing more fits.
const FILL: &str = "busybox su -s /bin/sh lnd -c 'cd /data/lnd && \
                    fallocate -l $(( $(stat -f -c \"%a * %S\" .) - 16777216 )) most && \
                    ! head -c 33554432 /dev/zero >rest'";

fn full(lab: &Lab, context: &Context, disk: &Path) -> Outcome {
    let workshop = Workshop::new(context, lab)?;
    let shelf = workshop.shelve(&lab.image)?;
    let mut live = started(lab, disk, "bad-full", Options { throw_away: true, ..Options::default() })?;
    update::fetch(&mut live, &shelf, spoil::DESCRIPTION, "update.json")?;
    live.shell(FILL)?;
    update::refused(&mut live, &update::wish(&shelf, spoil::BUNDLE), "The data partition is full")?;
    live.shell("rm /data/lnd/most /data/lnd/rest")?;
    install(&mut live, &shelf)?;
    live.shell(FILL)?;
    stays(&mut live)?;
    home_says(&live, "The data disk is more than 90 % full")
}

fn without_data(lab: &Lab, context: &Context, disk: &Path) -> Outcome {
    let workshop = Workshop::new(context, lab)?;
    let shelf = workshop.shelve(&lab.image)?;
    // Of its own: the machine is off when its partition goes.
    let room = lab.room()?;
    let own = room.path().join("without-data.img");
    let copied = Command::new("cp").arg("--sparse=always").arg(disk).arg(&own).status()?;
    ensure!(copied.success(), "cp: {copied}");
    let mut live = started(lab, &own, "bad-before", Options::default())?;
    install(&mut live, &shelf)?;
    live.cut_power();
    remove_partition(&own, "data")?;
    let mut live = lab.start(&own, "bad-without-data", Options::default())?;
    is_kept(&mut live)?;
    data::faulty(&mut live, "The data partition is missing", "")
}

/// As the wizard leaves it: from now on LND starts with the box.
fn set_up(live: &mut Live) -> Outcome {
    live.shell("mkdir -p /data/config && echo '[Application Options]' >/data/config/lnd.conf").map(drop)
}

/// Restarts into system B, which is kept.
fn stays(live: &mut Live) -> Outcome {
    restarts(live)?;
    is_kept(live)
}

/// System B starts, and is found healthy.
fn is_kept(live: &mut Live) -> Outcome {
    live.wait_for_start("B", 0, BOOT)?;
    live.wait_for_page(BOOT)?;
    live.wait_for_shell(BOOT)?;
    marked_good(live, "B")
}

/// The owner reads this on the home page.
fn home_says(live: &Live, words: &str) -> Outcome {
    let owner = live.client().with_session(&visitor::sign_in(&live.client())?);
    until(Duration::from_secs(120), || {
        let page = owner.get("/home")?.text();
        ensure!(page.contains(words), "the home page says {}", crate::road::words_of(&page));
        Ok(())
    })
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
    update::is_next(live)
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
