//! Who runs now and who waits: the places on all nodes, and the lines before them.
//!
//! A place is a (node, lane, model). A request names the places it could take, best first. When none is free it waits in the
//! line of each of their nodes, and takes the first that becomes free. A line is fair between clients and first come, first
//! served within each (`line`); what does not fit into a node's memory beside what runs there takes turns (`turn`). The lines
//! are bounded per node, a wait by a deadline; who waits for a machine to wake has a bigger room ([`crate::wake::Lobby`]).

mod desk;
mod line;
#[cfg(test)]
mod tests;
mod turn;

pub use turn::{LINGER_MS, Look, Need, OVERDUE_MS, RESIDENCE_MS, loaded};

use crate::{fleet::NodeId, operation::Lane, wake::Lobby};
use desk::{Desk, Running, Waiters};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// Requests that may wait for one node.
pub const WAITING_PER_NODE: usize = 64;
/// Embeddings that a node takes at once.
pub const EMBED_SLOTS: u32 = 4;
/// The longest wait for a place, ms. For a waiter of a wake it begins when the machine is ready.
pub const WAIT_MS: u64 = 120_000;
/// The longest wait for a machine to be ready, ms: a wake that does not end ends its waiters' wait before.
pub const LOBBY_WAIT_MS: u64 = 900_000;

/// Who asks, as far as places are concerned: a hash of the presented key, else of the program and its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Client(pub u64);

/// A kind of place on a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The node.
    pub node: NodeId,
    /// Which kind of work.
    pub lane: Lane,
    /// The model's key; empty for embeddings, which share their places.
    pub model: Arc<str>,
}

/// A place that a request could take, and how many there are of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// The place.
    pub place: Place,
    /// How many requests it takes at once.
    pub limit: u32,
    /// What its model takes of the node's memory. `None`: nobody knows, and no turns are taken for it.
    pub need: Option<Need>,
}

/// A request in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A request that comes in.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Who asks.
    pub client: Client,
    /// How much of its client's share it takes: see [`cost`].
    pub cost: u32,
    /// The places it could take, best first.
    pub seats: Vec<Seat>,
    /// It waits for a machine to wake, and holds a body of so many bytes: it counts in the lobby, not in the node's line.
    pub lobby_bytes: Option<u64>,
}

/// What became of a request that came in.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    /// It has the seat of that index.
    Taken(usize),
    /// It waits; `ahead` requests would be served before it if nothing changed.
    Waiting {
        /// Its number.
        ticket: Ticket,
        /// How many are before it.
        ahead: usize,
    },
    /// Too many wait: for the node of its first seat, or in the lobby.
    Full {
        /// How many wait there.
        waiting: usize,
    },
}

/// News for somebody who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It has the seat of that index.
    Granted(usize),
    /// The line was full, and its client had the most in it: it has made room for another's. So many wait there.
    Displaced(usize),
    /// It has waited to the end.
    Expired,
}

/// How much of its client's share a request takes, by the bytes of its body: 1 to 4.
///
/// A long prompt holds a machine longer than a short one, so it costs more; but bytes are a poor measure (an image of a
/// megabyte is some hundred tokens, and nobody knows how long the answer will be), so each step is four times the last, and
/// the dearest request costs no more than four short ones: below 32 KiB 1 (about 8,000 tokens of text), below 128 KiB 2,
/// below 512 KiB 3, above 4.
#[must_use]
pub fn cost(body_bytes: usize) -> u32 {
    match body_bytes >> 15 {
        0 => 1,
        1..4 => 2,
        4..16 => 3,
        _ => 4,
    }
}

#[derive(Debug, Clone)]
struct Waiter {
    client: Client,
    cost: u32,
    seats: Vec<Seat>,
    lobby_bytes: Option<u64>,
    deadline_ms: u64,
    /// It names one node and does not wait for a wake: with nobody else there it is passed on.
    may_be_alone: bool,
}

impl Waiter {
    /// The node whose line it counts in: that of its best seat.
    fn home(&self) -> Option<NodeId> {
        self.seats.first().map(|seat| seat.place.node)
    }

    fn is_of_a_wake(&self) -> bool {
        self.lobby_bytes.is_some()
    }

    /// Its places on that node.
    fn places_at(&self, node: NodeId) -> Vec<&Place> {
        self.seats.iter().map(|seat| &seat.place).filter(|place| place.node == node).collect()
    }

    /// Its seats in that lane of that node, with their positions.
    fn seats_at(&self, node: NodeId, lane: Lane) -> impl Iterator<Item = (usize, &Seat)> {
        let is_there = move |seat: &Seat| seat.place.node == node && seat.place.lane == lane;
        self.seats.iter().enumerate().filter(move |(_, seat)| is_there(seat))
    }
}

