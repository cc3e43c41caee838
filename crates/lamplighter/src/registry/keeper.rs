//! The registry's task: takes in what watchers and requests report, and publishes the house.

use super::{
    Around, House, Memory, Order, Watched, canary, entry::Entry, overlay::Overlay, ping, resume::Resume,
    watcher,
};
use crate::{
    clock, engines,
    upstream::{Upstream, Wanted},
};
use lamplighter_core::{
    alias::Alias,
    beat::{self, TOGETHER},
    catalogue::Catalogue,
    fleet::{Fleet, Node, NodeId},
    health::{Health, Report},
    node_url::NodeUrl,
};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

/// A node whose next probe is due after this long has settled; what is changing is looked at sooner.
const AT_REST_MS: u64 = 4_000;
/// A node that may only be out of reach because our own network is not back is asked again after this long.
const SPARED_MS: u64 = 1_000;

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
    http: reqwest::Client,
    /// Nodes that come in held, by name.
    held_at_first: HashSet<String>,
    probes: watch::Sender<reqwest::Client>,
    resume: Resume,
    orders: mpsc::Sender<Order>,
    around: Around,
}

impl Keeper {
    pub(super) fn new(
        config_path: String,
        memory: Memory,
        around: Around,
        orders: mpsc::Sender<Order>,
    ) -> Self {
        let http = engines::http_client();
        Self {
            nodes: Vec::new(),
            next_id: 0,
            found_only: false,
            aliases: Arc::default(),
            config_path,
            memory,
            seq: 0,
            overlay: Overlay::default(),
            held_at_first: HashSet::new(),
            probes: watch::Sender::new(http.clone()),
            resume: Resume::default(),
            http,
            orders,
            around,
        }
    }

    /// Takes the first nodes. Those that are elsewhere are left alone from the beginning: their watchers find them held.
    pub(super) fn begin(&mut self, nodes: Vec<Watched>, aliases: Vec<Alias>, elsewhere: HashSet<String>) {
        self.held_at_first = elsewhere;
        self.reconfigure(nodes, aliases);
        let elsewhere = std::mem::take(&mut self.held_at_first);
        let held = self.nodes.iter().filter(|entry| elsewhere.contains(&entry.config.name));
        let held = held.map(|entry| entry.id).collect();
        self.overlay.elsewhere(held);
    }

    /// Takes the nodes and aliases of a configuration.
    pub(super) fn reconfigure(&mut self, nodes: Vec<Watched>, aliases: Vec<Alias>) {
        self.aliases = aliases.into();
        let mut before = std::mem::take(&mut self.nodes);
        for watched in nodes {
            let same = before.iter().position(|entry| entry.config.url.same_server(&watched.config.url));
            let entry = match same.map(|at| before.remove(at)) {
                Some(mut entry) if entry.is_watched_as(&watched) => {
                    entry.rewrite(watched.config);
                    entry
                }
                Some(mut old) => {
                    self.leave(&old, &watched.config.url);
                    let mut new = self.enter(watched);
                    new.follow(&mut old);
                    new
                }
                None => self.enter(watched),
            };
            self.nodes.push(entry);
        }
        for gone in before {
            tracing::info!(node = gone.config.name, "not watched any more");
            self.leave(&gone, &gone.config.url);
        }
        let nodes = &self.nodes;
        self.around.places.forget(|node| nodes.iter().any(|entry| entry.id == node));
    }

    /// Ends the watch of a node. What was seen of it is remembered for whoever is at `url` next.
    fn leave(&mut self, gone: &Entry, url: &NodeUrl) {
        gone.unwatch.cancel();
        if let Some(seen) = gone.remembered() {
            self.memory.insert(url.clone(), seen);
        }
    }

