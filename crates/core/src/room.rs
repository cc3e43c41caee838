//! Who runs now and who waits: the places on all nodes, and one first-come-first-served line for them.
//!
//! A place is a (node, lane, model). A request names the places it could take, best first. When none is free it waits; when
//! one becomes free the longest-waiting request that could use it gets it. The line is bounded per node.

use crate::{fleet::NodeId, operation::Lane};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// Requests that may wait for one node.
pub const WAITING_PER_NODE: usize = 64;
/// Embeddings that a node takes at once.
pub const EMBED_SLOTS: u32 = 4;
/// A node that takes this many generations at once is warm: no engine has more places by default.
const WARM: u32 = 64;

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
}

/// A request in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What became of a request that came in.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    /// It has the seat of that index.
    Taken(usize),
    /// It waits; `ahead` requests are before it.
    Waiting {
        /// Its number.
        ticket: Ticket,
        /// How many wait before it.
        ahead: usize,
    },
    /// Too many wait for the node of its first seat.
    Full {
        /// How many wait there.
        waiting: usize,
    },
}

/// A waiting request that has got a seat.
#[derive(Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its number.
    pub ticket: Ticket,
    /// Which of its seats.
    pub seat: usize,
}

#[derive(Debug)]
struct Waiter {
    ticket: Ticket,
    client: Client,
    seats: Vec<Seat>,
}

impl Waiter {
    /// The node whose line it counts in: that of its best seat.
    fn home(&self) -> Option<NodeId> {
        self.seats.first().map(|seat| seat.place.node)
    }
}

