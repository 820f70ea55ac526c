//! The box's manager: the wizard, the pages and the console's text. The only thing a person meets.

mod access;
mod alerts;
mod api;
mod atomic;
mod chain;
mod claim;
mod command;
mod console;
mod copies;
mod error;
mod fault;
mod gate;
mod http;
mod journal;
mod language;
mod limits;
mod network;
mod node;
mod pages;
mod password;
mod payments;
mod place;
mod rates;
mod request;
mod safety;
mod scrub;
mod secret;
mod serve;
mod session;
mod setup;
mod shared;
mod sources;
mod sse;
mod support;
#[cfg(test)]
mod texts_tests;
mod tls;
mod updates;
mod watchdog;
mod wizard;

use std::{io::Write, net::SocketAddr, path::PathBuf, process::ExitCode};

use argh::FromArgs;
use error::Error;
use http::{Listeners, Wanted, routes};
use serve::Config;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// The manager of a Homebolt box.
#[derive(FromArgs)]
struct Arguments {
    #[argh(subcommand)]
    verb: Verb,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Verb {
    Serve(Serve),
    Console(Console),
    Gate(gate::Args),
    Routes(Routes),
}

/// Print the console's text to the terminal, and again when it changes
#[derive(FromArgs)]
#[argh(subcommand, name = "console")]
struct Console {
    /// the text that `serve` writes
    #[argh(option, arg_name = "file")]
    file: PathBuf,
}

/// Print all routes and who may use them, one JSON object a line
#[derive(FromArgs)]
#[argh(subcommand, name = "routes")]
struct Routes {
    /// those of a box whose data partition cannot be used
    #[argh(switch)]
    recovery: bool,
}

rust_i18n::i18n!("locales", fallback = "en", backend = crate::language::Spoken);

/// Serve the wizard and the pages
#[derive(FromArgs)]
#[argh(subcommand, name = "serve")]
struct Serve {
    /// where settings, sessions and certificates are kept
    #[argh(option, arg_name = "folder", default = "PathBuf::from(\"/data/homebolt\")")]
    state_dir: PathBuf,
    /// where boot.json is read and the console's text is written
    #[argh(option, arg_name = "folder", default = "PathBuf::from(\"/run/homebolt\")")]
    run_dir: PathBuf,
    /// what this system is
    #[argh(option, arg_name = "file", default = "PathBuf::from(\"/usr/lib/homebolt/release.json\")")]
    release: PathBuf,
    /// listen here for HTTP (trust page and redirect), unless systemd passes sockets; may be repeated
    #[argh(option, arg_name = "address")]
    http: Vec<SocketAddr>,
    /// listen here for HTTPS, unless systemd passes sockets; may be repeated
    #[argh(option, arg_name = "address")]
    https: Vec<SocketAddr>,
    /// where LND answers gRPC
    #[argh(option, arg_name = "address", default = "SocketAddr::from(([127, 0, 0, 1], 10009))")]
    lnd_rpc: SocketAddr,
    /// where LND answers REST, for paired phones that speak it
    #[argh(option, arg_name = "address", default = "SocketAddr::from(([127, 0, 0, 1], 8080))")]
    lnd_rest: SocketAddr,
    /// LND's folder, with its certificate and its admin macaroon
    #[argh(option, arg_name = "folder", default = "PathBuf::from(\"/data/lnd\")")]
    lnd_dir: PathBuf,
    /// where LND's configuration is written
    #[argh(option, arg_name = "folder", default = "PathBuf::from(\"/data/config\")")]
    config_dir: PathBuf,
    /// where the system has headers of a chain, if it brings some
    #[argh(option, arg_name = "folder", default = "release::HEADERS_FOLDER.into()")]
    headers_dir: PathBuf,
    /// the roots that updates lead back to
    #[argh(option, arg_name = "file", default = "PathBuf::from(\"/etc/rauc/keyring.pem\")")]
    keyring: PathBuf,
    /// the channel of updates that the image names, if it names one
    #[argh(option, arg_name = "file", default = "PathBuf::from(\"/usr/share/homebolt/channel.json\")")]
    channel: PathBuf,
}

fn main() -> ExitCode {
    let arguments = argh::from_env::<Arguments>();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "homebolt-manager: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Error> {
    match arguments.verb {
        Verb::Serve(arguments) => serve(arguments),
        Verb::Console(Console { file }) => console::show(&file, &mut std::io::stdout()),
        Verb::Gate(arguments) => event_loop()?.block_on(gate::run(arguments)).map_err(Error::from),
        Verb::Routes(Routes { recovery }) => {
            let listed =
                if recovery { routes::listed(&routes::recovery_table()) } else { routes::listed(&routes::table()) };
            std::io::stdout().write_all(listed.as_bytes()).map_err(Error::system("print"))
        }
    }
}

fn serve(arguments: Serve) -> Result<(), Error> {
    // `RUST_LOG` takes levels by target, and no patterns: their library would be two per cent of this program.
    let asked = std::env::var("RUST_LOG").ok().and_then(|levels| levels.parse::<Targets>().ok());
    let filter = asked.unwrap_or_else(|| Targets::new().with_default(tracing::Level::INFO));
    // The journal has time and unit already.
    let to_journal = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).without_time().with_ansi(false);
    tracing_subscriber::registry().with(to_journal).with(filter).init();
    let wanted = Wanted { http: arguments.http, https: arguments.https };
    // Before any thread is there: the sockets are named in the environment, which is cleared of them.
    let listeners = Listeners::open(&wanted)?;
    let config = Config {
        state_dir: arguments.state_dir,
        run_dir: arguments.run_dir,
        release: arguments.release,
        lnd: arguments.lnd_rpc,
        lnd_rest: arguments.lnd_rest,
        lnd_dir: arguments.lnd_dir,
        config_dir: arguments.config_dir,
        headers_dir: arguments.headers_dir,
        keyring: arguments.keyring,
        channel: arguments.channel,
    };
    let runtime = event_loop()?;
    let outcome = runtime.block_on(serve::run(config, listeners));
    runtime.shutdown_background();
    outcome
}

/// One thread is enough for a household; two blocking ones hash passwords and write files.
fn event_loop() -> Result<tokio::runtime::Runtime, Error> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(2).build().map_err(Error::system("start the event loop"))
}
