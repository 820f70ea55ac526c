//! `homebolt-tests`: everything there is to test, in groups. `scripts/test` runs it.

mod axe;
mod backup;
mod bench;
mod bitcoind;
mod browser;
mod build;
mod disk;
mod gallery;
mod http;
mod image;
mod manager;
mod node;
mod pages;
mod report;
mod screen;
mod tls;
mod unit;
mod visitor;
mod wire;
mod wizard;

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{self, ExitCode, Stdio},
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
    /// Of the group 'image' only this part: boot, fallback, data, large or node; may be repeated
    #[arg(long = "part", value_parser = image::PARTS)]
    parts: Vec<String>,
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
    manager: Option<PathBuf>,
    lnd: Option<PathBuf>,
    bitcoind: Option<PathBuf>,
}

/// A group of tests.
struct Group {
    name: &'static str,
    about: &'static str,
    needs_image: bool,
    run: fn(&mut Report, &Context) -> Outcome,
}

const GROUPS: [Group; 8] = [
    Group { name: "unit", about: "format, clippy, licences, cargo test", needs_image: false, run: unit::run },
    Group {
        name: "bitcoind",
        about: "the test and the watcher of an own bitcoind, against a real one",
        needs_image: false,
        run: bitcoind::run,
    },
    Group {
        name: "backup",
        about: "copies of the channel backup at real servers, and their faults",
        needs_image: false,
        run: backup::run,
    },
    Group {
        name: "pages",
        about: "the manager on this computer, in a real browser",
        needs_image: false,
        run: pages::run,
    },
    Group {
        name: "node",
        about: "two real LNDs on a real chain: money, channels, faults, restore",
        needs_image: false,
        run: node::run,
    },
    Group {
        name: "wizard",
        about: "from the claim to money: the manager's pages with a real bitcoind and two real LNDs",
        needs_image: false,
        run: wizard::run,
    },
    Group {
        name: "build",
        about: "the builder: the same bytes everywhere, and what can go wrong",
        needs_image: true,
        run: build::run,
    },
    Group {
        name: "image",
        about: "the image in QEMU: boot, wizard, power cuts, fall-back",
        needs_image: true,
        run: image::run,
    },
];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        GROUPS.iter().for_each(|group| println!("{:8} {}", group.name, group.about));
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
    let mut chosen = choose(&arguments.groups, arguments.fast)?;
    let root = checkout()?;
    let logs = root.join("out/test-logs");
    let mut report = Report::new(logs.clone());
    if arguments.image.is_none() && chosen.iter().any(|group| group.needs_image) {
        report.begin("prepare")?;
        let log = report.log("build.log");
        let build = || build(&root, &log, &arguments.board, &arguments.base);
        if report.test("the one command makes an image of this checkout", build).is_none() {
            // What an earlier build left behind would be tested in its place.
            chosen.retain(|group| !group.needs_image);
        }
    }
    let lnd = arguments.lnd.or_else(|| lnd_of_build(&axe::cache()));
    let context = Context {
        root,
        logs,
        board: arguments.board,
        base: arguments.base,
        image: arguments.image,
        parts: arguments.parts,
        manager: arguments.manager,
        lnd,
        bitcoind: arguments.bitcoind,
    };
    for group in chosen {
        if let Err(Fault::Fails(sentence) | Fault::Skip(sentence)) = (group.run)(&mut report, &context) {
            report.done("the group runs to its end", std::time::Duration::ZERO, report::fails::<()>(sentence));
        }
    }
    Ok(report.finish())
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
        (names.is_empty() || names.iter().any(|name| name == group.name)) && !(fast && group.needs_image)
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
            ["unit", "bitcoind", "backup", "pages", "node", "wizard", "build", "image"]
        );
        assert_eq!(names(choose(&[], true)), ["unit", "bitcoind", "backup", "pages", "node", "wizard"]);
        assert_eq!(names(choose(&["pages".into(), "unit".into()], false)), ["unit", "pages"]);
        let Err(Fault::Fails(text)) = choose(&["imgae".into()], false) else { panic!() };
        assert!(
            text.contains("imgae") && text.contains("unit, bitcoind, backup, pages, node, wizard, build, image"),
            "{text}"
        );
    }

    #[test]
    fn the_command_line_has_no_contradictions() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