    /// Takes a node in and sets its watcher on it. Without a way to it, it is `refusing`, with the reason.
    fn enter(&mut self, watched: Watched) -> Entry {
        let id = NodeId(self.next_id);
        self.next_id += 1;
        let Watched { config, key } = watched;
        let unwatch = self.around.stop.child_token();
        let mut health = Health::new(self.around.patience, clock::now());
        let way =
            key.clone().and_then(|key| Ok((Arc::new(Upstream::new(&config.url, key.as_deref())?), key)));
        let upstream = match way {
            Ok((upstream, key)) => {
                upstream.pulse.hold(self.held_at_first.contains(&config.name));
                let http = self.http.clone();
                let asker = engines::Asker::new(http.clone(), config.url.clone(), key, config.engine);
                let ping = ping::Ping::new(http, config.url.clone(), upstream.key().cloned());
                let watcher = watcher::Watcher::new(
                    id,
                    asker,
                    ping,
                    self.probes.subscribe(),
                    upstream.clone(),
                    self.orders.clone(),
                );
                self.around.tasks.spawn(watcher.run(unwatch.clone()));
                Some(upstream)
            }
            Err(why) => {
                health.fold(Report::Refused(why), config.presence, clock::now());
                None
            }
        };
        let mut entry = Entry::new(id, config, key, unwatch, health, upstream, &self.around);
        // With another engine than was seen there, it is another server.
        if let Some(seen) = self.memory.get(&entry.config.url)
            && entry.config.engine.is_none_or(|engine| seen.engine.is_none_or(|seen| seen == engine))
        {
            entry.remember(seen);
        }
        entry
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Order>, publish: watch::Sender<Arc<House>>) {
        // Told after the publication.
        let mut waiting = Vec::new();
        loop {
            let due = self.due();
            let order = tokio::select! {
                () = self.around.stop.cancelled() => return,
                order = inbox.recv() => match order { Some(order) => Some(order), None => return },
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => None,
            };
            let mut changed = match order {
                Some(order) => self.take(order, &mut waiting),
                None => self.tick(),
            };
            // A burst of reports makes one publication.
            while let Ok(order) = inbox.try_recv() {
                changed |= self.take(order, &mut waiting);
            }
            if changed {
                self.seq += 1;
                publish.send_replace(Arc::new(self.house()));
                self.around.changed.notify_one();
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
                if self.is_spared(node, &look.report) {
                    // Whoever asked may have left.
                    let _ = next_ms.send(SPARED_MS);
                    return self.change(node, Health::suspect);
                }
                let few = self.nodes.len() <= TOGETHER;
                let Some(entry) = self.entry(node) else { return false };
                if is_waking && look.report == Report::Answered {
                    entry.health.expect();
                }
                let changed = entry.looked(*look, facts);
                // The watcher may be gone: then nobody waits for the answer.
                let next = entry.health.next_probe_ms(clock::random());
                let is_at_rest = next >= AT_REST_MS && entry.is_idle();
                let next = if few && is_at_rest { beat::on_beat(clock::mono_ms(), next) } else { next };
                let _ = next_ms.send(self.overlay.pace(node, next));
                changed
            }
            Order::Pinged { node, report } => {
                if self.is_spared(node, &report) {
                    return self.change(node, Health::suspect);
                }
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
                entry.change(Health::suspect)
            }),
            Order::FailedAtWork { node, what } => {
                self.change(node, |health| health.failed_at_work(&what, clock::now(), clock::random()))
            }
            Order::Busy { node, wait_ms } => self.change(node, |health| health.busy(wait_ms, clock::now())),
            Order::RefusedAtWork { node, why } => {
                self.change(node, |health| health.refused_at_work(why, clock::now()))
            }
            Order::Forbidden { node, model } => {
                let has = |entry: &Entry| entry.id != node && entry.offers(&model);
                let others = self.nodes.iter().any(has);
                self.entry(node).is_some_and(|entry| entry.forbids(&model, others))
            }
            Order::SilentAtWork { node, model } => {
                self.change(node, |health| {
                    health.silent_at_work(&model);
                    false
                });
                self.tick()
            }
            Order::Sang { node, song } => self.change(node, |health| health.sang(song, clock::now())),
            Order::Blocked { node, model, why } => {
                self.entry(node).is_some_and(|entry| entry.block(&model, why))
            }
            Order::MakeRoom { node, model, done } => {
                self.make_room(node, &model, done);
                false
            }
            Order::Worked { node, model } => self.entry(node).is_some_and(|entry| entry.worked(&model)),
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
                    for entry in self.nodes.iter_mut().filter(|entry| entry.id == node) {
                        entry.forget_connections();
                        entry.health.forget_sight();
                    }
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
                for (id, upstream) in
                    self.nodes.iter().filter_map(|entry| Some((entry.id, entry.upstream.as_ref()?)))
                {
                    upstream.pulse.hold(nodes.contains(&id));
                }
                let news = self.overlay.elsewhere(nodes);
                self.nodes
                    .iter()
                    .filter(|entry| back.contains(&entry.id))
                    .for_each(|entry| entry.want_look(Wanted::Full));
                news
            }
            Order::Resumed => {
                self.resumed();
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

    /// This computer has slept. Nodes of another network than this one are left alone, as before.
    fn resumed(&mut self) {
        self.resume.begin(self.nodes.iter().map(|entry| entry.id), clock::mono_ms());
        self.http = engines::http_client();
        self.probes.send_replace(self.http.clone());
        for entry in &self.nodes {
            entry.forget_connections();
            if !self.overlay.is_elsewhere(entry.id) {
                entry.want_look(Wanted::Full);
            }
        }
    }

    /// Does this report say nothing of the node, so soon after a sleep? Streams that a missing node leaves hanging are ended.
    fn is_spared(&mut self, node: NodeId, report: &Report) -> bool {
        let Some(entry) = self.nodes.iter().find(|entry| entry.id == node) else { return false };
        let meaning = self.resume.weigh(node, report, entry.config.url.is_loopback(), clock::mono_ms());
        if let Some(upstream) = entry.upstream.as_ref().filter(|_| meaning.cut) {
            upstream.cut();
            upstream.is_back();
        }
        meaning.spared
    }

    fn change(&mut self, node: NodeId, change: impl FnOnce(&mut Health) -> bool) -> bool {
        self.entry(node).is_some_and(|entry| entry.change(change))
    }

    /// When something is to be done though nobody reports anything.
    fn due(&self) -> Option<Instant> {
        let next_ms = self.nodes.iter().filter_map(Entry::next_ms).min()?;
        Some(Instant::now() + Duration::from_millis(next_ms.saturating_sub(clock::mono_ms())))
    }

    /// Time passes: stays end, and canaries fly.
    fn tick(&mut self) -> bool {
        let mut changed = false;
        for entry in &mut self.nodes {
            changed |= entry.tick();
            let Some(model) = entry.canary() else { continue };
            let flight = entry.flight(self.http.clone(), self.around.patience, model);
            let (id, orders, stop) = (entry.id, self.orders.clone(), entry.unwatch.clone());
            let upstream = entry.upstream.clone();
            self.around.tasks.spawn(async move {
                let song = tokio::select! {
                    () = stop.cancelled() => return,
                    song = canary::fly(flight, upstream.as_deref()) => song,
                };
                // An error only says that the registry has ended meanwhile.
                let _ = orders.send(Order::Sang { node: id, song }).await;
            });
        }
        changed
    }

    fn make_room(&mut self, node: NodeId, model: &str, done: oneshot::Sender<bool>) {
        let (http, places) = (self.http.clone(), self.around.places.clone());
        let Some(entry) = self.entry(node) else { return };
        let Some(clearing) = entry.clearing(http, &places, model) else { return };
        let (upstream, stop) = (entry.upstream.clone(), entry.unwatch.clone());
        self.around.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => return,
                () = canary::clear(clearing) => {}
            }
            if let Some(upstream) = upstream {
                upstream.pulse.want_look(Wanted::Full);
            }
            // Whoever asked may have left.
            let _ = done.send(true);
        });
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
