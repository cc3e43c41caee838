//! Keeps what must outlive the process: what was last seen of each node, and when it was there.

mod keeping;

pub use keeping::Keeping;

use crate::{
    clock,
    live::Requests,
    registry::{House, Registry},
    store::{LastSeen, Store},
    waker::{Courier, Known},
};
use lamplighter_core::{
    availability::{CELLS, Cell, SLOT_MS, Slot, Tape, slot_of},
    fleet::{Node, NodeId},
    model::Model,
    node_url::NodeUrl,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};
use tokio_util::sync::CancellationToken;

/// How often the nodes' time is noted: a longer pause would be a gap ([`lamplighter_core::availability::GAP_MS`]).
const NOTED_MS: u64 = 30_000;
/// Every so many times it is written down, too: each is a write to the disk, which may sleep as well. A killed gateway forgets what
/// came since, five minutes at most.
const WRITTEN_EVERY: u32 = 10;
/// When nothing about a node has changed, it is still written this often that it was seen.
const SEEN_EVERY_MS: u64 = 10 * 60 * 1000;

/// The history of the nodes.
#[derive(Debug)]
pub struct History {
    /// `None`: nothing can be kept; the start has said why.
    store: Option<Store>,
    /// What is not written yet: node → slot → its time.
    pending: Mutex<BTreeMap<String, BTreeMap<u64, Slot>>>,
    courier: Arc<Courier>,
}

/// What is followed of one node.
#[derive(Default)]
struct Followed {
    name: String,
    url: Option<NodeUrl>,
    tape: Tape,
    kept: Option<LastSeen>,
}

impl History {
    /// Keeps in `store`.
    #[must_use]
    pub fn new(store: Option<Store>, courier: Arc<Courier>) -> Arc<Self> {
        Arc::new(Self { store, pending: Mutex::default(), courier })
    }

    /// Follows the nodes until `stop`, and then writes down what is left.
    pub async fn run(self: Arc<Self>, registry: Registry, requests: Arc<Requests>, stop: CancellationToken) {
        let mut changes = registry.subscribe();
        let mut followed: HashMap<NodeId, Followed> = HashMap::new();
        let (mut tick, mut noted) = (clock::ticks(NOTED_MS), 0u32);
        loop {
            let house = changes.borrow_and_update().clone();
            self.note(&house, &requests, &mut followed);
            let ends = tokio::select! {
                () = stop.cancelled() => true,
                changed = changes.changed() => changed.is_err(),
                // What wakes a machine is learned a moment after it came up: it must be kept before it sleeps.
                () = self.courier.news() => false,
                _ = tick.tick() => {
                    self.note(&house, &requests, &mut followed);
                    noted += 1;
                    if noted.is_multiple_of(WRITTEN_EVERY) {
                        self.write_down();
                    }
                    false
                }
            };
            if ends {
                self.note(&changes.borrow().clone(), &requests, &mut followed);
                self.write_down();
                return;
            }
        }
    }

