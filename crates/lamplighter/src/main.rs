//! The `lamplighter` binary: the headless server and the command line.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    lamplighter::cli::Cli::parse().run()
}