/// The nodes of some seats, each once, in their order.
fn nodes(seats: &[Seat]) -> Vec<NodeId> {
    let mut nodes = Vec::with_capacity(seats.len());
    for seat in seats {
        if !nodes.contains(&seat.place.node) {
            nodes.push(seat.place.node);
        }
    }
    nodes
}

fn is_one_node(seats: &[Seat]) -> bool {
    seats.windows(2).all(|pair| pair[0].place.node == pair[1].place.node)
}

/// The places and the lines. One owner calls it; every call is quick. `now_ms` is a clock that never goes back.
#[derive(Debug, Default)]
pub struct Room {
    running: Running,
    desks: HashMap<NodeId, Desk>,
    waiters: Waiters,
    deadlines: BTreeSet<(u64, Ticket)>,
    lobby: Lobby,
    next_ticket: u64,
    told: Vec<(Ticket, Told)>,
}

impl Room {
    /// Requests running in that place.
    #[must_use]
    pub fn running(&self, place: &Place) -> u32 {
        self.running.get(place).copied().unwrap_or(0)
    }

    /// Requests running on that node.
    #[must_use]
    pub fn running_on(&self, node: NodeId) -> u32 {
        self.desks.get(&node).map_or(0, Desk::running)
    }

    /// The models, by key, whose generations run on that node.
    #[must_use]
    pub fn models_on(&self, node: NodeId) -> Vec<Arc<str>> {
        let there = |place: &&Place| place.node == node && place.lane == Lane::Generate;
        self.running.keys().filter(there).map(|place| place.model.clone()).collect()
    }

    /// Requests waiting for that node, those of a wake too.
    #[must_use]
    pub fn waiting_for(&self, node: NodeId) -> usize {
        self.desks.get(&node).map_or(0, Desk::waiting)
    }

    /// Requests waiting for machines to wake, in all.
    #[must_use]
    pub fn in_lobby(&self) -> usize {
        self.lobby.waiting()
    }

    /// What those who wait have to be told since the last call.
    #[must_use]
    pub fn told(&mut self) -> Vec<(Ticket, Told)> {
        std::mem::take(&mut self.told)
    }

    /// Takes the first free seat, or a place in the lines.
    ///
    /// A request with a single candidate node where no other client runs or waits is passed on even when the place is full:
    /// the node queues by itself, and we must not be slower than no gateway. It waits only where the node would wait too: for
    /// what runs to end before another model is loaded in its place.
    ///
    /// A full line refuses the newest request of whoever has the most in it: that is mostly the one that comes in.
    pub fn enter(&mut self, arrival: Arrival, now_ms: u64) -> Entry {
        let Arrival { client, cost, seats, lobby_bytes } = arrival;
        let may_be_alone = lobby_bytes.is_none() && is_one_node(&seats);
        if let Some(at) = self.free_seat(client, &seats, may_be_alone, now_ms) {
            self.begin(&seats[at], client, now_ms);
            return Entry::Taken(at);
        }
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        let wait_ms = if lobby_bytes.is_some() { LOBBY_WAIT_MS } else { WAIT_MS };
        let deadline_ms = now_ms + wait_ms;
        let waiter = Waiter { client, cost: cost.max(1), seats, lobby_bytes, deadline_ms, may_be_alone };
        if lobby_bytes.is_some_and(|bytes| !self.lobby.enter(bytes)) {
            return Entry::Full { waiting: self.lobby.waiting() };
        }
        let nodes = nodes(&waiter.seats);
        self.line_up(ticket, waiter);
        for node in nodes {
            self.grant(node, now_ms);
            let mine = self.told.iter().position(|(other, _)| *other == ticket);
            if let Some(at) = mine
                && let (_, Told::Granted(seat)) = self.told.remove(at)
            {
                return Entry::Taken(seat);
            }
        }
        if let Some(waiting) = self.make_room_for(ticket) {
            return Entry::Full { waiting };
        }
        Entry::Waiting { ticket, ahead: self.ahead_of(ticket, now_ms).unwrap_or(0) }
    }

    /// Gives a place back.
    pub fn leave(&mut self, place: &Place, client: Client, now_ms: u64) {
        if let Some(count) = self.running.get_mut(place) {
            *count -= 1;
            if *count == 0 {
                self.running.remove(place);
            }
        }
        if let Some(desk) = self.desks.get_mut(&place.node) {
            desk.ended(place, client, now_ms);
        }
        self.grant(place.node, now_ms);
    }

    /// Leaves the lines. False when the request was not in them any more: when it has been granted a place, its caller must
    /// give that back.
    pub fn give_up(&mut self, ticket: Ticket, now_ms: u64) -> bool {
        let Some(waiter) = self.step_out(ticket, None) else { return false };
        if let Some(bytes) = waiter.lobby_bytes {
            self.lobby.leave(bytes);
        }
        // Somebody may be alone on a node now, or the last of a turn.
        for node in nodes(&waiter.seats) {
            self.grant(node, now_ms);
        }
        true
    }