    /// The last [`CELLS`] slots of every node that has any, oldest first; the last one is the slot of `now_ms`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn cells(&self, now_ms: u64) -> Result<BTreeMap<String, Vec<Cell>>, String> {
        let to = slot_of(now_ms);
        let from = to.saturating_sub(CELLS as u64 - 1);
        let mut slots: BTreeMap<String, BTreeMap<u64, Slot>> = BTreeMap::new();
        if let Some(store) = &self.store {
            for (node, at, slot) in store.slots(from, to).await? {
                slots.entry(node).or_default().insert(at, slot);
            }
        }
        for (node, pending) in self.pending.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            for (at, slot) in pending.range(from..=to) {
                slots.entry(node.clone()).or_default().entry(*at).or_default().add(slot);
            }
        }
        let cells = |slots: BTreeMap<u64, Slot>| {
            (from..=to).map(|at| slots.get(&at).map_or(Cell::NoData, Slot::cell)).collect()
        };
        Ok(slots.into_iter().map(|(node, slots)| (node, cells(slots))).collect())
    }

    /// When the first of [`History::cells`] begins, milliseconds since 1970.
    #[must_use]
    pub fn cells_from_ms(now_ms: u64) -> u64 {
        slot_of(now_ms).saturating_sub(CELLS as u64 - 1) * SLOT_MS
    }

    /// The database, where there is one.
    #[must_use]
    pub fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    fn note(&self, house: &House, requests: &Requests, followed: &mut HashMap<NodeId, Followed>) {
        let now_ms = clock::wall_ms();
        let answered = requests.take_answered();
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let renames = go_on(house, followed);
        self.rename(&renames, &mut pending);
        for node in &house.fleet.nodes {
            let follows = followed.entry(node.id).or_default();
            follows.tape.answered(answered.get(node.name()).copied().unwrap_or_default());
            for (at, part) in follows.tape.note(node.state, now_ms) {
                pending.entry(node.name().to_owned()).or_default().entry(at).or_default().add(&part);
            }
            self.keep(follows, node, now_ms);
        }
    }

    /// What is kept of nodes goes along with their names.
    fn rename(&self, renames: &[(String, String)], pending: &mut BTreeMap<String, BTreeMap<u64, Slot>>) {
        for (from, to) in steps(renames) {
            if let Some(parts) = pending.remove(&from) {
                pending.insert(to.clone(), parts);
            }
            if let Some(store) = &self.store {
                store.renamed(&from, &to);
            }
        }
    }

    /// Keeps what is seen of a node while it serves.
    fn keep(&self, follows: &mut Followed, node: &Node, now_ms: u64) {
        let Some(store) =
            self.store.as_ref().filter(|_| node.state.takes_requests() && !node.models.is_empty())
        else {
            return;
        };
        let known: Known = self.courier.known(&node.config.url);
        let seen = LastSeen {
            name: node.name().to_owned(),
            url: node.config.url.to_string(),
            engine: node.engine,
            version: node.version.clone(),
            dialects: node.dialects,
            models: node.models.iter().map(lasting).collect(),
            macs: known.macs.iter().map(ToString::to_string).collect(),
            address: known.ip.map(|ip| ip.to_string()),
            networks: known.networks.iter().map(ToString::to_string).collect(),
            vram_bytes: node.vram_bytes,
            seen_ms: now_ms,
        };
        let is_news = follows.kept.as_ref().is_none_or(|kept| {
            now_ms.saturating_sub(kept.seen_ms) > SEEN_EVERY_MS
                || *kept != LastSeen { seen_ms: kept.seen_ms, ..seen.clone() }
        });
        if is_news {
            store.saw(seen.clone());
            follows.kept = Some(seen);
        }
    }

    fn write_down(&self) {
        let pending = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(store) = &self.store {
            for (node, parts) in pending {
                store.spent(&node, parts.into_iter().collect());
            }
        }
    }
}

/// Follows the nodes that are there now: one that is watched anew at the address of one that is gone is the same server. The answer
/// is who has got another name: from, to.
fn go_on(house: &House, followed: &mut HashMap<NodeId, Followed>) -> Vec<(String, String)> {
    let is_gone = |id: &NodeId| house.fleet.by_id(*id).is_none();
    let mut gone: Vec<Followed> =
        followed.extract_if(|id, _| is_gone(id)).map(|(_, follows)| follows).collect();
    let mut renames = Vec::new();
    for node in &house.fleet.nodes {
        let url = &node.config.url;
        let follows = followed.entry(node.id).or_insert_with(|| {
            let same =
                gone.iter().position(|gone| gone.url.as_ref().is_some_and(|gone| gone.same_server(url)));
            same.map(|at| gone.remove(at)).unwrap_or_default()
        });
        follows.url = Some(url.clone());
        let before = std::mem::replace(&mut follows.name, node.name().to_owned());
        if before != follows.name && !before.is_empty() {
            renames.push((before, follows.name.clone()));
        }
    }
    renames
}

/// The same renames one after the other. Where two nodes have exchanged their names, they go by names that no node can have first:
/// whoever comes second would else take what the first has just got.
fn steps(renames: &[(String, String)]) -> Vec<(String, String)> {
    if !renames.iter().any(|(_, to)| renames.iter().any(|(from, _)| from == to)) {
        return renames.to_vec();
    }
    let between = |to: &str| format!("{to} (to be)");
    let away = renames.iter().map(|(from, to)| (from.clone(), between(to)));
    away.chain(renames.iter().map(|(_, to)| (between(to), to.clone()))).collect()
}

/// What lasts of a model: not whether it is in memory just now, nor until when, which changes with each look.
fn lasting(model: &Model) -> Model {
    Model { loaded: model.loaded.map(|_| false), loaded_bytes: None, expires_at: None, ..model.clone() }
}
