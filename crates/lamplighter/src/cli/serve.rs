//! `lamplighter serve`.

use crate::{Lamplighter, Options, StartError};
use serde_json::json;
use std::process::ExitCode;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// Threads that serve, at most: one carries 30,000 requests a second, and each holds memory of its own.
const WORKERS: usize = 4;

/// Runs the gateway until SIGINT or SIGTERM. Prints one JSON line when it is ready: `url`, `control` (the file with the
/// token), `pid`.
pub fn run(options: Options) -> ExitCode {
    let options = Options { patience: options.patience.hurried(haste()), ..options };
    let filter =
        EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).with_env_var("LAMPLIGHTER_LOG");
    tracing_subscriber::fmt()
        .with_env_filter(filter.from_env_lossy())
        .with_writer(std::io::stderr)
        // Its own complaint about a terminal that is gone would go there too, and panic.
        .log_internal_errors(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(WORKERS);
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let runtime = match built {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("lamplighter: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(serve(options))
}

/// How many times shorter than usual silence is borne: the environment variable `LAMPLIGHTER_HASTE`, for tests in which an hour
/// must pass in a minute.
fn haste() -> u64 {
    std::env::var("LAMPLIGHTER_HASTE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

async fn serve(options: Options) -> ExitCode {
    // Before anybody can know of us: who is told to stop must also tidy up.
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("lamplighter: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let handle = match Lamplighter::start(options).await {
        Ok(handle) => handle,
        Err(error) => {
            eprintln!("lamplighter: {error}");
            return match error {
                StartError::Config(_) => ExitCode::from(2),
                StartError::Held(_) | StartError::Door(_) => ExitCode::FAILURE,
            };
        }
    };
    let ready =
        json!({ "url": handle.base_url(), "control": handle.control_place(), "pid": std::process::id() });
    // Who started us may not read it.
    let _ = super::print(&format!("{ready}\n"));
    signals.told_to_stop().await;
    tracing::info!("stopping; what runs has 30 s");
    let ended = tokio::select! {
        cut = handle.shutdown() => cut,
        // Asked twice means now.
        () = signals.told_to_stop() => return ExitCode::FAILURE,
    };
    if ended > 0 {
        tracing::warn!(connections = ended, "cut");
    }
    ExitCode::SUCCESS
}

/// SIGTERM and SIGINT, caught from the moment this is made.
#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn told_to_stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn told_to_stop(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
