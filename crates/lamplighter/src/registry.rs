//! The one writer of node state. Watchers look at the nodes and report; this folds the reports and publishes the fleet.

mod canary;
mod entry;
mod forbidden;
mod gpu;
mod keeper;
mod overlay;
mod ping;
mod remembered;
mod resume;
mod watcher;

use crate::{engines, places::Places, upstream::Upstream};
use keeper::Keeper;
use lamplighter_core::{
    alias::Alias,
    canary::Song,
    config::NodeConfig,
    fleet::{Fleet, NodeId},
    health::Report,
    node::Stage,
    operation::Dialects,
    patience::Patience,
};
pub use ping::Ping;
pub use remembered::{Memory, Remembered};
use std::{collections::HashSet, sync::Arc};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The fleet, and the way to each of its nodes.
#[derive(Debug, Default)]
pub struct House {
    /// What routing knows.
    pub fleet: Fleet,
    /// The way to each node, in the order of `fleet.nodes`. `None` when its address or key cannot be used.
    pub upstreams: Vec<Option<Arc<Upstream>>>,
    /// No node is configured: these were found on this computer.
    pub found_only: bool,
    /// Nodes that belong to other networks than the one we are on.
    pub elsewhere: HashSet<NodeId>,
}

/// One node to watch: what its owner wrote, and its key if it could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Watched {
    /// What its owner wrote.
    pub config: NodeConfig,
    /// Its key; an error says why the reference in the configuration leads to none.
    pub key: Result<Option<String>, String>,
}

/// A handle on the registry.
#[derive(Debug, Clone)]
pub struct Registry {
    house: watch::Receiver<Arc<House>>,
    orders: mpsc::Sender<Order>,
}

#[derive(Debug)]
enum Order {
    /// A watcher has looked; it wants to know when to look again.
    Looked { node: NodeId, look: Box<engines::Look>, facts: Option<Facts>, next_ms: oneshot::Sender<u64> },
    /// A quick sign of life, or the lack of it, while requests are open.
    Pinged { node: NodeId, report: Report },
    /// A request could not reach the node.
    Suspect { node: NodeId },
    /// A request failed there, although it answers probes; the words say how.
    FailedAtWork { node: NodeId, what: String },
    /// It says that it is busy, for so long.
    Busy { node: NodeId, wait_ms: u64 },
    /// It refuses us at work, although it answers probes.
    RefusedAtWork { node: NodeId, why: String },
    /// It forbids a request for that model.
    Forbidden { node: NodeId, model: Arc<str> },
    /// A request has been silent there for too long.
    SilentAtWork { node: NodeId, model: Arc<str> },
    /// A canary is back.
    Sang { node: NodeId, song: Song },
    /// It cannot serve a model that it lists, for a while.
    Blocked { node: NodeId, model: Arc<str>, why: String },
    /// Models that nobody uses shall leave its memory for another; told whether it was asked.
    MakeRoom { node: NodeId, model: Arc<str>, done: oneshot::Sender<bool> },
    /// A request for the model went well there, after something had not.
    Worked { node: NodeId, model: Arc<str> },
    /// The node said that it does not have the model.
    Drifted { node: NodeId, model: String },
    /// Somebody wants to see all nodes as they are now.
    LookAtAll,
    /// Somebody has changed what is loaded there.
    LookAt { node: NodeId },
    /// A wake has come so far, or is over.
    Waking { node: NodeId, stage: Option<Stage> },
    /// These belong to other networks than the one we are on.
    Elsewhere { nodes: HashSet<NodeId> },
    /// This computer has slept.
    Resumed,
    /// The configuration has changed.
    Reconfigure { nodes: Vec<Watched>, aliases: Vec<Alias>, found_only: bool, done: oneshot::Sender<()> },
}

/// What stands around the registry.
#[derive(Debug, Clone)]
pub struct Around {
    /// Told when something has changed that eyes would see.
    pub changed: Arc<Notify>,
    /// Gives out places: a node that has come back begins slowly.
    pub places: Arc<Places>,
    /// How long things may last.
    pub patience: Patience,
    /// Every task that the registry spawns is tracked here …
    pub tasks: TaskTracker,
    /// … and ends with this.
    pub stop: CancellationToken,
}

/// What identification found out.
#[derive(Debug, Clone, PartialEq)]
struct Facts {
    engine: lamplighter_core::node::Engine,
    dialects: Dialects,
}

impl Registry {
    /// Starts watching. Those `elsewhere`, by name, are not looked at before somebody says that they are here.
    #[must_use]
    pub fn start(
        nodes: Vec<Watched>,
        aliases: Vec<Alias>,
        config_path: String,
        memory: Memory,
        elsewhere: HashSet<String>,
        around: Around,
    ) -> Self {
        let (orders, inbox) = mpsc::channel(256);
        let tasks = around.tasks.clone();
        let mut keeper = Keeper::new(config_path, memory, around, orders.clone());
        keeper.begin(nodes, aliases, elsewhere);
        let (publish, house) = watch::channel(Arc::new(keeper.house()));
        tasks.spawn(keeper.run(inbox, publish));
        Self { house, orders }
    }

