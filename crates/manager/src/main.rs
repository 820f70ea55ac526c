//! The box's manager: the wizard, the pages and the console's text. The only thing a person meets.

mod atomic;
mod claim;
mod console;
mod error;
mod fault;
mod gate;
mod http;
mod limits;
mod node;
mod pages;
mod password;
mod request;
mod secret;
mod serve;
mod session;
mod setup;
mod shared;
mod sources;
mod sse;
mod tls;
mod watchdog;
mod wizard;

use std::{io::Write, net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use error::Error;
use http::{Listeners, Wanted, routes};
use serve::Config;
use tracing_subscriber::EnvFilter;

/// The manager of a Homebolt box.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve the wizard and the pages
    Serve(Serve),
    /// Print the console's text to the terminal, and again when it changes
    Console {
        /// The text that `serve` writes
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Check whether this slot is fit to be kept, and mark it good
    Gate(gate::Args),
    /// Print all routes and who may use them, one JSON object a line
    Routes {
        /// Those of a box whose data partition cannot be used
        #[arg(long)]
        recovery: bool,
    },
}

rust_i18n::i18n!("locales", fallback = "en");

#[derive(Args)]
struct Serve {
    /// Where settings, sessions and certificates are kept
    #[arg(long, value_name = "FOLDER", default_value = "/data/homebolt")]
    state_dir: PathBuf,
    /// Where boot.json is read and the console's text is written
    #[arg(long, value_name = "FOLDER", default_value = "/run/homebolt")]
    run_dir: PathBuf,
    /// What this system is
    #[arg(long, value_name = "FILE", default_value = "/usr/lib/homebolt/release.json")]
    release: PathBuf,
    /// Listen here for HTTP (trust page and redirect), unless systemd passes sockets; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    http: Vec<SocketAddr>,
    /// Listen here for HTTPS, unless systemd passes sockets; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    https: Vec<SocketAddr>,
    /// Where LND answers gRPC
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:10009")]
    lnd_rpc: SocketAddr,
    /// LND's folder, with its certificate and its admin macaroon
    #[arg(long, value_name = "FOLDER", default_value = "/data/lnd")]
    lnd_dir: PathBuf,
    /// Where LND's configuration is written
    #[arg(long, value_name = "FOLDER", default_value = "/data/config")]
    config_dir: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
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
        Verb::Console { file } => console::show(&file, &mut std::io::stdout()),
        Verb::Gate(arguments) => event_loop()?.block_on(gate::run(arguments)).map_err(Error::from),
        Verb::Routes { recovery } => {
            let listed =
                if recovery { routes::listed(&routes::recovery_table()) } else { routes::listed(&routes::table()) };
            std::io::stdout().write_all(listed.as_bytes()).map_err(Error::system("print"))
        }
    }
}

fn serve(arguments: Serve) -> Result<(), Error> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // The journal has time and unit already.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .with_ansi(false)
        .init();
    let wanted = Wanted { http: arguments.http, https: arguments.https };
    // Before any thread is there: the sockets are named in the environment, which is cleared of them.
    let listeners = Listeners::open(&wanted)?;
    let config = Config {
        state_dir: arguments.state_dir,
        run_dir: arguments.run_dir,
        release: arguments.release,
        lnd: arguments.lnd_rpc,
        lnd_dir: arguments.lnd_dir,
        config_dir: arguments.config_dir,
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