/// The places and the line. One owner calls it; every call is instant.
#[derive(Debug, Default)]
pub struct Room {
    running: HashMap<Place, u32>,
    /// Running requests per node and client, to know whether anybody else is there.
    clients: HashMap<NodeId, Vec<(Client, u32)>>,
    line: VecDeque<Waiter>,
    next_ticket: u64,
    /// Nodes that have just come back: generations at once, whatever their places would allow.
    warming: HashMap<NodeId, u32>,
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
        self.clients.get(&node).map_or(0, |clients| clients.iter().map(|(_, count)| count).sum())
    }

    /// The models that requests run on there, by their keys.
    #[must_use]
    pub fn models_on(&self, node: NodeId) -> Vec<Arc<str>> {
        let places = self.running.keys().filter(|place| place.node == node && place.lane == Lane::Generate);
        places.map(|place| place.model.clone()).collect()
    }

    /// Requests waiting for that node.
    #[must_use]
    pub fn waiting_for(&self, node: NodeId) -> usize {
        self.line.iter().filter(|waiter| waiter.home() == Some(node)).count()
    }

    /// A node has come back: at most `cap` generations at once, doubling with each success, until that is as many as its
    /// places allow. Counts for everybody, also for who is alone there.
    pub fn warm_up(&mut self, node: NodeId, cap: u32) {
        self.warming.insert(node, cap.max(1));
    }

    /// A generation went well on that node. The answer says who has got a place because of it.
    #[must_use]
    pub fn succeeded(&mut self, node: NodeId) -> Vec<Grant> {
        let Some(cap) = self.warming.get_mut(&node) else { return Vec::new() };
        *cap = cap.saturating_mul(2);
        if *cap >= WARM {
            self.warming.remove(&node);
        }
        self.grant()
    }

    /// Is that place held back because its node has just come back?
    fn is_warming(&self, place: &Place) -> bool {
        let Some(cap) = self.warming.get(&place.node) else { return false };
        let there =
            self.running.iter().filter(|(other, _)| (other.node, other.lane) == (place.node, place.lane));
        place.lane == Lane::Generate && there.map(|(_, count)| *count).sum::<u32>() >= *cap
    }

    /// Takes the first free seat, or a number in the line.
    ///
    /// A request with a single candidate node where no other client runs or waits is passed on even when the place is full:
    /// the node queues by itself, and we must not be slower than no gateway.
    pub fn enter(&mut self, client: Client, seats: Vec<Seat>) -> Entry {
        if let Some(i) = self.free_seat(client, &seats, self.line.len()) {
            self.take(&seats[i].place, client);
            return Entry::Taken(i);
        }
        let home = seats.first().map(|seat| seat.place.node);
        let waiting = home.map_or(0, |node| self.waiting_for(node));
        if waiting >= WAITING_PER_NODE {
            return Entry::Full { waiting };
        }
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.line.push_back(Waiter { ticket, client, seats });
        Entry::Waiting { ticket, ahead: waiting }
    }

    /// Gives a place back. The answer says who has got it.
    #[must_use]
    pub fn leave(&mut self, place: &Place, client: Client) -> Vec<Grant> {
        if let Some(count) = self.running.get_mut(place) {
            *count -= 1;
            if *count == 0 {
                self.running.remove(place);
            }
        }
        if let Some(clients) = self.clients.get_mut(&place.node) {
            if let Some(at) = clients.iter().position(|(other, _)| *other == client) {
                clients[at].1 -= 1;
                if clients[at].1 == 0 {
                    clients.swap_remove(at);
                }
            }
            if clients.is_empty() {
                self.clients.remove(&place.node);
            }
        }
        self.grant()
    }

    /// Leaves the line. `None` when the request was not in it any more: it has been granted a place, which its caller must
    /// give back. Else who has got a place because of it: somebody may be alone on a node now.
    pub fn give_up(&mut self, ticket: Ticket) -> Option<Vec<Grant>> {
        let at = self.line.iter().position(|waiter| waiter.ticket == ticket)?;
        self.line.remove(at);
        Some(self.grant())
    }

    /// Changes the seats of a waiting request (nodes have come or gone); it keeps its turn.
    #[must_use]
    pub fn reseat(&mut self, ticket: Ticket, seats: Vec<Seat>) -> Vec<Grant> {
        if let Some(waiter) = self.line.iter_mut().find(|waiter| waiter.ticket == ticket) {
            waiter.seats = seats;
        }
        self.grant()
    }

    /// How many wait before that request in its node's line.
    #[must_use]
    pub fn ahead_of(&self, ticket: Ticket) -> Option<usize> {
        let at = self.line.iter().position(|waiter| waiter.ticket == ticket)?;
        let home = self.line[at].home();
        Some(self.line.iter().take(at).filter(|waiter| waiter.home() == home).count())
    }

    /// Gives every free seat to the longest-waiting request that can use it.
    fn grant(&mut self) -> Vec<Grant> {
        let mut grants = Vec::new();
        let mut at = 0;
        while at < self.line.len() {
            let waiter = &self.line[at];
            match self.free_seat(waiter.client, &waiter.seats, at) {
                Some(seat) => {
                    let Some(waiter) = self.line.remove(at) else { break };
                    self.take(&waiter.seats[seat].place, waiter.client);
                    grants.push(Grant { ticket: waiter.ticket, seat });
                }
                None => at += 1,
            }
        }
        grants
    }

    /// The first of `seats` that is free for somebody with `ahead` requests before it in the line.
    fn free_seat(&self, client: Client, seats: &[Seat], ahead: usize) -> Option<usize> {
        let wanted_by_earlier = |place: &Place| {
            self.line.iter().take(ahead).any(|earlier| earlier.seats.iter().any(|seat| seat.place == *place))
        };
        let free = seats.iter().position(|seat| {
            self.running(&seat.place) < seat.limit
                && !self.is_warming(&seat.place)
                && (ahead == 0 || !wanted_by_earlier(&seat.place))
        });
        free.or_else(|| {
            let first = seats.first()?;
            let one_node = seats.iter().all(|seat| seat.place.node == first.place.node);
            let alone = one_node && self.is_alone(client, first.place.node);
            (alone && !self.is_warming(&first.place)).then_some(0)
        })
    }

    /// Does nobody else run or wait on that node?
    fn is_alone(&self, client: Client, node: NodeId) -> bool {
        self.clients.get(&node).is_none_or(|clients| clients.iter().all(|(other, _)| *other == client))
            && !self.line.iter().any(|waiter| {
                waiter.client != client && waiter.seats.iter().any(|seat| seat.place.node == node)
            })
    }

    fn take(&mut self, place: &Place, client: Client) {
        *self.running.entry(place.clone()).or_default() += 1;
        let clients = self.clients.entry(place.node).or_default();
        match clients.iter_mut().find(|(other, _)| *other == client) {
            Some((_, count)) => *count += 1,
            None => clients.push((client, 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seat(node: u32, model: &str, limit: u32) -> Seat {
        Seat { place: Place { node: NodeId(node), lane: Lane::Generate, model: model.into() }, limit }
    }

    fn ticket(entry: Entry) -> Ticket {
        match entry {
            Entry::Waiting { ticket, .. } => ticket,
            other => panic!("should wait: {other:?}"),
        }
    }

    const ANN: Client = Client(1);
    const BOB: Client = Client(2);

    #[test]
    fn places_are_counted_per_model_and_given_in_order() {
        let mut room = Room::default();
        assert_eq!(room.enter(ANN, vec![seat(1, "a", 1)]), Entry::Taken(0));
        assert_eq!(
            room.enter(BOB, vec![seat(1, "b", 1)]),
            Entry::Taken(0),
            "another model has places of its own"
        );
        let first = ticket(room.enter(BOB, vec![seat(1, "a", 1)]));
        let second = ticket(room.enter(ANN, vec![seat(1, "a", 1)]));
        assert_eq!(room.ahead_of(second), Some(1));
        assert_eq!(room.leave(&seat(1, "a", 1).place, ANN), [Grant { ticket: first, seat: 0 }]);
        assert_eq!(room.leave(&seat(1, "a", 1).place, BOB), [Grant { ticket: second, seat: 0 }]);
    }

    #[test]
    fn alone_on_the_only_node_nobody_is_held() {
        let mut room = Room::default();
        for _ in 0..3 {
            assert_eq!(room.enter(ANN, vec![seat(1, "a", 1)]), Entry::Taken(0));
        }
        let bob = ticket(room.enter(BOB, vec![seat(1, "a", 1)]));
        ticket(room.enter(ANN, vec![seat(1, "a", 1)]));
        for left in [2, 1] {
            assert_eq!(room.leave(&seat(1, "a", 1).place, ANN), [], "{left} still run");
        }
        assert_eq!(room.leave(&seat(1, "a", 1).place, ANN), [Grant { ticket: bob, seat: 0 }]);
    }

    #[test]
    fn a_free_place_elsewhere_is_taken_and_nobody_overtakes() {
        let mut room = Room::default();
        let both = || vec![seat(1, "a", 1), seat(2, "a", 1)];
        assert_eq!(room.enter(ANN, both()), Entry::Taken(0));
        assert_eq!(room.enter(ANN, both()), Entry::Taken(1));
        let bob = ticket(room.enter(BOB, both()));
        let late = ticket(room.enter(ANN, vec![seat(2, "a", 1)]));
        assert_eq!(room.leave(&seat(2, "a", 1).place, ANN), [Grant { ticket: bob, seat: 1 }]);
        assert_eq!(room.leave(&seat(2, "a", 1).place, BOB), [Grant { ticket: late, seat: 0 }]);
    }

    #[test]
    fn the_line_is_bounded_per_node_and_can_be_left() {
        let mut room = Room::default();
        room.enter(ANN, vec![seat(1, "a", 1)]);
        let mut last = None;
        for _ in 0..WAITING_PER_NODE {
            last = Some(ticket(room.enter(BOB, vec![seat(1, "a", 1)])));
        }
        assert_eq!(room.enter(BOB, vec![seat(1, "a", 1)]), Entry::Full { waiting: WAITING_PER_NODE });
        assert_eq!(room.give_up(last.unwrap()), Some(vec![]));
        assert!(matches!(room.enter(BOB, vec![seat(1, "a", 1)]), Entry::Waiting { .. }));
    }

    #[test]
    fn a_node_that_has_come_back_starts_slowly_for_everybody() {
        let mut room = Room::default();
        room.warm_up(NodeId(1), 1);
        let seats = || vec![seat(1, "a", 8)];
        assert_eq!(room.enter(ANN, seats()), Entry::Taken(0));
        let waiting: Vec<_> = (0..6).map(|_| ticket(room.enter(ANN, seats()))).collect();
        assert_eq!(room.succeeded(NodeId(1)).len(), 1, "two at once");
        assert_eq!(room.succeeded(NodeId(1)).len(), 2, "four at once");
        assert_eq!(room.leave(&seat(1, "a", 8).place, ANN), [Grant { ticket: waiting[3], seat: 0 }]);
        assert_eq!(room.succeeded(NodeId(1)).len(), 2, "and all of them");
        assert_eq!(room.enter(BOB, seats()), Entry::Taken(0));
    }

    #[test]
    fn a_new_node_serves_who_waited_longest() {
        let mut room = Room::default();
        room.enter(ANN, vec![seat(1, "a", 1)]);
        let bob = ticket(room.enter(BOB, vec![seat(1, "a", 1)]));
        assert_eq!(
            room.reseat(bob, vec![seat(1, "a", 1), seat(3, "a", 1)]),
            [Grant { ticket: bob, seat: 1 }]
        );
    }

    proptest! {
        /// Conservation: nothing leaks, and with two clients on two nodes no limit is passed.
        #[test]
        fn nothing_leaks(steps in prop::collection::vec((0u8..4, 0u64..2, 0u32..2, 0usize..8), 1..200)) {
            let mut room = Room::default();
            let mut held: Vec<(Place, Client)> = vec![];
            let mut waiting: Vec<(Ticket, Client, Vec<Seat>)> = vec![];
            let settle = |grants: Vec<Grant>, waiting: &mut Vec<(Ticket, Client, Vec<Seat>)>, held: &mut Vec<(Place, Client)>| {
                for grant in grants {
                    let at = waiting.iter().position(|w| w.0 == grant.ticket).expect("a grant for somebody who waits");
                    let (_, client, seats) = waiting.remove(at);
                    held.push((seats[grant.seat].place.clone(), client));
                }
            };
            for (what, client, node, pick) in steps {
                match what {
                    0 | 1 => {
                        let seats = if what == 0 { vec![seat(node, "a", 2)] } else { vec![seat(node, "a", 2), seat(1 - node, "a", 2)] };
                        match room.enter(Client(client), seats.clone()) {
                            Entry::Taken(i) => held.push((seats[i].place.clone(), Client(client))),
                            Entry::Waiting { ticket, .. } => waiting.push((ticket, Client(client), seats)),
                            Entry::Full { .. } => {}
                        }
                    }
                    2 if !held.is_empty() => {
                        let (place, client) = held.remove(pick % held.len());
                        let grants = room.leave(&place, client);
                        settle(grants, &mut waiting, &mut held);
                    }
                    3 if !waiting.is_empty() => {
                        let (ticket, ..) = waiting.remove(pick % waiting.len());
                        let grants = room.give_up(ticket).expect("it was waiting");
                        settle(grants, &mut waiting, &mut held);
                    }
                    _ => {}
                }
                let running: u32 = (0..2).map(|n| room.running_on(NodeId(n))).sum();
                prop_assert_eq!(running as usize, held.len());
                prop_assert_eq!(room.line.len(), waiting.len());
            }
            while let Some((place, client)) = held.pop() {
                let grants = room.leave(&place, client);
                settle(grants, &mut waiting, &mut held);
            }
            prop_assert!(waiting.is_empty(), "somebody waits for ever: {:?}", waiting);
        }
    }
}