    /// Changes the seats of a waiting request (nodes have come or gone); it keeps its turn.
    pub fn reseat(&mut self, ticket: Ticket, seats: Vec<Seat>, now_ms: u64) {
        let Some(before) = self.waiters.remove(&ticket) else { return };
        let may_be_alone = !before.is_of_a_wake() && is_one_node(&seats);
        let after = Waiter { seats, may_be_alone, ..before.clone() };
        let mut touched = nodes(&before.seats);
        touched.extend(nodes(&after.seats));
        touched.sort_unstable();
        touched.dedup();
        for &node in &touched {
            let desk = self.desks.entry(node).or_default();
            let (was, is) = (before.places_at(node), after.places_at(node));
            // Where its places are the same, only what is known of them has changed: nobody moves.
            if was.is_empty() || was != is {
                if !was.is_empty() {
                    desk.remove(ticket, &before, node, None);
                }
                if !is.is_empty() {
                    desk.push(ticket, &after, node);
                }
            }
        }
        self.count_at_home(&before, false);
        self.count_at_home(&after, true);
        self.waiters.insert(ticket, after);
        for node in touched {
            self.grant(node, now_ms);
        }
    }

    /// How many would be served before that request if nothing changed: at the node where that is fewest.
    pub fn ahead_of(&mut self, ticket: Ticket, now_ms: u64) -> Option<usize> {
        let Self { desks, waiters, running, .. } = self;
        let nodes = nodes(&waiters.get(&ticket)?.seats);
        let ahead = |node: NodeId| desks.get_mut(&node)?.position(ticket, node, waiters, running, now_ms);
        nodes.into_iter().filter_map(ahead).min()
    }

    /// That machine is asleep or waking: nobody begins there until [`Room::open`].
    pub fn shut(&mut self, node: NodeId) {
        self.desks.entry(node).or_default().shut();
    }

    /// That machine is ready: the wait of those who waited for it begins to count, and it starts slowly.
    pub fn open(&mut self, node: NodeId, now_ms: u64) {
        let deadline_ms = now_ms + WAIT_MS;
        for ticket in self.desks.get(&node).map(Desk::tickets).unwrap_or_default() {
            if let Some(waiter) = self.waiters.get_mut(&ticket).filter(|waiter| waiter.is_of_a_wake()) {
                self.deadlines.remove(&(waiter.deadline_ms, ticket));
                waiter.deadline_ms = deadline_ms;
                self.deadlines.insert((deadline_ms, ticket));
            }
        }
        self.desks.entry(node).or_default().open();
        self.warm_up(node, 1, now_ms);
    }

    /// A node has come back: at most `cap` generations at once, doubling with each success, until that is as many as its
    /// places allow. Counts for everybody, also for who is alone there.
    pub fn warm_up(&mut self, node: NodeId, cap: u32, now_ms: u64) {
        self.desks.entry(node).or_default().warm_up(cap);
        self.grant(node, now_ms);
    }

    /// A generation went well on that node.
    pub fn succeeded(&mut self, node: NodeId, now_ms: u64) {
        if self.desks.get_mut(&node).is_some_and(Desk::succeeded) {
            self.grant(node, now_ms);
        }
    }

    /// A node was looked at.
    pub fn sees(&mut self, node: NodeId, look: Look<'_>, now_ms: u64) {
        if let Some(desk) = self.desks.get_mut(&node) {
            desk.sees(node, look, &self.running, now_ms);
            self.grant(node, now_ms);
        }
    }

    /// Forgets what it knows of nodes that are gone, as soon as nobody is there.
    pub fn forget(&mut self, is_known: impl Fn(NodeId) -> bool) {
        self.desks.retain(|node, desk| !desk.is_idle() || is_known(*node) && !desk.is_blank());
    }

    /// When time alone changes something next: a deadline, or a turn.
    #[must_use]
    pub fn next_ms(&self) -> Option<u64> {
        let deadline = self.deadlines.first().map(|(at_ms, _)| *at_ms);
        let turns = || self.desks.values().filter(|desk| desk.has_waiters()).filter_map(|desk| desk.wake_ms);
        deadline.map(|deadline_ms| turns().fold(deadline_ms, u64::min))
    }

