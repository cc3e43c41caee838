//! The registry's task: takes in what watchers and requests report, and publishes the house.

use super::{House, Memory, Order, Watched, entry::Entry, overlay::Overlay, ping, watcher};
use crate::{
    clock, engines,
    upstream::{Upstream, Wanted},
};
use lamplighter_core::{
    alias::Alias,
    catalogue::Catalogue,
    fleet::{Fleet, Node, NodeId},
    health::{Health, Report},
};
use std::sync::Arc;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The task's own state.
pub(super) struct Keeper {
    nodes: Vec<Entry>,
    next_id: u32,
    found_only: bool,
    aliases: Arc<[Alias]>,
    config_path: String,
    memory: Memory,
    seq: u64,
    overlay: Overlay,
    changed: Arc<Notify>,
    http: reqwest::Client,
    orders: mpsc::Sender<Order>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Keeper {
    pub(super) fn new(
        config_path: String,
        memory: Memory,
        changed: Arc<Notify>,
        orders: mpsc::Sender<Order>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self {
            nodes: Vec::new(),
            next_id: 0,
            found_only: false,
            aliases: Arc::default(),
            config_path,
            memory,
            seq: 0,
            overlay: Overlay::default(),
            changed,
            http: engines::http_client(),
            orders,
            tasks,
            stop,
        }
    }

    /// Takes the nodes and aliases of a configuration.
    pub(super) fn reconfigure(&mut self, nodes: Vec<Watched>, aliases: Vec<Alias>) {
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
        let mut entry = Entry::new(id, config, key, unwatch, health, upstream);
        if let Some(seen) = self.memory.get(&entry.config.name)
            && seen.url == entry.config.url.to_string()
        {
            entry.remember(seen);
        }
        entry
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Order>, publish: watch::Sender<Arc<House>>) {
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
                let is_waking = self.overlay.is_waking(node);
                let Some(entry) = self.entry(node) else { return false };
                if is_waking && look.report == Report::Answered {
                    entry.health.expect();
                }
                let changed = entry.looked(*look, facts);
                // The watcher may be gone: then nobody waits for the answer.
                let next = entry.health.next_probe_ms(clock::random());
                let _ = next_ms.send(self.overlay.pace(node, next));
                changed
            }
            Order::Pinged { node, report } => {
                let is_waking = self.overlay.is_waking(node);
                self.entry(node).is_some_and(|entry| {
                    if is_waking && report == Report::Answered {
                        entry.health.expect();
                    }
                    entry.fold(report)
                })
            }
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
            Order::Waking { node, stage } => {
                // It is looked at on fresh connections: those of before its sleep only look open.
                if stage.is_some() && !self.overlay.is_waking(node) {
                    self.nodes.iter().filter(|entry| entry.id == node).for_each(Entry::forget_connections);
                }
                self.overlay.waking(node, stage)
            }
            Order::Elsewhere { nodes } => {
                let back: Vec<NodeId> = self
                    .nodes
                    .iter()
                    .map(|entry| entry.id)
                    .filter(|id| self.overlay.is_elsewhere(*id) && !nodes.contains(id))
                    .collect();
                let news = self.overlay.elsewhere(nodes);
                self.nodes
                    .iter()
                    .filter(|entry| back.contains(&entry.id))
                    .for_each(|entry| entry.want_look(Wanted::Full));
                news
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

    pub(super) fn house(&self) -> House {
        let mut nodes: Vec<Node> = self.nodes.iter().map(Entry::show).collect();
        nodes.iter_mut().for_each(|node| self.overlay.show(node));
        let catalogue = Catalogue::merge(&nodes);
        let config_path = Some(self.config_path.clone());
        let fleet = Fleet { seq: self.seq, nodes, catalogue, aliases: self.aliases.clone(), config_path };
        let upstreams = self.nodes.iter().map(|entry| entry.upstream.clone()).collect();
        House { fleet, upstreams, found_only: self.found_only, elsewhere: self.overlay.all_elsewhere() }
    }
}
