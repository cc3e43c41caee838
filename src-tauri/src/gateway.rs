//! The gateway in this process, as far as the app needs it.

use lamplighter_core::snapshot::Snapshot;
use std::{path::PathBuf, process::ExitCode, sync::Arc};
use tokio::sync::watch;

/// The running gateway. There is none before the library can start one.
pub enum Gateway {}

impl Gateway {
    /// Starts it.
    ///
    /// # Errors
    /// In the gateway's own words.
    pub async fn start(_config: Option<PathBuf>) -> Result<Self, String> {
        Err("this build has no gateway to start".into())
    }

    /// One line of JSON that says where it can be reached.
    pub fn ready_line(&self) -> String {
        match *self {}
    }

    /// What it sees, as it changes.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        match *self {}
    }

    /// Lets running requests finish and ends it.
    pub async fn shutdown(self) {
        match self {}
    }
}

/// Runs the gateway alone until it is told to end.
pub async fn serve(config: Option<PathBuf>) -> ExitCode {
    match Gateway::start(config).await {
        Ok(gateway) => match gateway {},
        Err(why) => {
            eprintln!("lamplighter-desktop: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Sends the log to standard error.
pub fn log_to_stderr() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
}