    /// What time alone changes: ends waits that have lasted too long, and turns.
    pub fn tick(&mut self, now_ms: u64) {
        while let Some(&(deadline_ms, ticket)) = self.deadlines.first()
            && deadline_ms <= now_ms
        {
            self.give_up(ticket, now_ms);
            self.told.push((ticket, Told::Expired));
        }
        let is_due = |desk: &Desk| desk.wake_ms.is_some_and(|at_ms| at_ms <= now_ms);
        let due: Vec<NodeId> =
            self.desks.iter().filter(|(_, desk)| is_due(desk)).map(|(node, _)| *node).collect();
        for node in due {
            self.grant(node, now_ms);
        }
    }

    /// The first of `seats` that is free, when nobody waits in any of their lines.
    fn free_seat(&self, client: Client, seats: &[Seat], may_be_alone: bool, now_ms: u64) -> Option<usize> {
        let desk = |seat: &Seat| self.desks.get(&seat.place.node);
        if seats.iter().any(|seat| desk(seat).is_some_and(|desk| desk.has_line(seat.place.lane))) {
            return None;
        }
        let is_free = |seat: &Seat| {
            desk(seat).is_none_or(|desk| desk.has_free(seat, client, may_be_alone, &self.running, now_ms))
        };
        seats.iter().position(is_free)
    }

    /// When too many wait where that request does, the newest one of whoever has the most there goes. When that is the request
    /// itself, the answer is how many wait.
    fn make_room_for(&mut self, ticket: Ticket) -> Option<usize> {
        let waiter = self.waiters.get(&ticket).filter(|waiter| !waiter.is_of_a_wake())?;
        let (home, client) = (waiter.home()?, waiter.client);
        let desk = self.desks.get(&home)?;
        let waiting = desk.at_home.values().sum::<usize>();
        if waiting <= WAITING_PER_NODE {
            return None;
        }
        let mine = desk.at_home.get(&client).copied().unwrap_or(0);
        let most = desk.at_home.iter().max_by_key(|(client, count)| (**count, client.0));
        let other = most.filter(|(_, count)| **count > mine).map(|(client, _)| *client);
        let other = other.and_then(|client| desk.latest_of(client, home, &self.waiters));
        self.step_out(other.unwrap_or(ticket), None);
        match other {
            Some(other) => {
                self.told.push((other, Told::Displaced(WAITING_PER_NODE)));
                None
            }
            None => Some(WAITING_PER_NODE),
        }
    }

    fn line_up(&mut self, ticket: Ticket, waiter: Waiter) {
        for node in nodes(&waiter.seats) {
            self.desks.entry(node).or_default().push(ticket, &waiter, node);
        }
        self.count_at_home(&waiter, true);
        self.deadlines.insert((waiter.deadline_ms, ticket));
        self.waiters.insert(ticket, waiter);
    }

    /// Out of all lines; `called` says where it goes to. It stays counted in the lobby.
    fn step_out(&mut self, ticket: Ticket, called: Option<&Place>) -> Option<Waiter> {
        let waiter = self.waiters.remove(&ticket)?;
        self.deadlines.remove(&(waiter.deadline_ms, ticket));
        for node in nodes(&waiter.seats) {
            if let Some(desk) = self.desks.get_mut(&node) {
                let lane = called.filter(|place| place.node == node).map(|place| place.lane);
                desk.remove(ticket, &waiter, node, lane);
            }
        }
        self.count_at_home(&waiter, false);
        Some(waiter)
    }

    /// Counts a request where the bound of its node counts it.
    fn count_at_home(&mut self, waiter: &Waiter, comes: bool) {
        let Some(home) = waiter.home().filter(|_| !waiter.is_of_a_wake()) else { return };
        let at_home = &mut self.desks.entry(home).or_default().at_home;
        let count = at_home.entry(waiter.client).or_default();
        *count = if comes { *count + 1 } else { *count - 1 };
        if *count == 0 {
            at_home.remove(&waiter.client);
        }
    }

    /// Calls everybody who may go to that node.
    fn grant(&mut self, node: NodeId, now_ms: u64) {
        for lane in [Lane::Generate, Lane::Embed] {
            while let Some((ticket, at)) = self
                .desks
                .get_mut(&node)
                .and_then(|desk| desk.next(node, lane, &self.waiters, &self.running, now_ms))
            {
                let Some(seat) = self.waiters.get(&ticket).map(|waiter| waiter.seats[at].clone()) else {
                    break;
                };
                let Some(waiter) = self.step_out(ticket, Some(&seat.place)) else { break };
                if let Some(bytes) = waiter.lobby_bytes {
                    self.lobby.leave(bytes);
                }
                self.begin(&seat, waiter.client, now_ms);
                self.told.push((ticket, Told::Granted(at)));
            }
        }
    }

    fn begin(&mut self, seat: &Seat, client: Client, now_ms: u64) {
        let desk = self.desks.entry(seat.place.node).or_default();
        desk.begins(seat, client, &self.running, now_ms);
        *self.running.entry(seat.place.clone()).or_default() += 1;
    }
}
