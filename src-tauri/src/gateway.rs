//! The gateway, as far as the app needs it: in this process, or in another one that ran already.

use crate::{attach::Attached, control::Control, face::Showing};
use lamplighter::{
    Handle, Lamplighter, Options,
    control_file::{self, Whose},
    engines, holder,
};
use lamplighter_core::snapshot::{Offer, Snapshot};
use reqwest::Client;
use std::{io::Write, sync::Arc};
use tokio::sync::watch;

/// Why there is no gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotStarted {
    /// In the gateway's own words.
    pub why: String,
    /// The Ollama that holds its port, and could become a node instead.
    pub offer: Option<Offer>,
}

/// The running gateway.
pub enum Gateway {
    /// It runs here.
    Own {
        /// Its handle.
        handle: Box<Handle>,
        /// The way to ask it.
        control: Control,
        /// What it shows.
        snapshots: watch::Receiver<Arc<Snapshot>>,
    },
    /// It runs in another process, and goes on when this one ends.
    Attached(Attached),
}

impl Gateway {
    /// Attaches to a gateway that runs with the same configuration, else starts one; and says so in one line of JSON, as
    /// `lamplighter serve` does. A broken configuration is no reason not to start: it is shown.
    ///
    /// # Errors
    /// [`NotStarted`].
    pub async fn start(options: Options) -> Result<Self, NotStarted> {
        let (http, whose) = (engines::http_client(), options.whose());
        if let Some(attached) = attach(&whose, &http).await {
            return Ok(attached);
        }
        let options = Options { tolerate_broken: true, ..options };
        match Lamplighter::start(options).await {
            Ok(handle) => Ok(Self::own(handle, http)),
            // Another one may have been quicker by a moment.
            Err(error) => match attach(&whose, &http).await {
                Some(attached) => Ok(attached),
                None => Err(match control_file::find(&whose) {
                    Some(other) => NotStarted {
                        why: format!(
                            "A Lamplighter runs already (process {}), but it does not answer this app, which may be of \
                             another version: restart it. {error}",
                            other.pid
                        ),
                        offer: None,
                    },
                    None => NotStarted { why: error.to_string(), offer: error.offer() },
                }),
            },
        }
    }

    /// Makes the Ollama that holds our port a node, and starts beside it.
    ///
    /// # Errors
    /// [`NotStarted`].
    pub async fn start_beside(options: Options, offer: Offer) -> Result<Self, NotStarted> {
        match holder::adopt(&options.config_path(), &offer).await {
            Ok(()) => Self::start(options).await,
            Err(why) => Err(NotStarted { why, offer: Some(offer) }),
        }
    }

    fn own(handle: Handle, http: Client) -> Self {
        let file = handle.control_file();
        let control = Control::new(http, &*file.url, &*file.token);
        say_ready(&file.url, handle.control_place(), file.pid);
        let mut snapshots = handle.snapshots();
        snapshots.mark_changed();
        Self::Own { handle: Box::new(handle), control, snapshots }
    }

    /// The way to ask it.
    pub fn control(&self) -> Control {
        match self {
            Self::Own { control, .. } => control.clone(),
            Self::Attached(attached) => attached.control(),
        }
    }

    /// Returns when it shows something new.
    pub async fn changed(&mut self) {
        match self {
            Self::Own { snapshots, .. } => {
                if snapshots.changed().await.is_err() {
                    std::future::pending().await
                }
            }
            Self::Attached(attached) => attached.changed().await,
        }
    }

    /// What it shows.
    pub fn showing(&mut self) -> Showing {
        match self {
            Self::Own { snapshots, control, .. } => {
                let snapshot = snapshots.borrow_and_update().clone();
                // The file may have given it another port.
                control.is_now_at(&snapshot.gateway.base_url);
                Showing::House(snapshot)
            }
            Self::Attached(attached) => {
                let seen = attached.seen();
                match seen.snapshot {
                    Some(snapshot) => Showing::House(snapshot),
                    None => Showing::Gone(seen.control.connection().url.clone()),
                }
            }
        }
    }

    /// Does it end when this process does?
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Own { .. })
    }

    /// Lets running requests finish, within the gateway's own grace, and ends it. One in another process goes on.
    pub async fn shutdown(self) {
        if let Self::Own { handle, snapshots, .. } = self {
            drop(snapshots);
            let cut = handle.shutdown().await;
            if cut > 0 {
                tracing::warn!(connections = cut, "cut");
            }
        }
    }
}

async fn attach(whose: &Whose, http: &Client) -> Option<Gateway> {
    let attached = Attached::find(whose.clone(), http).await?;
    let url = attached.control().connection().url.clone();
    tracing::info!(url, "a gateway runs already: attached to it");
    let place = control_file::place(whose);
    let pid = control_file::find(whose).map_or(0, |file| file.pid);
    say_ready(&url, &place, pid);
    Some(Gateway::Attached(attached))
}

/// The line for whoever started us; they may have closed our output by now.
fn say_ready(url: &str, control: &std::path::Path, pid: u32) {
    let ready = serde_json::json!({ "url": url, "control": control, "pid": pid });
    let _ = writeln!(std::io::stdout(), "{ready}");
}
