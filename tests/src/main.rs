//! `homebolt-tests`: everything there is to test, in groups. `scripts/test` runs it.

mod api;
mod authenticator;
mod axe;
mod backup;
mod bench;
mod bitcoind;
mod browser;
mod build;
mod disk;
mod fence;
mod fuzz;
mod gallery;
mod go;
mod http;
mod image;
mod manager;
mod node;
mod pages;
mod peer;
mod power_cut;
mod report;
mod road;
mod root;
mod screen;
mod shelf;
mod tls;
mod unit;
mod visitor;
mod wire;
mod wizard;

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{self, ExitCode, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use clap::Parser;
use report::{Fault, Outcome, Report, ensure};

/// Run the tests of Homebolt
#[derive(Debug, Parser)]
#[command(
    name = "scripts/test",
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  \
        scripts/test                 everything\n  \
        scripts/test --fast          without an image: a few minutes\n  \
        scripts/test pages           one group\n  \
        scripts/test image --part boot\n\n\
        The last line is 'N passed, N failed, N skipped'; a skip has its reason above. Logs and screenshots: out/test-logs/."
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Groups to run [default: all]
    groups: Vec<String>,
    /// Leave out what needs an image
    #[arg(long)]
    fast: bool,
    /// Name the groups
    #[arg(long)]
    list: bool,
    /// The base of the image
    #[arg(long, default_value = "debian")]
    base: String,
    /// The board of the image
    #[arg(long, default_value = "x86-64")]
    board: String,
    /// The image, .img.zst [default: the one in out/<board>]
    #[arg(long)]
    image: Option<PathBuf>,
    /// Of the group 'image' only this part; may be repeated
    #[arg(long = "part", value_parser = image::PARTS)]
    parts: Vec<String>,
    /// Of the part 'update': the box runs this image, .img.zst, of an earlier version from which the one under test differs
    /// in the manager alone, and updates itself with at most 12 % of the bundle over the wire
    #[arg(long, value_name = "IMAGE")]
    from: Option<PathBuf>,
    /// Of the part 'bad' only the releases with these words in their name
    #[arg(long, value_name = "WORDS")]
    only: Option<String>,
    /// Of the group 'power-cut': every write torn at every sector, as at night
    #[arg(long, env = "HOMEBOLT_ALL_CUTS")]
    all: bool,
    /// Of the group 'power-cut': so many updates in which the machine is killed; 100 in the long run
    #[arg(long, value_name = "N", default_value_t = 3)]
    cuts: u32,
    /// Of the group 'power-cut': only these real cuts, nothing recorded and replayed
    #[arg(long)]
    no_replay: bool,
    /// Of the group 'power-cut': repeats the moments of an earlier run, as shares of what an update takes
    #[arg(long)]
    seed: Option<u64>,
    /// Of the group 'fuzz': so long for each reader
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    seconds: u32,
    /// A manager to test instead of the one that cargo builds
    #[arg(long)]
    manager: Option<PathBuf>,
    /// The lnd program for tests against a real one
    #[arg(long, env = "HOMEBOLT_LND")]
    lnd: Option<PathBuf>,
    /// The bitcoind program for tests against a real one [default: one from Debian]
    #[arg(long, env = "BITCOIND_EXE")]
    bitcoind: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Bench(bench::Args),
    #[command(hide = true)]
    BackupHelper(backup::helper::Args),
}

/// What all groups need to know.
#[derive(Debug)]
struct Context {
    /// The checkout.
    root: PathBuf,
    logs: PathBuf,
    board: String,
    base: String,
    image: Option<PathBuf>,
    parts: Vec<String>,
    from: Option<PathBuf>,
    only: Option<String>,
    depth: power_cut::Depth,
    /// For each fuzz target.
    seconds: u32,
    manager: Option<PathBuf>,
    /// Known once the image is made, of which it is a part.
    lnd: OnceLock<Option<PathBuf>>,
    bitcoind: Option<PathBuf>,
    /// Set when the groups are through that run beside the machines.
    others_done: AtomicBool,
}

impl Context {
    /// Whether that part of the group `image` was asked for by its name.
    fn chooses(&self, part: &str) -> bool {
        self.parts.iter().any(|chosen| chosen == part)
    }

    /// Whether it was, or none was.
    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.chooses(part)
    }

    /// Whether machines have this computer to themselves.
    fn others_are_done(&self) -> bool {
        self.others_done.load(Ordering::Relaxed)
    }

    /// The lnd program, once there is one.
    fn lnd(&self) -> Option<&Path> {
        self.lnd.wait().as_deref()
    }

    /// Where cargo puts what it makes.
    fn target(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.root.join("target"), PathBuf::from)
    }
}

