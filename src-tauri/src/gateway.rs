//! The gateway, as far as the app needs it: in this process, or in another one that ran already.

use crate::{attach::Attached, control::Control, face::Showing};
use lamplighter::{
    Handle, Lamplighter, Options,
    control_file::{self, Whose},
    engines,
};
use lamplighter_core::snapshot::Snapshot;
use reqwest::Client;
use serde_json::Value;
use std::{io::Write, net::SocketAddr, sync::Arc, time::Duration};
use tokio::sync::watch;

/// Longest that whoever holds our port may take to say who it is.
const WHO: Duration = Duration::from_secs(2);

/// The running gateway.
pub enum Gateway {
    /// It runs here.
    Own {
        /// Its handle.
        handle: Handle,
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
    /// In the gateway's own words.
    pub async fn start(options: Options) -> Result<Self, String> {
        let (http, whose) = (engines::http_client(), options.whose());
        if let Some(attached) = attach(&whose, &http).await {
            return Ok(attached);
        }
        let options = Options { tolerate_broken: true, ..options };
        match Lamplighter::start(options).await {
            Ok(handle) => Ok(Self::own(handle, http)),
            // Another one may have been quicker by a moment.
            Err(why) => match attach(&whose, &http).await {
                Some(attached) => Ok(attached),
                None => Err(match control_file::find(&whose) {
                    Some(other) => format!(
                        "A Lamplighter runs already (process {}), but it does not answer this app, which may be of another \
                         version: restart it. {why}",
                        other.pid
                    ),
                    None => who_holds_it(why.to_string(), &http).await,
                }),
            },
        }
    }

    fn own(handle: Handle, http: Client) -> Self {
        let file = handle.control_file();
        let control = Control::new(http, &*file.url, &*file.token);
        say_ready(&file.url, handle.control_place(), file.pid);
        let mut snapshots = handle.snapshots();
        snapshots.mark_changed();
        Self::Own { handle, control, snapshots }
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
            Self::Own { snapshots, .. } => Showing::House(snapshots.borrow_and_update().clone()),
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

/// The reason with more about who holds the port, when it is one we know.
async fn who_holds_it(why: String, http: &Client) -> String {
    let Some((address, _)) = why.split_once(" is taken by ") else { return why };
    let Ok(address) = address.parse::<SocketAddr>() else { return why };
    let ask = |path| async move {
        let answer = http.get(format!("http://{address}{path}")).timeout(WHO).send().await.ok()?;
        answer.error_for_status().ok()?.json::<Value>().await.ok()
    };
    let version = |answer: Option<Value>| {
        let version = answer?["version"].as_str()?.chars().take(20).filter(|c| !c.is_control()).collect();
        Some::<String>(version)
    };
    if let Some(version) = version(ask("/control/v1/health").await) {
        return format!(
            "Another Lamplighter (version {version}) serves at {address}, with another configuration or for another user. {why}"
        );
    }
    match version(ask("/api/version").await) {
        Some(version) => {
            format!(
                "An Ollama (version {version}) holds {address}. Give Lamplighter a port of its own in `listen` of [server] \
                 (11400 is the usual one), and this Ollama becomes a machine behind it. {why}"
            )
        }
        None => why,
    }
}
