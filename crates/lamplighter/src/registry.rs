//! The one writer of node state. Watchers look at the nodes and report; this folds the reports and publishes the fleet.

mod ping;
mod watcher;

use crate::{
    clock, engines,
    upstream::{Upstream, Wanted},
};
use lamplighter_core::{
    alias::Alias,
    catalogue::Catalogue,
    config::NodeConfig,
    fleet::{Fleet, Node, NodeId},
    health::{Health, Report},
    model::{Model, key},
    node::State,
    operation::Dialects,
};
use std::sync::Arc;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A model that a node has refused is not offered there for this long, even when the node goes on listing it.
const DRIFT_MS: u64 = 30_000;

/// The fleet, and the way to each of its nodes.
#[derive(Debug, Default)]
pub struct House {
    /// What routing knows.
    pub fleet: Fleet,
    /// The way to each node, in the order of `fleet.nodes`. `None` when its address or key cannot be used.
    pub upstreams: Vec<Option<Arc<Upstream>>>,
    /// No node is configured: these were found on this computer.
    pub found_only: bool,
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
    /// A request went well there, after some had failed.
    Worked { node: NodeId },
    /// The node said that it does not have the model.
    Drifted { node: NodeId, model: String },
    /// Somebody wants to see all nodes as they are now.
    LookAtAll,
    /// Somebody has changed what is loaded there.
    LookAt { node: NodeId },
    /// The configuration has changed.
    Reconfigure { nodes: Vec<Watched>, aliases: Vec<Alias>, found_only: bool, done: oneshot::Sender<()> },
}

/// What identification found out.
#[derive(Debug, Clone, PartialEq)]
struct Facts {
    engine: lamplighter_core::node::Engine,
    dialects: Dialects,
}

