//! The database while the gateway runs: opened first, closed last.

use crate::{
    registry::{Memory, Remembered},
    store::{LastSeen, Opened, Store},
    waker::Known,
};
use lamplighter_core::{mac::Mac, node_url::NodeUrl};
use std::{collections::HashMap, path::Path};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The database while the gateway runs. Its writer ends last: the others have something to write until their own end.
#[derive(Debug)]
pub struct Keeping {
    store: Option<Store>,
    said: Option<String>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Keeping {
    /// Opens the database. Without one the gateway runs all the same, and says so.
    pub async fn open(path: &Path) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let opened = Store::open(path, &tasks, &stop).await;
        let said = match &opened {
            Ok(Opened { moved_aside: None, .. }) => None,
            Ok(Opened { moved_aside: Some((aside, why)), .. }) => Some(format!(
                "The history could not be read ({why}): it was moved to {}, and a new one has begun.",
                aside.display()
            )),
            Err(why) => Some(format!("History is not kept: {why}.")),
        };
        if let Some(said) = &said {
            tracing::warn!("{said}");
        }
        Self { store: opened.ok().map(|opened| opened.store), said, tasks, stop }
    }

    /// The database, where there is one.
    #[must_use]
    pub fn store(&self) -> Option<Store> {
        self.store.clone()
    }

    /// What a person should know: nothing is kept, or it had to begin anew.
    #[must_use]
    pub fn said(&self) -> Option<&str> {
        self.said.as_deref()
    }

    /// What an earlier run saw of the nodes.
    pub async fn memory(&self) -> (Memory, HashMap<String, Known>) {
        let Some(store) = &self.store else { return <_>::default() };
        if let Err(error) = store.end_interrupted_wakes().await {
            tracing::warn!("past wakes cannot be read: {error}");
        }
        let mut seen = store.last_seen().await.unwrap_or_else(|error| {
            tracing::warn!("what was last seen of the nodes cannot be read: {error}");
            Vec::new()
        });
        // Of two that were seen at one address, the later one counts.
        seen.sort_by_key(|seen| seen.seen_ms);
        let read =
            |texts: &[String]| -> Vec<Mac> { texts.iter().filter_map(|text| text.parse().ok()).collect() };
        let (mut memory, mut known) = (Memory::new(), HashMap::<String, Known>::new());
        for seen in seen {
            let LastSeen { url, engine, version, dialects, models, vram_bytes, .. } = seen;
            let Ok(url) = NodeUrl::parse(&url) else { continue };
            let ip = seen.address.as_deref().and_then(|text| text.parse().ok());
            let (macs, networks) = (read(&seen.macs), read(&seen.networks));
            // Of two engines on one host, one may have been seen before anything was learned.
            let of_host = known.entry(url.host().to_owned()).or_default();
            if !macs.is_empty() {
                (of_host.macs, of_host.ip) = (macs, ip);
            }
            if !networks.is_empty() {
                of_host.networks = networks;
            }
            memory.insert(url, Remembered { engine, version, dialects, models, vram_bytes });
        }
        (memory, known)
    }

    /// Writes down what waits, and closes.
    pub async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
