//! A gateway that runs in another process: found by its control file, followed by its events, found again when it restarts.

use crate::control::Control;
use lamplighter::control_file::{self, Whose};
use lamplighter_core::snapshot::Snapshot;
use reqwest::Client;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

/// Longest that a gateway may take to show that it is alive.
const ALIVE: Duration = Duration::from_secs(3);
/// Between two looks for a gateway that is gone.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What is known of it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The way in, as of last time.
    pub control: Control,
    /// What it shows; `None` while it does not answer.
    pub snapshot: Option<Arc<Snapshot>>,
}

/// Follows a gateway until it is dropped.
#[derive(Debug)]
pub struct Attached {
    seen: watch::Receiver<Seen>,
    task: JoinHandle<()>,
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Attached {
    /// Attaches to the gateway that runs already, if one does and answers to its token.
    pub async fn find(whose: Whose, http: &Client) -> Option<Self> {
        let (control, snapshot) = alive(&whose, http).await?;
        let (tell, seen) = watch::channel(Seen { control, snapshot: Some(Arc::new(snapshot)) });
        let task = tokio::spawn(follow(whose, http.clone(), tell));
        Some(Self { seen, task })
    }

    /// The way in.
    pub fn control(&self) -> Control {
        self.seen.borrow().control.clone()
    }

    /// What is known now; only what changes after this is a change.
    pub fn seen(&mut self) -> Seen {
        self.seen.borrow_and_update().clone()
    }

    /// Returns when something has changed.
    pub async fn changed(&mut self) {
        if self.seen.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// The running gateway and its snapshot, if it proves to be one.
async fn alive(whose: &Whose, http: &Client) -> Option<(Control, Snapshot)> {
    let file = control_file::find(whose)?;
    let control = Control::new(http.clone(), file.url, file.token);
    let snapshot = timeout(ALIVE, control.snapshot()).await.ok()?.ok()?;
    Some((control, snapshot))
}

async fn follow(whose: Whose, http: Client, tell: watch::Sender<Seen>) {
    loop {
        let control = tell.borrow().control.clone();
        let show = |snapshot| {
            tell.send_modify(|seen| seen.snapshot = Some(snapshot));
        };
        let why = control.follow(show).await;
        // It may have moved to another port.
        let elsewhere = alive(&whose, &http).await;
        let (control, snapshot) = match elsewhere.filter(|(new, _)| new.connection() != control.connection())
        {
            Some(found) => found,
            None => {
                // Or it comes back, under another address and with another token.
                tracing::warn!("not connected any more: {why}");
                tell.send_modify(|seen| seen.snapshot = None);
                loop {
                    sleep(LOOK_AGAIN).await;
                    if let Some(found) = alive(&whose, &http).await {
                        break found;
                    }
                }
            }
        };
        tracing::info!(url = control.connection().url, "connected again");
        tell.send_replace(Seen { control, snapshot: Some(Arc::new(snapshot)) });
    }
}
