//! The command line: one line per subcommand.

use clap::{Parser, Subcommand};

use crate::Error;

/// Make, try, verify and flash images for a Homebolt box: your own Lightning node.
#[derive(Debug, Parser)]
#[command(
    name = "homebolt",
    version,
    propagate_version = true,
    max_term_width = 110,
    after_help = "The way from nothing to a box:\n  \
        homebolt build                      make an image in out/x86-64/\n  \
        homebolt run                        try it in a virtual machine\n  \
        homebolt verify out/x86-64/*.zst    check it against its manifest\n  \
        homebolt flash out/x86-64/*.zst     write it to a USB stick or disk\n\n\
        The way from an image to the boxes of others:\n  \
        homebolt keys new keys --name ...   make the keys that releases are signed with\n  \
        homebolt build --keys keys          make an image that trusts them\n  \
        homebolt bundle ... --keys keys     make an update of it\n  \
        homebolt channel add public ...     publish that update\n\n\
        'homebolt help <command>' explains a command and shows examples."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(crate::build::Args),
    Lock(crate::build::LockArgs),
    Keys(crate::keys::Args),
    Bundle(crate::bundle::Args),
    Channel(crate::channel::Args),
    Run(crate::run::Args),
    Flash(crate::flash::Args),
    Verify(crate::verify::Args),
    #[command(hide = true)]
    Rework(crate::rework::Args),
}

/// Reads the command line and does what it says. A command line that makes no sense ends the program with exit code 2.
pub fn run() -> Result<(), Error> {
    match Cli::parse().command {
        Command::Build(args) => Ok(crate::build::run(args)?),
        Command::Lock(args) => Ok(crate::build::run_lock(args)?),
        Command::Bundle(args) => crate::bundle::run(args),
        Command::Channel(args) => crate::channel::run(args),
        Command::Keys(args) => crate::keys::run(args),
        Command::Run(args) => Ok(crate::run::run(args)?),
        Command::Flash(args) => crate::flash::run(args),
        Command::Verify(args) => crate::verify::run(args),
        Command::Rework(args) => Ok(crate::rework::run(args)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_has_no_contradictions() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_says_what_it_does_and_shows_an_example() {
        for command in Cli::command().get_subcommands_mut() {
            let name = command.get_name().to_owned();
            assert!(command.get_about().is_some(), "{name} has no one-line description");
            let help = command.render_long_help().to_string();
            assert!(help.contains("Examples:"), "the help of {name} shows no example");
        }
    }
}
