//! The waiting room in motion: `core::room` decides, this gives it the time, hands the places out and takes them back on drop.

use crate::clock;
use lamplighter_core::{
    fleet::NodeId,
    room::{Arrival, Client, Entry, Look, Place, Room, Seat, Ticket, Told},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

/// All places on all nodes.
#[derive(Debug, Default)]
pub struct Places {
    inner: Mutex<Inner>,
    /// Something is due earlier than the timer thinks.
    sooner: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    room: Room,
    waiting: HashMap<Ticket, oneshot::Sender<Told>>,
    /// What the timer waits for.
    timer_ms: Option<u64>,
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

/// Why a wait has ended without a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The line was full, and its client had the most in it.
    Displaced {
        /// How many wait there.
        waiting: usize,
    },
    /// It has waited to the end.
    Expired,
}

impl Places {
    /// Takes the first free seat, or a place in the lines.
    pub fn enter(self: &Arc<Self>, arrival: Arrival) -> Entered {
        let (client, seats) = (arrival.client, arrival.seats.clone());
        self.change(|inner, now_ms| match inner.room.enter(arrival, now_ms) {
            Entry::Taken(at) => Entered::Held(self.held(&seats, at, client)),
            Entry::Full { waiting } => Entered::Full { waiting },
            Entry::Waiting { ticket, .. } => {
                let (tell, told) = oneshot::channel();
                inner.waiting.insert(ticket, tell);
                Entered::Queued(Queued { places: self.clone(), ticket, client, seats, told, done: false })
            }
        })
    }

    /// Looks at the room, for planning and for eyes.
    pub fn with_room<T>(&self, look: impl FnOnce(&Room) -> T) -> T {
        look(&self.lock().room)
    }

    /// That node has come back from being down or failing: one generation at a time until the first success, then twice as
    /// many after each, until its places are reached.
    pub fn slow_start(&self, node: NodeId) {
        self.change(|inner, now_ms| inner.room.warm_up(node, 1, now_ms));
    }

    /// A generation went well there. Costs next to nothing while the node is not starting slowly.
    pub fn succeeded(&self, node: NodeId) {
        self.change(|inner, now_ms| inner.room.succeeded(node, now_ms));
    }

    /// That machine is asleep or waking: nobody is let through to it. Its waiters come with [`Arrival::lobby_bytes`].
    pub fn shut(&self, node: NodeId) {
        self.change(|inner, _| inner.room.shut(node));
    }

    /// That machine is ready: who waits for it is let through, slowly at first, and their two minutes begin.
    pub fn open(&self, node: NodeId) {
        self.change(|inner, now_ms| inner.room.open(node, now_ms));
    }

    /// A node was looked at, which took so long: these models, by key and with their bytes, are in its memory.
    pub fn sees(&self, node: NodeId, loaded: &[(Arc<str>, u64)], took_ms: u64) {
        self.change(|inner, now_ms| {
            let look = Look { loaded, began_ms: now_ms.saturating_sub(took_ms) };
            inner.room.sees(node, look, now_ms);
        });
    }

    /// Forgets what is known of nodes that are gone, as soon as nobody is there.
    pub fn forget(&self, is_known: impl Fn(NodeId) -> bool) {
        self.change(|inner, _| inner.room.forget(is_known));
    }

    /// Running and waiting requests of a node.
    #[must_use]
    pub fn load_of(&self, node: NodeId) -> (u32, usize) {
        self.with_room(|room| (room.running_on(node), room.waiting_for(node)))
    }

    /// Ends waits and turns that end by time alone, until `stop`.
    pub async fn keep_time(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let next_ms = {
                let mut inner = self.lock();
                inner.timer_ms = inner.room.next_ms();
                inner.timer_ms
            };
            let due = async {
                match next_ms {
                    Some(at_ms) => {
                        // One more: a timer may be a little early.
                        let in_ms = at_ms.saturating_sub(clock::mono_ms()) + 1;
                        tokio::time::sleep(Duration::from_millis(in_ms)).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.sooner.notified() => {}
                () = due => self.change(|inner, now_ms| inner.room.tick(now_ms)),
            }
        }
    }

    fn held(self: &Arc<Self>, seats: &[Seat], at: usize, client: Client) -> Held {
        Held { places: self.clone(), place: seats[at].place.clone(), seat: at, client }
    }

    fn leave(&self, place: &Place, client: Client) {
        self.change(|inner, now_ms| inner.room.leave(place, client, now_ms));
    }

    /// Changes something, tells everybody whom it concerns, and sets the timer.
    fn change<T>(&self, change: impl FnOnce(&mut Inner, u64) -> T) -> T {
        let mut inner = self.lock();
        // The clock is read under the lock: the room's time never goes back.
        let changed = change(&mut inner, clock::mono_ms());
        inner.tell();
        if let Some(next_ms) = inner.room.next_ms()
            && inner.timer_ms.is_none_or(|timer_ms| next_ms < timer_ms)
        {
            inner.timer_ms = Some(next_ms);
            self.sooner.notify_one();
        }
        changed
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while holding the lock must not stop routing: every change below is complete or absent.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn tell(&mut self) {
        for (ticket, told) in self.room.told() {
            if let Some(waiter) = self.waiting.remove(&ticket) {
                // A waiter that is just leaving finds it when it is dropped, and gives the place back.
                let _ = waiter.send(told);
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
    told: oneshot::Receiver<Told>,
    done: bool,
}

impl Queued {
    /// Waits for a place. Cancel-safe: the turn is kept.
    ///
    /// # Errors
    /// [`Left`], when it has to go without one.
    pub async fn granted(&mut self) -> Result<Held, Left> {
        let told = match (&mut self.told).await {
            Ok(told) => told,
            // The sender lives as long as the ticket waits; without it there is nothing to wait for.
            Err(_) => std::future::pending().await,
        };
        self.done = true;
        match told {
            Told::Granted(at) => Ok(self.places.held(&self.seats, at, self.client)),
            Told::Displaced(waiting) => Err(Left::Displaced { waiting }),
            Told::Expired => Err(Left::Expired),
        }
    }

    /// Nodes have come or gone: other seats, the same turn. False when it has been told already what became of it.
    #[must_use]
    pub fn reseat(&mut self, seats: Vec<Seat>) -> bool {
        let (ticket, mine) = (self.ticket, &mut self.seats);
        self.places.change(|inner, now_ms| {
            if !inner.waiting.contains_key(&ticket) {
                return false;
            }
            mine.clone_from(&seats);
            inner.room.reseat(ticket, seats, now_ms);
            true
        })
    }

    /// How many would be served before it if nothing changed.
    #[must_use]
    pub fn ahead(&self) -> usize {
        self.places.lock().room.ahead_of(self.ticket, clock::mono_ms()).unwrap_or(0)
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let ticket = self.ticket;
        self.places.change(|inner, now_ms| {
            inner.waiting.remove(&ticket);
            inner.room.give_up(ticket, now_ms)
        });
        if let Ok(Told::Granted(at)) = self.told.try_recv() {
            self.places.leave(&self.seats[at].place, self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use lamplighter_core::{
        operation::Lane,
        room::{LINGER_MS, Need, WAIT_MS},
    };

    fn arrival(client: u64) -> Arrival {
        let place = Place { node: NodeId(1), lane: Lane::Generate, model: "m".into() };
        let seats = vec![Seat { place, limit: 1, need: None }];
        Arrival { client: Client(client), cost: 1, seats, lobby_bytes: None }
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
        let Entered::Held(held) = places.enter(arrival(1)) else { panic!() };
        let mut second = queued(places.enter(arrival(2)));
        let third = queued(places.enter(arrival(3)));
        assert_eq!((second.ahead(), third.ahead()), (0, 1));
        drop(held);
        drop(third);
        let held = second.granted().await.unwrap();
        // Granted and dropped before it was taken: the place comes back.
        let fourth = queued(places.enter(arrival(4)));
        drop(held);
        drop(fourth);
        assert_eq!(places.load_of(NodeId(1)), (0, 0));
    }

    #[tokio::test]
    async fn a_machine_that_wakes_lets_its_waiters_in_one_by_one() {
        let places = Arc::new(Places::default());
        places.shut(NodeId(1));
        let sleeper = || Arrival { lobby_bytes: Some(1), ..arrival(1) };
        let (mut first, mut second) = (queued(places.enter(sleeper())), queued(places.enter(sleeper())));
        assert!(tokio::time::timeout(Duration::from_millis(20), first.granted()).await.is_err());
        places.open(NodeId(1));
        let held = first.granted().await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), second.granted()).await.is_err());
        places.succeeded(NodeId(1));
        drop(held);
        second.granted().await.unwrap();
    }

    #[tokio::test]
    async fn who_has_waited_to_the_end_is_told() {
        let places = Arc::new(Places::default());
        let Entered::Held(_held) = places.enter(arrival(1)) else { panic!() };
        let mut second = queued(places.enter(arrival(2)));
        places.change(|inner, now_ms| inner.room.tick(now_ms + WAIT_MS - 1_000));
        assert!(tokio::time::timeout(Duration::from_millis(20), second.granted()).await.is_err());
        places.change(|inner, now_ms| inner.room.tick(now_ms + WAIT_MS));
        assert_eq!(second.granted().await.unwrap_err(), Left::Expired);
        drop(second);
        assert_eq!(places.load_of(NodeId(1)), (1, 0));
    }

    /// A turn that ends by time alone: nothing else happens in this room.
    #[tokio::test]
    async fn the_timer_ends_a_turn() {
        let places = Arc::new(Places::default());
        let stop = CancellationToken::new();
        let timer = tokio::spawn(places.clone().keep_time(stop.clone()));
        let asks_for = |client: u64, model: &str| {
            let mut arrival = arrival(client);
            arrival.seats[0].place.model = model.into();
            arrival.seats[0].need = Some(Need { bytes: 6, of_bytes: Some(10) });
            arrival
        };
        let Entered::Held(held) = places.enter(asks_for(1, "a")) else { panic!() };
        let mut second = queued(places.enter(asks_for(2, "b")));
        drop(held);
        let began = std::time::Instant::now();
        let granted = tokio::time::timeout(Duration::from_secs(30), second.granted()).await.unwrap();
        assert_eq!(granted.unwrap().seat, 0);
        assert!(began.elapsed() >= Duration::from_millis(LINGER_MS / 2), "{:?}", began.elapsed());
        stop.cancel();
        timer.await.unwrap();
    }

    /// Ten thousand come, wait at two of 200 nodes each, and go: a bound that only an accidental square passes.
    #[tokio::test]
    async fn ten_thousand_come_and_go_quickly() {
        let (places, began) = (Arc::new(Places::default()), std::time::Instant::now());
        let (mut held, mut waiting) = (Vec::new(), Vec::new());
        for at in 0..10_000u32 {
            let mut arrival = arrival(u64::from(at % 97));
            let second = arrival.seats[0].clone();
            arrival.seats.push(second);
            (arrival.seats[0].place.node, arrival.seats[1].place.node) =
                (NodeId(at % 200), NodeId((at + 1) % 200));
            match places.enter(arrival) {
                Entered::Held(place) => held.push(place),
                Entered::Queued(queued) => waiting.push(queued),
                Entered::Full { .. } => panic!("fifty at each node have room"),
            }
        }
        assert_eq!((held.len(), waiting.len()), (200, 9_800));
        // Half of those who wait give up, the others are called one after the other.
        waiting.truncate(4_900);
        drop(held);
        while !waiting.is_empty() {
            let before = waiting.len();
            waiting
                .retain_mut(|queued| tokio::task::unconstrained(queued.granted()).now_or_never().is_none());
            assert!(waiting.len() < before, "nobody is called");
        }
        assert_eq!((0..200).map(|at| places.load_of(NodeId(at))).max(), Some((0, 0)));
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    }

    /// Ten thousand at one node: 64 wait, the others are refused at once.
    #[tokio::test]
    async fn ten_thousand_at_one_node_are_refused_quickly() {
        let (places, began) = (Arc::new(Places::default()), std::time::Instant::now());
        let all: Vec<Entered> = (0..10_000).map(|at| places.enter(arrival(at % 7))).collect();
        assert_eq!(places.load_of(NodeId(1)), (1, 64));
        let refused = all.iter().filter(|entered| matches!(entered, Entered::Full { .. })).count();
        assert!(refused > 9_000, "{refused}");
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    }
}
