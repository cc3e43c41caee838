//! Models that do not fit beside each other take turns.

use super::*;
use std::collections::VecDeque;

/// A machine with one place per model, ten bytes, and models of six: simulated in virtual time.
struct Machine {
    house: House,
    loaded: String,
    loads: usize,
    load_ms: u64,
    work_ms: u64,
    /// Who runs, until when.
    ends: Vec<(u64, Place, Client)>,
    /// When each waiting request came.
    came: HashMap<Ticket, u64>,
    longest_wait_ms: u64,
}

impl Machine {
    fn new(load_ms: u64, work_ms: u64) -> Self {
        Self {
            house: House::default(),
            loaded: String::new(),
            loads: 0,
            load_ms,
            work_ms,
            ends: Vec::new(),
            came: HashMap::new(),
            longest_wait_ms: 0,
        }
    }

    fn ask(&mut self, client: u64, model: &str) {
        let before = self.house.held.len();
        match self.house.enter(Client(client), vec![sized(1, model, 1, 6)]) {
            Ok(_) => self.begin(before),
            Err(Some(ticket)) => drop(self.came.insert(ticket, self.house.now_ms)),
            Err(None) => panic!("the line should have room"),
        }
        self.settle(before + 1);
    }

    /// Those beyond the first `before` have just got their places.
    fn settle(&mut self, before: usize) {
        self.house.granted();
        for at in before..self.house.held.len() {
            self.begin(at);
        }
        let waiting = &self.house.waiting;
        let now_ms = self.house.now_ms;
        let mut longest = self.longest_wait_ms;
        self.came.retain(|ticket, came_ms| {
            let waits = waiting.iter().any(|(other, _)| other == ticket);
            longest = longest.max(now_ms - *came_ms);
            waits
        });
        self.longest_wait_ms = longest;
    }

    fn begin(&mut self, at: usize) {
        let (place, client) = self.house.held[at].clone();
        let mut begins_ms = self.house.now_ms;
        if *self.loaded != *place.model {
            let busy = self.ends.iter().find(|(_, other, _)| other.model != place.model);
            assert!(busy.is_none(), "a switch under {busy:?}");
            (self.loaded, self.loads) = (place.model.to_string(), self.loads + 1);
            begins_ms += self.load_ms;
        }
        // An engine works one off after the other.
        let last = self.ends.iter().map(|(at_ms, ..)| *at_ms).max().unwrap_or(0);
        self.ends.push((begins_ms.max(last) + self.work_ms, place, client));
    }

    /// Time goes on to the next event, at most to `until_ms`. Who has been served there.
    fn step(&mut self, until_ms: u64) -> Option<(u64, Arc<str>)> {
        let end =
            self.ends.iter().enumerate().min_by_key(|(_, (at_ms, ..))| *at_ms).map(|(at, it)| (at, it.0));
        let turn = self.house.room.next_ms().unwrap_or(u64::MAX);
        match end {
            Some((at, at_ms)) if at_ms <= turn && at_ms <= until_ms => {
                self.house.now_ms = self.house.now_ms.max(at_ms);
                let (_, place, client) = self.ends.remove(at);
                let held = self.house.held.iter().position(|held| *held == (place.clone(), client)).unwrap();
                self.house.held.remove(held);
                let before = self.house.held.len();
                self.house.room.leave(&place, client, self.house.now_ms);
                self.settle(before);
                Some((client.0, place.model))
            }
            _ => {
                let before = self.house.held.len();
                self.house.now_ms = turn.min(until_ms).max(self.house.now_ms);
                self.house.room.tick(self.house.now_ms);
                self.settle(before);
                None
            }
        }
    }

    fn is_done(&self) -> bool {
        self.ends.is_empty() && self.house.waiting.is_empty()
    }
}

/// R55: a hundred requests for two models in turn, with `at_once` of them open, by so many clients.
fn alternate(at_once: usize, clients: u64, work_ms: u64) -> Machine {
    let mut machine = Machine::new(5_000, work_ms);
    let mut left: VecDeque<u64> = (0..100).collect();
    let mut open = 0;
    while !(left.is_empty() && machine.is_done()) {
        while open < at_once
            && let Some(at) = left.pop_front()
        {
            machine.ask(at / 2 % clients, ["a", "b"][at as usize % 2]);
            open += 1;
        }
        assert!(machine.house.now_ms < 3_600_000, "it hangs");
        let until_ms = machine.house.now_ms + 60_000;
        open -= usize::from(machine.step(until_ms).is_some());
    }
    machine
}

#[test]
fn r55_a_hundred_in_turn_make_few_loads() {
    for (at_once, clients) in [(60, 1), (40, 1), (40, 2), (40, 10), (20, 3), (60, 50), (10, 5)] {
        let machine = alternate(at_once, clients, 500);
        // With ten at once a batch has five of each to begin with.
        assert!(machine.loads <= 10, "{at_once} at once, {clients} clients: {} loads", machine.loads);
        assert!(machine.longest_wait_ms < WAIT_MS);
    }
}

