//! Keeps machines awake while they answer requests of ours, each as its owner has written (`keep_awake`).
//!
//! Who works there holds a [`Vigil`]. While anybody does, the machine is called at once and then every so often; the calls end
//! with the work, so that the machine's own idle timer goes on to do what it is for.

use crate::{
    clock, engines, hooks,
    registry::{Ping, Registry},
};
use lamplighter_core::{
    config::Nudge,
    fleet::{Node, NodeId},
};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Keeps machines awake.
#[derive(Debug)]
pub struct Vigils {
    registry: Registry,
    /// Its connections are closed before the next call is due: what an idle timer may count is a new one.
    http: reqwest::Client,
    /// Where keys in files are looked for.
    base_dir: PathBuf,
    nodes: Mutex<HashMap<NodeId, Kept>>,
    /// Told when something has changed that eyes would see.
    changed: Arc<Notify>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A machine that is kept awake, or was.
#[derive(Debug, Default)]
struct Kept {
    /// Requests that work there.
    at_work: u32,
    /// Somebody keeps the time.
    is_timed: bool,
    /// When it was last called, by the monotonic clock.
    called_ms: Option<u64>,
    /// Why the last command failed.
    failed: Option<String>,
}

impl Vigils {
    /// Nobody works anywhere yet.
    #[must_use]
    pub fn new(
        registry: Registry,
        base_dir: PathBuf,
        changed: Arc<Notify>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let http = engines::http_client();
        Arc::new(Self { registry, http, base_dir, nodes: Mutex::default(), changed, tasks, stop })
    }

    /// Work begins on a node. `None` when its owner has not asked to have it kept awake.
    pub fn keep(self: &Arc<Self>, node: &Node) -> Option<Vigil> {
        every(node)?;
        let is_timed = {
            let mut nodes = self.lock();
            let kept = nodes.entry(node.id).or_default();
            kept.at_work += 1;
            std::mem::replace(&mut kept.is_timed, true)
        };
        if !is_timed {
            self.tasks.spawn(self.clone().keep_time(node.id));
        }
        Some(Vigil { vigils: self.clone(), node: node.id })
    }

    /// Why the last command that should keep this machine awake failed, if it did.
    #[must_use]
    pub fn failed(&self, node: &Node) -> Option<String> {
        every(node)?;
        self.lock().get(&node.id)?.failed.clone()
    }

    /// Calls as long as somebody works there.
    async fn keep_time(self: Arc<Self>, node: NodeId) {
        while let Some(wait) = self.due_in(node) {
            // Who works there may leave meanwhile: then no call is made.
            let next = async { if wait.is_zero() { self.call(node).await } else { sleep(wait).await } };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = next => {}
            }
        }
    }

    /// How long until the next call. `None` when it would be due and nobody works there: then nobody keeps the time any more.
    fn due_in(&self, node: NodeId) -> Option<Duration> {
        let house = self.registry.house();
        let every_ms = house.fleet.by_id(node).and_then(every);
        let mut nodes = self.lock();
        let kept = nodes.get_mut(&node)?;
        let due_ms = kept.called_ms.map_or(0, |called_ms| called_ms + every_ms.unwrap_or(0));
        let left_ms = due_ms.saturating_sub(clock::mono_ms());
        if every_ms.is_some() && (left_ms > 0 || kept.at_work > 0) {
            return Some(Duration::from_millis(left_ms));
        }
        kept.is_timed = false;
        nodes.retain(|id, kept| {
            let is_told = kept.failed.is_some() && house.fleet.by_id(*id).is_some();
            kept.is_timed || kept.at_work > 0 || is_told
        });
        None
    }

    async fn call(&self, node: NodeId) {
        let house = self.registry.house();
        let Some(at) = house.fleet.nodes.iter().position(|there| there.id == node) else { return };
        let there = &house.fleet.nodes[at];
        let Some(how) = &there.config.keep_awake else { return };
        let called = match &how.by {
            Nudge::Command(command) => hooks::run(&self.http, command, &self.base_dir).await,
            Nudge::Call => {
                let key = house.upstreams[at].as_ref().and_then(|upstream| upstream.key().cloned());
                let ping = Ping::new(self.http.clone(), there.config.url.clone(), key);
                // A machine that does not answer is the registry's affair, and told by it.
                let _ = ping.ask(there.engine).await;
                Ok(())
            }
        };
        tracing::debug!(node = there.name(), ?called, "called to stay awake");
        if self.called(node, called.err()) {
            self.changed.notify_one();
        }
    }

    /// A call has been made. True when it went otherwise than the last.
    fn called(&self, node: NodeId, failed: Option<String>) -> bool {
        let mut nodes = self.lock();
        let Some(kept) = nodes.get_mut(&node) else { return false };
        kept.called_ms = Some(clock::mono_ms());
        let is_news = kept.failed != failed;
        kept.failed = failed;
        is_news
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Kept>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work on a machine that is kept awake for it. The work ends on drop.
#[derive(Debug)]
pub struct Vigil {
    vigils: Arc<Vigils>,
    node: NodeId,
}

impl Drop for Vigil {
    fn drop(&mut self) {
        if let Some(kept) = self.vigils.lock().get_mut(&self.node) {
            kept.at_work = kept.at_work.saturating_sub(1);
        }
    }
}

/// How often a machine is called while it answers, milliseconds. `None` when it is not.
fn every(node: &Node) -> Option<u64> {
    node.config.keep_awake.as_ref().filter(|_| !node.config.url.is_cloud()).map(|how| how.every_ms)
}
