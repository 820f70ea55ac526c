//! `homebolt`: everything a person's computer does for a Homebolt box. What it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    match homebolt::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("homebolt: {}", homebolt::error::sentence(&error));
            ExitCode::from(error.exit_code())
        }
    }
}