/// Two who ask again as soon as they are answered: each turn lasts, although nobody waits for it for a moment.
#[test]
fn r55_two_who_ask_again_and_again_do_not_thrash() {
    let mut machine = Machine::new(5_000, 500);
    let mut left = [50, 50];
    machine.ask(0, "a");
    machine.ask(1, "b");
    let mut asks: Vec<(u64, u64)> = Vec::new();
    while !(left == [0, 0] && machine.is_done()) {
        let next = asks.iter().map(|(at_ms, _)| *at_ms).min().unwrap_or(u64::MAX);
        let until_ms = next.min(machine.house.now_ms + 60_000);
        if let Some((client, _)) = machine.step(until_ms) {
            left[client as usize] -= 1;
            if left[client as usize] > 0 {
                asks.push((machine.house.now_ms + 50, client));
            }
        }
        let now_ms = machine.house.now_ms;
        let due: Vec<u64> = asks.iter().filter(|(at_ms, _)| *at_ms <= now_ms).map(|(_, who)| *who).collect();
        asks.retain(|(at_ms, _)| *at_ms > now_ms);
        for client in due {
            machine.ask(client, ["a", "b"][client as usize]);
        }
        assert!(machine.house.now_ms < 3_600_000, "it hangs");
    }
    assert!(machine.loads <= 10, "{} loads", machine.loads);
    assert!(machine.longest_wait_ms <= OVERDUE_MS, "{} ms", machine.longest_wait_ms);
}

/// A flood for one model does not shut out the other: it waits for the turn, and what runs, and no longer.
#[test]
fn r55_nobody_waits_long_beyond_the_fair_turn() {
    let mut machine = Machine::new(5_000, 500);
    // Not alone: what its client sent while it had the machine to itself would have to end too.
    machine.ask(2, "a");
    for _ in 0..60 {
        machine.ask(0, "a");
    }
    let mut asked_ms = 0;
    loop {
        let until_ms = machine.house.now_ms + 1_000;
        match machine.step(until_ms) {
            Some((0, _)) => machine.ask(0, "a"),
            Some((1, model)) => {
                assert_eq!(&*model, "b");
                break;
            }
            _ => {}
        }
        if asked_ms == 0 && machine.house.now_ms >= 8_000 {
            asked_ms = machine.house.now_ms;
            machine.ask(1, "b");
        }
        assert!(machine.house.now_ms < 60_000, "it starves");
    }
    let waited_ms = machine.house.now_ms - asked_ms - machine.load_ms - machine.work_ms;
    assert!(machine.house.now_ms > RESIDENCE_MS, "the turn has lasted");
    assert!(waited_ms <= RESIDENCE_MS, "{waited_ms} ms");
    assert_eq!(machine.loads, 2);
}

#[test]
fn what_fits_beside_takes_no_turns() {
    let mut house = House::default();
    house.enter(ANN, vec![sized(1, "a", 1, 4)]).unwrap();
    assert_eq!(house.enter(BOB, vec![sized(1, "b", 1, 6)]), Ok(0));
    let third = house.waits(BOB, vec![sized(1, "c", 1, 6)]);
    // `b` ends: `c` fits beside `a`, as soon as nobody is expected to ask for `b` again.
    assert_eq!(house.leave(1, "b"), []);
    assert_eq!(house.tick_at(LINGER_MS - 1), []);
    assert_eq!(house.tick_at(LINGER_MS), [third]);
}

#[test]
fn an_idle_model_is_in_nobodys_way() {
    let mut house = House::default();
    house.enter(ANN, vec![sized(1, "a", 1, 6)]).unwrap();
    house.leave(1, "a");
    house.now_ms = 1_500;
    assert_eq!(house.enter(BOB, vec![sized(1, "b", 1, 6)]), Ok(0));
}

#[test]
fn alone_nobody_waits_longer_than_the_node_would_have_them() {
    let mut house = House::default();
    house.enter(ANN, vec![sized(1, "a", 1, 6)]).unwrap();
    let other = house.waits(ANN, vec![sized(1, "b", 1, 6)]);
    assert_eq!(house.enter(ANN, vec![sized(1, "a", 1, 6)]), Ok(0), "what is in memory is passed on");
    assert_eq!(house.leave(1, "a"), []);
    assert_eq!(house.leave(1, "a"), [other], "at once: nobody else could ask");
}

