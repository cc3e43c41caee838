//! Without a display: the gateway alone.

use clap::Parser;
use lamplighter::{Options, cli::Cli};
use std::{ffi::OsString, process::ExitCode};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// Does what `lamplighter serve` does, until it is told to end.
pub fn serve(options: Options) -> ExitCode {
    let demo = options.demo.then(|| OsString::from("--demo"));
    let config = options.config.map(|path| [OsString::from("--config"), path.into()]);
    let words = ["lamplighter".into(), "serve".into()].into_iter().chain(demo);
    Cli::parse_from(words.chain(config.into_iter().flatten())).run()
}

/// Sends the log to standard error, as `lamplighter serve` does.
pub fn log_to_stderr() {
    let filter =
        EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).with_env_var("LAMPLIGHTER_LOG");
    tracing_subscriber::fmt()
        .with_env_filter(filter.from_env_lossy())
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
}