impl Registry {
    /// Starts watching. Every task it spawns is tracked and ends with `stop`.
    #[must_use]
    pub fn start(
        nodes: Vec<Watched>,
        aliases: Vec<Alias>,
        config_path: String,
        changed: Arc<Notify>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let (orders, inbox) = mpsc::channel(256);
        let mut keeper = Keeper {
            nodes: Vec::new(),
            next_id: 0,
            found_only: false,
            aliases: Arc::default(),
            config_path,
            seq: 0,
            changed,
            http: engines::http_client(),
            orders: orders.clone(),
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        keeper.reconfigure(nodes, aliases);
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

    /// A request went well there. Costs nothing while none had failed.
    pub fn worked(&self, node: NodeId, upstream: &Upstream) {
        if upstream.pulse.had_failed() {
            self.tell(Order::Worked { node });
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

    /// Looks at one node at once, its model list too.
    pub fn look_at(&self, node: NodeId) {
        self.tell(Order::LookAt { node });
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

/// The task's own state.
struct Keeper {
    nodes: Vec<Entry>,
    next_id: u32,
    found_only: bool,
    aliases: Arc<[Alias]>,
    config_path: String,
    seq: u64,
    changed: Arc<Notify>,
    http: reqwest::Client,
    orders: mpsc::Sender<Order>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

struct Entry {
    id: NodeId,
    config: Arc<NodeConfig>,
    key: Result<Option<String>, String>,
    /// Ends its watcher.
    unwatch: CancellationToken,
    health: Health,
    facts: Option<Facts>,
    version: Option<String>,
    told_slots: Option<u32>,
    /// What it lists, and what of that is offered: all but what it has refused lately.
    listed: Vec<Model>,
    models: Arc<[Model]>,
    /// Models that the node refused although it listed them, and when.
    drifted: Vec<(String, u64)>,
    vram_seen: u64,
    probe_ms: Option<u32>,
    upstream: Option<Arc<Upstream>>,
}

impl Keeper {
    /// Takes the nodes and aliases of a configuration.
    fn reconfigure(&mut self, nodes: Vec<Watched>, aliases: Vec<Alias>) {
        self.aliases = aliases.into();
        let mut before = std::mem::take(&mut self.nodes);
        for watched in nodes {
            let same = before.iter().position(|entry| entry.is_same_server(&watched));
            let entry = match same {
                Some(at) => {
                    let mut entry = before.remove(at);
                    entry.config = Arc::new(watched.config);
                    entry
                }
                None => self.enter(watched),
            };
            self.nodes.push(entry);
        }
        for gone in before {
            tracing::info!(node = gone.config.name, "not watched any more");
            gone.unwatch.cancel();
        }
    }

    /// Takes a node in and sets its watcher on it. Without a way to it, it is `refusing`, with the reason.
    fn enter(&mut self, watched: Watched) -> Entry {
        let id = NodeId(self.next_id);
        self.next_id += 1;
        let Watched { config, key } = watched;
        let unwatch = self.stop.child_token();
        let mut health = Health::new(clock::wall_ms());
        let way =
            key.clone().and_then(|key| Ok((Arc::new(Upstream::new(&config.url, key.as_deref())?), key)));
        let upstream = match way {
            Ok((upstream, key)) => {
                let http = self.http.clone();
                let asker = engines::Asker::new(http.clone(), config.url.clone(), key.clone(), config.engine);
                let ping = ping::Ping::new(http, config.url.clone(), key);
                let watcher = watcher::Watcher::new(id, asker, ping, upstream.clone(), self.orders.clone());
                self.tasks.spawn(watcher.run(unwatch.clone()));
                Some(upstream)
            }
            Err(why) => {
                health.fold(Report::Refused(why), config.presence, clock::wall_ms());
                None
            }
        };
        Entry {
            id,
            config: Arc::new(config),
            key,
            unwatch,
            health,
            facts: None,
            version: None,
            told_slots: None,
            listed: Vec::new(),
            models: Arc::default(),
            drifted: Vec::new(),
            vram_seen: 0,
            probe_ms: None,
            upstream,
        }
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<Order>, publish: watch::Sender<Arc<House>>) {
        // Told after the publication.
        let mut waiting = Vec::new();
        loop {
            let order = tokio::select! {
                () = self.stop.cancelled() => return,
                order = inbox.recv() => match order { Some(order) => order, None => return },
            };
            let mut changed = self.take(order, &mut waiting);
            // A burst of reports makes one publication.
            while let Ok(order) = inbox.try_recv() {
                changed |= self.take(order, &mut waiting);
            }
            if changed {
                self.seq += 1;
                publish.send_replace(Arc::new(self.house()));
                self.changed.notify_one();
            }
            for done in waiting.drain(..) {
                // Whoever asked may have left.
                let _: Result<(), ()> = oneshot::Sender::send(done, ());
            }
        }
    }

    /// Takes in one order. True when something that others see has changed.
    fn take(&mut self, order: Order, waiting: &mut Vec<oneshot::Sender<()>>) -> bool {
        match order {
            Order::Looked { node, look, facts, next_ms } => {
                let Some(entry) = self.entry(node) else { return false };
                let changed = entry.looked(*look, facts);
                // The watcher may be gone: then nobody waits for the answer.
                let _ = next_ms.send(entry.health.next_probe_ms(clock::random()));
                changed
            }
            Order::Pinged { node, report } => self.entry(node).is_some_and(|entry| entry.fold(report)),
            Order::Suspect { node } => self.entry(node).is_some_and(|entry| {
                if let Some(upstream) = &entry.upstream {
                    upstream.purge();
                    upstream.pulse.want_look(Wanted::Pulse);
                }
                entry.health.suspect()
            }),
            Order::FailedAtWork { node, what } => self.entry(node).is_some_and(|entry| {
                let was = entry.health.state;
                let (now_ms, mono_ms) = (clock::wall_ms(), clock::mono_ms());
                let news = entry.health.failed_at_work(&what, now_ms, mono_ms, clock::random());
                entry.log_change(was);
                news
            }),
            Order::Worked { node } => self.entry(node).is_some_and(|entry| {
                let was = entry.health.state;
                let news = entry.health.worked(clock::wall_ms());
                entry.log_change(was);
                news
            }),
            Order::Drifted { node, model } => self.entry(node).is_some_and(|entry| entry.drift(&model)),
            Order::LookAtAll => {
                self.nodes.iter().for_each(|entry| entry.want_look(Wanted::Full));
                false
            }
            Order::LookAt { node } => {
                self.nodes
                    .iter()
                    .filter(|entry| entry.id == node)
                    .for_each(|entry| entry.want_look(Wanted::Full));
                false
            }
            Order::Reconfigure { nodes, aliases, found_only, done } => {
                self.reconfigure(nodes, aliases);
                self.found_only = found_only;
                waiting.push(done);
                true
            }
        }
    }

    fn entry(&mut self, id: NodeId) -> Option<&mut Entry> {
        self.nodes.iter_mut().find(|entry| entry.id == id)
    }

    fn house(&self) -> House {
        let nodes: Vec<Node> = self.nodes.iter().map(Entry::show).collect();
        let catalogue = Catalogue::merge(&nodes);
        let config_path = Some(self.config_path.clone());
        let fleet = Fleet { seq: self.seq, nodes, catalogue, aliases: self.aliases.clone(), config_path };
        let upstreams = self.nodes.iter().map(|entry| entry.upstream.clone()).collect();
        House { fleet, upstreams, found_only: self.found_only }
    }
}

impl Entry {
    /// Would nothing about how it is reached and watched change?
    fn is_same_server(&self, watched: &Watched) -> bool {
        let (mine, new) = (&self.config, &watched.config);
        mine.name == new.name && mine.url == new.url && mine.engine == new.engine && self.key == watched.key
    }

    fn want_look(&self, wanted: Wanted) {
        if let Some(upstream) = &self.upstream {
            upstream.pulse.want_look(wanted);
        }
    }

    fn looked(&mut self, look: engines::Look, facts: Option<Facts>) -> bool {
        let mut changed = false;
        if look.report == Report::Answered {
            // Shown rounded, so that jitter of a millisecond is no news.
            self.probe_ms = Some(look.took_ms);
            if facts.is_some() {
                changed |= std::mem::replace(&mut self.facts, facts.clone()) != facts;
            }
            if look.version.is_some() {
                changed |= std::mem::replace(&mut self.version, look.version.clone()) != look.version;
            }
            if look.told_slots.is_some() {
                changed |= std::mem::replace(&mut self.told_slots, look.told_slots) != look.told_slots;
            }
            if let Some(listing) = look.listing {
                self.listed = listing;
            }
            changed |= self.offer();
        }
        changed | self.fold(look.report)
    }

    /// Works out what is offered. True when that has changed.
    fn offer(&mut self) -> bool {
        // Use of video memory without spill shows how much there is at least.
        let resident =
            self.listed.iter().filter(|m| m.loaded == Some(true)).map(|m| m.vram_bytes.unwrap_or(0)).sum();
        self.vram_seen = self.vram_seen.max(resident);
        let now_ms = clock::mono_ms();
        self.drifted.retain(|(_, at_ms)| at_ms + DRIFT_MS > now_ms);
        let drifted = |listed: &Model| self.drifted.iter().any(|(model, _)| key(model) == key(&listed.name));
        if self.listed.iter().filter(|listed| !drifted(listed)).eq(self.models.iter()) {
            return false;
        }
        self.models = self.listed.iter().filter(|listed| !drifted(listed)).cloned().collect();
        true
    }

    fn drift(&mut self, model: &str) -> bool {
        tracing::warn!(node = self.config.name, model, "the node does not have a model that it listed");
        self.drifted.push((model.to_owned(), clock::mono_ms()));
        if let Some(upstream) = &self.upstream {
            upstream.pulse.want_look(Wanted::Full);
        }
        self.offer()
    }

    fn fold(&mut self, report: Report) -> bool {
        let was = self.health.state;
        let answered = report == Report::Answered;
        let mut changed = self.health.fold(report, self.config.presence, clock::wall_ms());
        changed |= self.health.recover(clock::wall_ms(), clock::mono_ms());
        let is = self.health.state;
        self.log_change(was);
        if let Some(upstream) = &self.upstream {
            if answered {
                upstream.pulse.beat();
            }
            match (was.takes_requests(), is.takes_requests()) {
                (true, false) => upstream.is_gone(),
                (false, true) => upstream.is_back(),
                _ => {}
            }
        }
        changed
    }

    fn log_change(&self, was: State) {
        let is = self.health.state;
        if was != is {
            let why = self.health.why.as_deref().unwrap_or("");
            tracing::info!(node = self.config.name, from = was.word(), to = is.word(), why, "node");
        }
    }

    fn show(&self) -> Node {
        let vram_seen = (self.vram_seen > 0).then_some(self.vram_seen);
        Node {
            id: self.id,
            config: self.config.clone(),
            engine: self.facts.as_ref().map(|facts| facts.engine).or(self.config.engine),
            version: self.version.clone(),
            dialects: self.facts.as_ref().map(|facts| facts.dialects).unwrap_or_default(),
            state: self.health.state,
            since_ms: self.health.since_ms,
            why: self.health.why.clone(),
            suspect: self.health.suspect,
            told_slots: self.told_slots,
            models: self.models.clone(),
            vram_bytes: self.config.vram_bytes.or(vram_seen),
            probe_ms: self.probe_ms,
        }
    }
}