#[test]
fn a_turn_closes_when_it_has_lasted_and_another_is_due() {
    let mut house = House::default();
    house.enter(ANN, vec![sized(1, "a", 2, 6)]).unwrap();
    house.enter(BOB, vec![sized(1, "a", 2, 6)]).unwrap();
    let other = house.waits(BOB, vec![sized(1, "b", 2, 6)]);
    house.now_ms = 19_000;
    let waits = house.waits(ANN, vec![sized(1, "a", 2, 6)]);
    assert_eq!((house.ahead(waits), house.ahead(other)), (Some(0), Some(1)));
    assert_eq!(house.leave(1, "a"), [waits], "its turn goes on");
    assert_eq!(house.room.next_ms(), Some(RESIDENCE_MS));
    house.tick_at(RESIDENCE_MS);
    assert_eq!(house.leave(1, "a"), [], "what runs may end");
    let late = house.waits(Client(3), vec![sized(1, "a", 2, 6)]);
    assert_eq!((house.ahead(other), house.ahead(late)), (Some(0), Some(1)), "nothing new begins");
    assert_eq!(house.leave(1, "a"), [other]);
    // The waiter gone, the turn is nobody's.
    assert_eq!(house.leave(1, "b"), []);
    let at_ms = house.room.next_ms().unwrap();
    assert_eq!(house.tick_at(at_ms), [late]);
}

#[test]
fn a_closed_turn_opens_again_when_nobody_wants_another() {
    let mut house = House::default();
    house.enter(ANN, vec![sized(1, "a", 1, 6)]).unwrap();
    let other = house.waits(BOB, vec![sized(1, "b", 1, 6)]);
    house.tick_at(RESIDENCE_MS);
    let more = house.waits(ANN, vec![sized(1, "a", 2, 6)]);
    assert!(house.room.give_up(other, house.now_ms));
    assert_eq!(house.granted(), [more]);
}

#[test]
fn r57_somebody_elses_model_keeps_its_residence() {
    let mut house = House::default();
    let sees = |house: &mut House, models: &[&str], now_ms: u64| {
        house.now_ms = now_ms;
        house.sees(1, models)
    };
    house.enter(ANN, vec![sized(1, "a", 1, 6)]).unwrap();
    sees(&mut house, &["a"], 1_000);
    house.leave(1, "a");
    // Somebody else's request has put theirs in its place.
    sees(&mut house, &["x"], 4_000);
    let ann = house.waits(ANN, vec![sized(1, "a", 1, 6)]);
    assert_eq!(house.enter(BOB, vec![sized(1, "x", 1, 6)]), Ok(0), "what is there may be used");
    house.leave(1, "x");
    assert_eq!(house.tick_at(4_000 + LINGER_MS), []);
    assert_eq!(house.room.next_ms(), Some(4_000 + RESIDENCE_MS));
    assert_eq!(house.tick_at(23_999), []);
    assert_eq!(house.tick_at(24_000), [ann]);
    // Ours again; seen there, and gone because its time ran out: nobody else has come, nothing is held.
    sees(&mut house, &["a"], 25_000);
    house.leave(1, "a");
    sees(&mut house, &[], 400_000);
    assert_eq!(house.enter(ANN, vec![sized(1, "b", 1, 6)]), Ok(0));
}

#[test]
fn r57_our_own_switch_is_no_eviction() {
    let mut house = House::default();
    house.enter(ANN, vec![sized(1, "a", 1, 6)]).unwrap();
    house.now_ms = 500;
    house.sees(1, &["a"]);
    house.leave(1, "a");
    house.enter(ANN, vec![sized(1, "b", 1, 6)]).unwrap();
    // A look that began before the switch, and one that saw it.
    house.now_ms = 900;
    house.sees(1, &["a"]);
    house.now_ms = 3_000;
    house.sees(1, &["b"]);
    house.leave(1, "b");
    assert_eq!(house.enter(ANN, vec![sized(1, "a", 1, 6)]), Ok(0));
}

#[test]
fn what_does_not_fit_is_learned_where_nobody_wrote_it() {
    let mut house = House::default();
    house.enter(ANN, vec![of_bytes(1, "a", 1, 6)]).unwrap();
    assert_eq!(house.enter(BOB, vec![of_bytes(1, "b", 1, 6)]), Ok(0), "there may be room");
    house.now_ms = 1_000;
    house.leave(1, "a");
    house.enter(ANN, vec![of_bytes(1, "a", 1, 6)]).unwrap();
    // A look that began earlier, and one after which `a` is gone, a moment after it was used: there was no room.
    house.sees(1, &["a"]);
    house.now_ms = 1_010;
    house.sees(1, &[]);
    house.leave(1, "a");
    house.now_ms = 30_000;
    let ann = house.waits(ANN, vec![of_bytes(1, "a", 1, 6)]);
    // Or so it seemed: both are there.
    assert_eq!(house.sees(1, &["a", "b"]), [ann]);
}

#[test]
fn what_has_not_been_used_for_long_shows_nothing() {
    let mut house = House::default();
    house.enter(ANN, vec![of_bytes(1, "a", 1, 6)]).unwrap();
    house.leave(1, "a");
    house.now_ms = 300_000;
    house.enter(ANN, vec![of_bytes(1, "b", 1, 6)]).unwrap();
    house.sees(1, &["b"]);
    assert_eq!(house.enter(BOB, vec![of_bytes(1, "a", 1, 6)]), Ok(0));
}