/// Groups of different lanes run beside each other: none keeps two processors busy, but for compilers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// Whatever needs nothing for itself alone.
    Parts,
    /// Its LND listens at the port that every node has: one at a time.
    Node,
    /// Virtual machines, of one core each.
    Machines,
}

/// A group of tests.
struct Group {
    name: &'static str,
    about: &'static str,
    needs_image: bool,
    lane: Lane,
    run: fn(&mut Report, &Context) -> Outcome,
}

const GROUPS: [Group; 12] = [
    Group {
        name: "unit",
        about: "format, clippy, licences, cargo test",
        needs_image: false,
        lane: Lane::Parts,
        run: unit::run,
    },
    Group {
        name: "bitcoind",
        about: "the test and the watcher of an own bitcoind, against a real one",
        needs_image: false,
        lane: Lane::Parts,
        run: bitcoind::run,
    },
    Group {
        name: "backup",
        about: "copies of the channel backup at real servers, and their faults",
        needs_image: false,
        lane: Lane::Parts,
        run: backup::run,
    },
    Group {
        name: "pages",
        about: "the manager on this computer, in a real browser",
        needs_image: false,
        lane: Lane::Parts,
        run: pages::run,
    },
    Group {
        name: "node",
        about: "two real LNDs on a real chain: money, channels, faults, restore",
        needs_image: false,
        lane: Lane::Parts,
        run: node::run,
    },
    Group {
        name: "wizard",
        about: "from the claim to money: the manager's pages with a real bitcoind and two real LNDs",
        needs_image: false,
        lane: Lane::Node,
        run: wizard::run,
    },
    Group {
        name: "api",
        about: "the road to money once more, by a program with a key; schemathesis over the OpenAPI document",
        needs_image: false,
        lane: Lane::Node,
        run: api::run,
    },
    Group {
        name: "fence",
        about: "two real LNDs, one older, on one box: no channel state ever goes back",
        needs_image: false,
        lane: Lane::Parts,
        run: fence::run,
    },
    Group {
        name: "fuzz",
        about: "only by name: readers of foreign bytes, fed with bytes of nobody",
        needs_image: false,
        lane: Lane::Parts,
        run: fuzz::run,
    },
    Group {
        name: "build",
        about: "the builder: the same bytes everywhere, and what can go wrong",
        needs_image: true,
        lane: Lane::Parts,
        run: build::run,
    },
    Group {
        name: "image",
        about: "the image in QEMU: boot, wizard, power cuts, fall-back",
        needs_image: true,
        lane: Lane::Machines,
        run: image::run,
    },
    Group {
        name: "power-cut",
        about: "only by name: the power goes at every write of an update, replayed, and at random moments of real ones",
        needs_image: true,
        lane: Lane::Machines,
        run: power_cut::run,
    },
];

/// What grows with the time it is given: only by name.
const NIGHTLY: [&str; 2] = ["fuzz", "power-cut"];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        GROUPS.iter().for_each(|group| println!("{:9} {}", group.name, group.about));
        return ExitCode::SUCCESS;
    }
    let outcome = match arguments.command {
        Some(Command::Bench(args)) => bench::run(&args).map(|()| true),
        Some(Command::BackupHelper(args)) => backup::helper::run(&args).map(|()| true),
        None => run(arguments),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Fault::Fails(sentence) | Fault::Skip(sentence)) => {
            eprintln!("homebolt-tests: {sentence}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: Arguments) -> Outcome<bool> {
    let chosen = choose(&arguments.groups, arguments.fast)?;
    let root = checkout()?;
    let logs = root.join("out/test-logs");
    let context = Context {
        root,
        logs,
        board: arguments.board,
        base: arguments.base,
        image: arguments.image,
        parts: arguments.parts,
        from: arguments.from,
        only: arguments.only,
        depth: power_cut::Depth {
            replay: !arguments.no_replay,
            all: arguments.all,
            cuts: arguments.cuts,
            seed: arguments.seed,
        },
        seconds: arguments.seconds,
        manager: arguments.manager,
        lnd: OnceLock::new(),
        bitcoind: arguments.bitcoind,
        others_done: AtomicBool::new(false),
    };
    let builds = context.image.is_none() && chosen.iter().any(|group| group.needs_image);
    let of = |lane| chosen.iter().copied().filter(move |group| group.lane == lane);
    let [mut report, mut second, mut beside] = std::array::from_fn(|_| Report::new(context.logs.clone()));
    let is_made = OnceLock::new();
    thread::scope(|scope| {
        // Most of a build is one linker at work: what needs neither image nor LND need not wait for it.
        scope.spawn(|| {
            let is_made = *is_made.get_or_init(|| !builds || prepare(&mut beside, &context));
            context.lnd.get_or_init(|| arguments.lnd.clone().or_else(|| lnd_of_build(&axe::cache())));
            if is_made {
                run_groups(of(Lane::Machines), &mut beside, &context);
            }
        });
        thread::scope(|scope| {
            scope.spawn(|| run_groups(of(Lane::Node), &mut second, &context));
            let (late, early): (Vec<_>, Vec<_>) = of(Lane::Parts).partition(|group| group.needs_image);
            run_groups(early, &mut report, &context);
            if *is_made.wait() {
                run_groups(late, &mut report, &context);
            }
        });
        context.others_done.store(true, Ordering::Relaxed);
    });
    report.add(second);
    report.add(beside);
    Ok(report.finish())
}

/// Makes the image, or says why there is none: what an earlier build left behind would be tested in its place.
fn prepare(report: &mut Report, context: &Context) -> bool {
    if let Err(Fault::Fails(sentence) | Fault::Skip(sentence)) = report.begin("prepare") {
        report.done("there is room for logs", Duration::ZERO, report::fails::<()>(sentence));
        return false;
    }
    let log = report.log("build.log");
    let build = || build(&context.root, &log, &context.board, &context.base);
    report.test("the one command makes an image of this checkout", build).is_some()
}

fn run_groups<'a>(groups: impl IntoIterator<Item = &'a Group>, report: &mut Report, context: &Context) {
    for group in groups {
        if let Err(Fault::Fails(sentence) | Fault::Skip(sentence)) = (group.run)(report, context) {
            report.done("the group runs to its end", Duration::ZERO, report::fails::<()>(sentence));
        }
    }
}

