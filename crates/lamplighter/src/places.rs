//! The waiting room in motion: `core::room` decides, this hands the places out and takes them back on drop.

use lamplighter_core::{
    fleet::NodeId,
    room::{Client, Entry, Grant, Place, Room, Seat, Ticket},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// All places on all nodes.
#[derive(Debug, Default)]
pub struct Places {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    room: Room,
    waiting: HashMap<Ticket, oneshot::Sender<usize>>,
}

/// What became of a request that came in.
#[derive(Debug)]
pub enum Entered {
    /// It has a place.
    Held(Held),
    /// It waits.
    Queued(Queued),
    /// Too many wait already.
    Full {
        /// How many.
        waiting: usize,
    },
}

impl Places {
    /// Takes the first free seat, or a number in the line.
    pub fn enter(self: &Arc<Self>, client: Client, seats: Vec<Seat>) -> Entered {
        let mut inner = self.lock();
        match inner.room.enter(client, seats.clone()) {
            Entry::Taken(at) => Entered::Held(self.held(&seats, at, client)),
            Entry::Full { waiting } => Entered::Full { waiting },
            Entry::Waiting { ticket, .. } => {
                let (granted, grant) = oneshot::channel();
                inner.waiting.insert(ticket, granted);
                Entered::Queued(Queued { places: self.clone(), ticket, client, seats, grant, done: false })
            }
        }
    }

    /// Looks at the room, for planning and for eyes.
    pub fn with_room<T>(&self, look: impl FnOnce(&Room) -> T) -> T {
        look(&self.lock().room)
    }

    /// That node has come back from being down or failing: one generation at a time until the first success, then twice as
    /// many after each, until its places are reached.
    pub fn slow_start(&self, node: NodeId) {
        self.lock().room.warm_up(node, 1);
    }

    /// A generation went well there. Costs next to nothing while the node is not starting slowly.
    pub fn succeeded(&self, node: NodeId) {
        let mut inner = self.lock();
        let grants = inner.room.succeeded(node);
        inner.tell(grants);
    }

    /// Running and waiting requests of a node.
    #[must_use]
    pub fn load_of(&self, node: NodeId) -> (u32, usize) {
        self.with_room(|room| (room.running_on(node), room.waiting_for(node)))
    }

    fn held(self: &Arc<Self>, seats: &[Seat], at: usize, client: Client) -> Held {
        Held { places: self.clone(), place: seats[at].place.clone(), seat: at, client }
    }

    fn leave(&self, place: &Place, client: Client) {
        let mut inner = self.lock();
        let grants = inner.room.leave(place, client);
        inner.tell(grants);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while holding the lock must not stop routing: every change below is complete or absent.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn tell(&mut self, grants: Vec<Grant>) {
        for grant in grants {
            if let Some(waiter) = self.waiting.remove(&grant.ticket) {
                // A waiter that is just leaving finds the grant when it is dropped, and gives the place back.
                let _ = waiter.send(grant.seat);
            }
        }
    }
}

/// A place that a request holds. Given back on drop.
#[derive(Debug)]
pub struct Held {
    places: Arc<Places>,
    place: Place,
    client: Client,
    /// Which of the seats it is.
    pub seat: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.places.leave(&self.place, self.client);
    }
}

/// A request that waits. Leaves the line on drop.
#[derive(Debug)]
pub struct Queued {
    places: Arc<Places>,
    ticket: Ticket,
    client: Client,
    seats: Vec<Seat>,
    grant: oneshot::Receiver<usize>,
    done: bool,
}

impl Queued {
    /// Waits for a place. Cancel-safe: the turn is kept.
    pub async fn granted(&mut self) -> Held {
        match (&mut self.grant).await {
            Ok(at) => {
                self.done = true;
                self.places.held(&self.seats, at, self.client)
            }
            // The sender lives as long as the ticket waits; without it there is nothing to wait for.
            Err(_) => std::future::pending().await,
        }
    }

    /// Nodes have come or gone: other seats, the same turn. False when one of the old seats has been granted already.
    #[must_use]
    pub fn reseat(&mut self, seats: Vec<Seat>) -> bool {
        let mut inner = self.places.lock();
        if !inner.waiting.contains_key(&self.ticket) {
            return false;
        }
        self.seats.clone_from(&seats);
        let grants = inner.room.reseat(self.ticket, seats);
        inner.tell(grants);
        true
    }

    /// How many wait before it.
    #[must_use]
    pub fn ahead(&self) -> usize {
        self.places.with_room(|room| room.ahead_of(self.ticket).unwrap_or(0))
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let given_up = {
            let mut inner = self.places.lock();
            inner.waiting.remove(&self.ticket);
            let grants = inner.room.give_up(self.ticket);
            let was_waiting = grants.is_some();
            inner.tell(grants.unwrap_or_default());
            was_waiting
        };
        if !given_up && let Ok(at) = self.grant.try_recv() {
            self.places.leave(&self.seats[at].place, self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplighter_core::operation::Lane;

    fn seat(limit: u32) -> Vec<Seat> {
        vec![Seat { place: Place { node: NodeId(1), lane: Lane::Generate, model: "m".into() }, limit }]
    }

    fn queued(entered: Entered) -> Queued {
        match entered {
            Entered::Queued(queued) => queued,
            other => panic!("should wait: {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_place_goes_to_who_waits_and_a_leaver_loses_nothing() {
        let places = Arc::new(Places::default());
        let Entered::Held(held) = places.enter(Client(1), seat(1)) else { panic!() };
        let mut second = queued(places.enter(Client(2), seat(1)));
        let third = queued(places.enter(Client(3), seat(1)));
        assert_eq!((second.ahead(), third.ahead()), (0, 1));
        drop(held);
        drop(third);
        let held = second.granted().await;
        // Granted and dropped before it was taken: the place comes back.
        let fourth = queued(places.enter(Client(4), seat(1)));
        drop(held);
        drop(fourth);
        assert_eq!(places.load_of(NodeId(1)), (0, 0));
    }
}