    /// The house as it is believed to be now.
    #[must_use]
    pub fn house(&self) -> Arc<House> {
        self.house.borrow().clone()
    }

    /// To wait for changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<House>> {
        self.house.clone()
    }

    /// A request could not reach the node: it goes to the end of the line, and a probe goes out at once.
    pub fn suspect(&self, node: NodeId) {
        self.tell(Order::Suspect { node });
    }

    /// A request failed there, although it answers probes: after some in a row it goes to the end of the line.
    pub fn failed_at_work(&self, node: NodeId, upstream: &Upstream, what: &str) {
        upstream.pulse.has_failed();
        self.tell(Order::FailedAtWork { node, what: what.to_owned() });
    }

    /// The node says that it is busy: no fault, and for `wait_ms` others go first.
    pub fn busy(&self, node: NodeId, wait_ms: u64) {
        self.tell(Order::Busy { node, wait_ms });
    }

    /// The node refuses us at work, although it answers probes: until the key is right no request goes there.
    pub fn refused_at_work(&self, node: NodeId, upstream: &Upstream, why: String) {
        upstream.pulse.has_failed();
        self.tell(Order::RefusedAtWork { node, why });
    }

    /// The node forbids a request for `model`. Whether it does so with all of us, its list shows; some in a row are about the
    /// model, which others are asked for then.
    pub fn forbidden(&self, node: NodeId, upstream: &Upstream, model: &Arc<str>) {
        upstream.pulse.has_failed();
        self.tell(Order::Forbidden { node, model: model.clone() });
    }

    /// A request for `model` has been silent there for too long: a canary looks whether any token comes.
    pub fn silent_at_work(&self, node: NodeId, upstream: &Upstream, model: &Arc<str>) {
        upstream.pulse.has_failed();
        self.tell(Order::SilentAtWork { node, model: model.clone() });
    }

    /// The node cannot serve a model that it lists: it is not asked for it for a while. `why` follows "it".
    pub fn blocked(&self, node: NodeId, model: &Arc<str>, why: String) {
        self.tell(Order::Blocked { node, model: model.clone(), why });
    }

    /// Asks the node to take models that nobody uses out of its memory, so that `model` fits. True when it has done so, within
    /// a bound; false also when its engine cannot be asked.
    pub async fn make_room(&self, node: NodeId, model: &Arc<str>) -> bool {
        let (done, made) = oneshot::channel();
        self.tell(Order::MakeRoom { node, model: model.clone(), done });
        made.await.unwrap_or(false)
    }

    /// A request went well there. Costs nothing while none had failed.
    pub fn worked(&self, node: NodeId, upstream: &Upstream, model: &Arc<str>) {
        if upstream.pulse.had_failed() {
            self.tell(Order::Worked { node, model: model.clone() });
        }
    }

    /// The node said that it does not have the model: it is not offered there until the node lists it again.
    pub fn drifted(&self, node: NodeId, model: &str) {
        self.tell(Order::Drifted { node, model: model.to_owned() });
    }

    /// Looks at every node at once: somebody has opened a menu or a window.
    pub fn look_at_all(&self) {
        self.tell(Order::LookAtAll);
    }

    /// A wake has come so far, or is over: until it answers, the node is shown `waking`, and looked at more often.
    pub fn waking(&self, node: NodeId, stage: Option<Stage>) {
        self.tell(Order::Waking { node, stage });
    }

    /// These belong to other networks than the one we are on: they are shown `away`, and not looked at.
    pub fn elsewhere(&self, nodes: HashSet<NodeId>) {
        self.tell(Order::Elsewhere { nodes });
    }

    /// Looks at one node at once, its model list too.
    pub fn look_at(&self, node: NodeId) {
        self.tell(Order::LookAt { node });
    }

    /// This computer has slept: every node is looked at anew, on fresh connections.
    pub async fn resumed(&self) {
        // An error only says that the registry has ended meanwhile.
        let _ = self.orders.send(Order::Resumed).await;
    }

    /// Takes the nodes and aliases of a changed configuration. A node whose address, key and engine are as before stays as it
    /// is; one that is gone takes no new requests, and what runs there may finish. Returns when the new house is published.
    pub async fn reconfigure(&self, nodes: Vec<Watched>, aliases: Vec<Alias>, found_only: bool) {
        let (done, published) = oneshot::channel();
        if self.orders.send(Order::Reconfigure { nodes, aliases, found_only, done }).await.is_ok() {
            // An error only says that the registry ended meanwhile.
            let _ = published.await;
        }
    }

    /// The queue is bounded. When it is full, reports of the same kind are waiting in it already.
    fn tell(&self, order: Order) {
        if self.orders.try_send(order).is_err() {
            tracing::debug!("the registry is busy: a report was dropped");
        }
    }
}