/// Runs the command that a person would; its words are in the log.
fn build(root: &Path, log: &Path, board: &str, base: &str) -> Outcome {
    let file = File::create(log)?;
    let mut build = process::Command::new(root.join("scripts/build"));
    build.args(["--board", board, "--base", base]).current_dir(root).stdin(Stdio::null());
    let status = build.stdout(file.try_clone()?).stderr(file).status()?;
    let words = std::fs::read_to_string(log)?;
    ensure!(status.success(), "scripts/build ended with {status}; its last words:\n{}", report::tail(&words, 10));
    Ok(())
}

/// The groups to run, in their own order.
fn choose(names: &[String], fast: bool) -> Outcome<Vec<&'static Group>> {
    for name in names {
        if !GROUPS.iter().any(|group| group.name == *name) {
            let known: Vec<&str> = GROUPS.iter().map(|group| group.name).collect();
            return report::fails(format!("there is no group {name:?}; there are: {}", known.join(", ")));
        }
    }
    let is_chosen = |group: &&Group| {
        let is_wanted = match names {
            [] => !NIGHTLY.contains(&group.name),
            names => names.iter().any(|name| name == group.name),
        };
        is_wanted && !(fast && group.needs_image)
    };
    Ok(GROUPS.iter().filter(is_chosen).collect())
}

/// The checkout this runs in.
fn checkout() -> Outcome<PathBuf> {
    let here = std::env::current_dir()?;
    let found = here.ancestors().find(|folder| folder.join("image/layout.toml").is_file());
    found.map(Path::to_owned).ok_or_else(|| Fault::Fails("run this in a checkout of Homebolt".into()))
}

/// The newest lnd that a build has left in the cache.
fn lnd_of_build(cache: &Path) -> Option<PathBuf> {
    let steps = std::fs::read_dir(cache.join("steps")).ok()?.flatten();
    let programs = steps
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("lnd"))
        .map(|entry| entry.path().join("lnd"));
    programs.filter(|path| path.is_file()).max_by_key(|path| path.metadata().and_then(|about| about.modified()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_run_in_their_own_order_and_unknown_ones_are_named() {
        let names = |chosen: Outcome<Vec<&'static Group>>| -> Vec<&str> {
            chosen.unwrap().iter().map(|group| group.name).collect()
        };
        assert_eq!(
            names(choose(&[], false)),
            ["unit", "bitcoind", "backup", "pages", "node", "wizard", "api", "fence", "build", "image"]
        );
        assert_eq!(names(choose(&[], true)), ["unit", "bitcoind", "backup", "pages", "node", "wizard", "api", "fence"]);
        assert_eq!(names(choose(&["power-cut".into()], false)), ["power-cut"], "the long ones by name");
        assert_eq!(names(choose(&["pages".into(), "unit".into()], false)), ["unit", "pages"]);
        let Err(Fault::Fails(text)) = choose(&["imgae".into()], false) else { panic!() };
        assert!(
            text.contains("imgae")
                && text
                    .contains("unit, bitcoind, backup, pages, node, wizard, api, fence, fuzz, build, image, power-cut"),
            "{text}"
        );
    }

    #[test]
    fn the_command_line_has_no_contradictions() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
