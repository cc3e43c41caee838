//! The gateway in this process, as far as the app needs it.

use clap::Parser;
use lamplighter::{Handle, Lamplighter, Options, cli::Cli};
use lamplighter_core::snapshot::Snapshot;
use std::{ffi::OsString, io::Write, path::PathBuf, process::ExitCode, sync::Arc};
use tokio::sync::watch;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// The running gateway.
pub struct Gateway {
    handle: Handle,
}

impl Gateway {
    /// Starts it, and says so in one line of JSON, as `lamplighter serve` does. A broken configuration is no reason not to
    /// start: it is shown.
    ///
    /// # Errors
    /// In the gateway's own words.
    pub async fn start(config: Option<PathBuf>) -> Result<Self, String> {
        let options = Options { config, tolerate_broken: true, ..Options::default() };
        let handle = Lamplighter::start(options).await.map_err(|why| why.to_string())?;
        let pid = std::process::id();
        let ready =
            serde_json::json!({ "url": handle.base_url(), "control": handle.control_place(), "pid": pid });
        // Whoever started us may have closed our output by now.
        let _ = writeln!(std::io::stdout(), "{ready}");
        Ok(Self { handle })
    }

    /// What it sees, as it changes.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.handle.snapshots()
    }

    /// Lets running requests finish, within the gateway's own grace, and ends it.
    pub async fn shutdown(self) {
        let cut = self.handle.shutdown().await;
        if cut > 0 {
            tracing::warn!(connections = cut, "cut");
        }
    }
}

/// Does what `lamplighter serve` does, until it is told to end.
pub fn serve(config: Option<PathBuf>) -> ExitCode {
    let config = config.map(|path| [OsString::from("--config"), path.into()]);
    let words = ["lamplighter".into(), "serve".into()].into_iter().chain(config.into_iter().flatten());
    Cli::parse_from(words).run()
}

/// Sends the log to standard error, as `lamplighter serve` does.
pub fn log_to_stderr() {
    let filter =
        EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).with_env_var("LAMPLIGHTER_LOG");
    tracing_subscriber::fmt().with_env_filter(filter.from_env_lossy()).with_writer(std::io::stderr).init();
}
