//! One node's part of the room: who runs and waits there, and who is called next.

use super::{
    Client, Place, Seat, Ticket, Waiter,
    line::Line,
    turn::{Asking, Demand, Key, Look, Turn},
};
use crate::{fleet::NodeId, operation::Lane};
use std::collections::HashMap;

/// A node that takes this many generations at once is warm: no engine has more places by default.
const WARM: u32 = 64;
/// Somebody who was there so lately, ms, may come again: nobody is alone yet.
const COMPANY_MS: u64 = 60_000;
/// More than this does nobody send to one place, alone or not: engines refuse beyond it (`OLLAMA_MAX_QUEUE` is 512, ollama
/// `envconfig/config.go`), and every queue has a bound.
const ALONE_MAX: u32 = 512;

/// Requests running in each place.
pub(super) type Running = HashMap<Place, u32>;
/// Everybody who waits, anywhere.
pub(super) type Waiters = HashMap<Ticket, Waiter>;

#[derive(Debug, Default)]
pub(super) struct Desk {
    /// Running and waiting requests per client, to know whether anybody else is there.
    present: HashMap<Client, Present>,
    /// The two who left last, latest first, and when.
    left: [Option<(Client, u64)>; 2],
    generating: u32,
    generate: Line,
    embed: Line,
    /// Waiting requests whose best seat is here, per client: those that the room's bound counts.
    pub(super) at_home: HashMap<Client, usize>,
    /// Those that wait here for the machine to wake.
    waking: usize,
    /// Waiting generations per model.
    wanted: HashMap<Key, u32>,
    /// Generations at once, while the node starts slowly.
    warming: Option<u32>,
    /// Generations that ran already when it began to start slowly. They say nothing of how warm it is: a long stream that
    /// outlived a short absence must not keep everybody else out.
    survivors: u32,
    /// Nobody may begin: the machine is not awake.
    shut: bool,
    pub(super) turn: Turn,
    /// When time alone may let somebody in.
    pub(super) wake_ms: Option<u64>,
    /// Who is how far from being called, as long as nothing changes.
    positions: Option<HashMap<Ticket, usize>>,
}

#[derive(Debug, Default)]
struct Present {
    running: u32,
    waiting: u32,
}

impl Desk {
    pub(super) fn running(&self) -> u32 {
        self.present.values().map(|present| present.running).sum()
    }

    /// Does anybody wait in the lanes of these seats?
    pub(super) fn has_line(&self, lane: Lane) -> bool {
        match lane {
            Lane::Generate => self.generate.len() > 0,
            Lane::Embed => self.embed.len() > 0,
            Lane::Free => false,
        }
    }

    /// How many wait whose best seat is here, and for this machine to wake.
    pub(super) fn waiting(&self) -> usize {
        self.at_home.values().sum::<usize>() + self.waking
    }

    pub(super) fn has_waiters(&self) -> bool {
        self.generate.len() + self.embed.len() > 0
    }

    /// Nothing of it would be missed.
    pub(super) fn is_idle(&self) -> bool {
        self.present.is_empty()
    }

    /// Nothing of it would be missed, and nothing is known of it either.
    pub(super) fn is_blank(&self) -> bool {
        self.is_idle() && self.warming.is_none() && !self.shut && self.turn.is_blank()
    }

    /// Everybody who waits here for the machine to wake.
    pub(super) fn tickets(&self) -> Vec<Ticket> {
        self.generate.tickets().chain(self.embed.tickets()).collect()
    }

    /// The latest request of a client that has its home here.
    pub(super) fn latest_of(&self, client: Client, node: NodeId, waiters: &Waiters) -> Option<Ticket> {
        let at_home = |ticket: &Ticket| {
            waiters.get(ticket).is_some_and(|waiter| waiter.home() == Some(node) && !waiter.is_of_a_wake())
        };
        self.generate.of(client).chain(self.embed.of(client)).filter(at_home).max()
    }

    pub(super) fn shut(&mut self) {
        self.shut = true;
    }

    pub(super) fn open(&mut self) {
        self.shut = false;
    }

    /// It opens no door: a machine that answers is not ready before its wake says so.
    pub(super) fn warm_up(&mut self, cap: u32) {
        self.warming = Some(cap.max(1));
        self.survivors = self.generating;
    }

    /// A generation went well. True when more may run now.
    pub(super) fn succeeded(&mut self) -> bool {
        let before = self.warming;
        self.warming = before.map(|cap| cap.saturating_mul(2)).filter(|cap| *cap < WARM);
        before.is_some()
    }

    /// Lets a request into the lines of its seats here.
    pub(super) fn push(&mut self, ticket: Ticket, waiter: &Waiter, node: NodeId) {
        self.positions = None;
        self.present.entry(waiter.client).or_default().waiting += 1;
        self.waking += usize::from(waiter.is_of_a_wake());
        for lane in [Lane::Generate, Lane::Embed] {
            if waiter.seats_at(node, lane).next().is_some() {
                self.line(lane).push(waiter.client, ticket, waiter.cost);
            }
        }
        for (_, seat) in waiter.seats_at(node, Lane::Generate) {
            *self.wanted.entry(seat.place.model.clone()).or_default() += 1;
        }
    }

    /// Lets it out again. It pays when it was called in that lane.
    ///
    /// Who leaves without having been served leaves no trace: only work done is company.
    pub(super) fn remove(&mut self, ticket: Ticket, waiter: &Waiter, node: NodeId, called: Option<Lane>) {
        self.positions = None;
        if let Some(present) = self.present.get_mut(&waiter.client) {
            present.waiting -= 1;
        }
        self.tidy(waiter.client);
        self.waking -= usize::from(waiter.is_of_a_wake());
        for lane in [Lane::Generate, Lane::Embed] {
            if called == Some(lane) {
                self.line(lane).call(waiter.client, ticket);
            } else {
                self.line(lane).remove(waiter.client, ticket);
            }
        }
        for (_, seat) in waiter.seats_at(node, Lane::Generate) {
            if let Some(count) = self.wanted.get_mut(&seat.place.model) {
                *count -= 1;
                if *count == 0 {
                    self.wanted.remove(&seat.place.model);
                }
            }
        }
    }

    /// A request begins in that seat. `running` does not count it yet.
    pub(super) fn begins(&mut self, seat: &Seat, client: Client, running: &Running, now_ms: u64) {
        self.positions = None;
        self.present.entry(client).or_default().running += 1;
        if seat.place.lane == Lane::Generate {
            self.generating += 1;
            let alone = self.has_nobody_but(client, now_ms);
            let asking = Asking { model: &seat.place.model, need: seat.need, alone, now_ms };
            let wanted = &self.wanted;
            self.turn.begins(&seat.place.model, asking, |model| demand(&seat.place, model, running, wanted));
        }
    }

    /// A request in that place has ended.
    pub(super) fn ended(&mut self, place: &Place, client: Client, now_ms: u64) {
        self.positions = None;
        if let Some(present) = self.present.get_mut(&client) {
            present.running -= 1;
        }
        self.tidy(client);
        let [latest, other] = self.left;
        let other = if latest.is_some_and(|(who, _)| who == client) { other } else { latest };
        self.left = [Some((client, now_ms)), other];
        if place.lane == Lane::Generate {
            self.generating -= 1;
            // The oldest end first, most likely; wrong by a few is harmless.
            self.survivors = self.survivors.saturating_sub(1);
            self.turn.ended(&place.model, now_ms);
        }
    }

    /// The node was looked at.
    pub(super) fn sees(&mut self, node: NodeId, look: Look<'_>, running: &Running, now_ms: u64) {
        self.positions = None;
        let here = Place { node, lane: Lane::Generate, model: Key::default() };
        let wanted = &self.wanted;
        self.turn.sees(look, now_ms, |model| demand(&here, model, running, wanted).running);
    }

    fn tidy(&mut self, client: Client) {
        if self.present.get(&client).is_some_and(|present| present.running == 0 && present.waiting == 0) {
            self.present.remove(&client);
        }
    }

    fn line(&mut self, lane: Lane) -> &mut Line {
        if lane == Lane::Embed { &mut self.embed } else { &mut self.generate }
    }

    /// May a request of that client take that seat now, with nobody before it?
    pub(super) fn has_free(
        &self,
        seat: &Seat,
        client: Client,
        one_node: bool,
        running: &Running,
        now_ms: u64,
    ) -> bool {
        self.eyes(running, now_ms).may_begin(seat, client, one_node)
    }

    /// Who is called next in that lane, to which of its seats.
    pub(super) fn next(
        &mut self,
        node: NodeId,
        lane: Lane,
        waiters: &Waiters,
        running: &Running,
        now_ms: u64,
    ) -> Option<(Ticket, usize)> {
        if lane == Lane::Generate {
            self.wake_ms = None;
        }
        if !self.has_line(lane) || self.shut || lane == Lane::Generate && self.is_warming() {
            return None;
        }
        let mut line = std::mem::take(self.line(lane));
        if lane == Lane::Generate {
            self.keep_turns(&mut line, node, waiters, running, now_ms);
        }
        let eyes = self.eyes(running, now_ms);
        let seat = |ticket: Ticket| {
            let waiter = waiters.get(&ticket)?;
            let mut seats = waiter.seats_at(node, lane);
            seats.find(|(_, seat)| eyes.may_begin(seat, waiter.client, waiter.may_be_alone)).map(|(at, _)| at)
        };
        let next = line.next(|ticket| seat(ticket).is_some());
        let next = next.and_then(|(_, ticket)| Some((ticket, seat(ticket)?)));
        *self.line(lane) = line;
        next
    }

    /// Closes the turn in memory when the fair order has come to a request that does not fit, and it has lasted.
    fn keep_turns(
        &mut self,
        line: &mut Line,
        node: NodeId,
        waiters: &Waiters,
        running: &Running,
        now_ms: u64,
    ) {
        let eyes = self.eyes(running, now_ms);
        let any = |ticket: Ticket, is: &dyn Fn(Asking<'_>) -> bool| {
            waiters.get(&ticket).is_some_and(|waiter| {
                waiter.seats_at(node, Lane::Generate).any(|(_, seat)| is(eyes.asking(seat, waiter)))
            })
        };
        let turn = &self.turn;
        let is_blocked = |asking: Asking<'_>| {
            !turn.has(asking.model)
                && !turn.is_held(asking)
                && (turn.is_closing() || !turn.fits(asking, |model| eyes.demand(node, model)))
        };
        let disputed = !turn.is_empty() && line.tickets().any(|ticket| any(ticket, &is_blocked));
        let due = disputed
            && !turn.is_closing()
            && line
                .next(|ticket| any(ticket, &|asking| !turn.is_held(asking)))
                .is_some_and(|(_, head)| any(head, &is_blocked));
        if !disputed {
            self.turn.is_undisputed();
        } else if due {
            self.turn.is_due(now_ms);
        }
        self.wake_ms = self.turn.next_ms(now_ms);
    }

    /// Does nobody else run or wait here, and did not a moment ago?
    fn has_nobody_but(&self, client: Client, now_ms: u64) -> bool {
        let others = self.left.iter().flatten().filter(|(who, _)| *who != client);
        self.present.len() == usize::from(self.present.contains_key(&client))
            && others.map(|(_, left_ms)| left_ms + COMPANY_MS).all(|until_ms| until_ms <= now_ms)
    }

    fn is_warming(&self) -> bool {
        self.warming.is_some_and(|cap| self.generating.saturating_sub(self.survivors) >= cap)
    }

    fn eyes<'a>(&'a self, running: &'a Running, now_ms: u64) -> Eyes<'a> {
        Eyes { desk: self, running, now_ms }
    }

    /// How many would be called here before that request, if nothing changes: those whose model has its turn first, in fair
    /// order; then, model by model, the others.
    pub(super) fn position(
        &mut self,
        ticket: Ticket,
        node: NodeId,
        waiters: &Waiters,
        running: &Running,
        now_ms: u64,
    ) -> Option<usize> {
        if self.positions.is_none() {
            let generations = self.generations_in_order(node, waiters, running, now_ms);
            let embeddings = self.embed.order(|_| true);
            let numbered =
                |order: Vec<Ticket>| order.into_iter().enumerate().map(|(at, ticket)| (ticket, at));
            self.positions = Some(numbered(generations).chain(numbered(embeddings)).collect());
        }
        self.positions.as_ref()?.get(&ticket).copied()
    }

    fn generations_in_order(
        &self,
        node: NodeId,
        waiters: &Waiters,
        running: &Running,
        now_ms: u64,
    ) -> Vec<Ticket> {
        let eyes = self.eyes(running, now_ms);
        let asks = |ticket: &Ticket| {
            let waiter = waiters.get(ticket)?;
            Some((waiter, waiter.seats_at(node, Lane::Generate).next()?.1))
        };
        let lets_in = |ticket: &Ticket| {
            asks(ticket).is_some_and(|(waiter, seat)| {
                self.turn.lets_in(eyes.asking(seat, waiter), |model| eyes.demand(node, model))
            })
        };
        if self.turn.is_empty() {
            return self.generate.order(|_| true);
        }
        let (mut line, mut order) = (self.generate.clone(), Vec::new());
        // The model whose turn it will be then; now it is those that are let in.
        let mut now: Option<Key> = None;
        while let Some((_, head)) = line.next(|_| true) {
            let may = |ticket: Ticket| match &now {
                None => lets_in(&ticket),
                Some(model) => asks(&ticket).is_some_and(|(_, seat)| seat.place.model == *model),
            };
            match line.next(may) {
                Some((client, ticket)) => {
                    line.call(client, ticket);
                    order.push(ticket);
                }
                None => {
                    let then = asks(&head).map(|(_, seat)| seat.place.model.clone());
                    if then.is_none() || then == now {
                        break;
                    }
                    now = then;
                }
            }
        }
        order
    }
}

/// A desk at one moment.
#[derive(Clone, Copy)]
struct Eyes<'a> {
    desk: &'a Desk,
    running: &'a Running,
    now_ms: u64,
}

impl<'a> Eyes<'a> {
    fn may_begin(self, seat: &Seat, client: Client, may_be_alone: bool) -> bool {
        let desk = self.desk;
        let alone = may_be_alone && desk.waking == 0 && self.nobody_but(client);
        let running = self.running.get(&seat.place).copied().unwrap_or(0);
        if desk.shut || running >= if alone { ALONE_MAX.max(seat.limit) } else { seat.limit } {
            return false;
        }
        let alone = self.nobody_but(client);
        let asking = Asking { model: &seat.place.model, need: seat.need, alone, now_ms: self.now_ms };
        seat.place.lane != Lane::Generate
            || !desk.is_warming() && desk.turn.lets_in(asking, |model| self.demand(seat.place.node, model))
    }

    fn asking<'s>(self, seat: &'s Seat, waiter: &Waiter) -> Asking<'s> {
        let alone = self.nobody_but(waiter.client);
        Asking { model: &seat.place.model, need: seat.need, alone, now_ms: self.now_ms }
    }

    fn nobody_but(self, client: Client) -> bool {
        self.desk.has_nobody_but(client, self.now_ms)
    }

    fn demand(self, node: NodeId, model: &Key) -> Demand {
        let here = Place { node, lane: Lane::Generate, model: model.clone() };
        demand(&here, model, self.running, &self.desk.wanted)
    }
}

/// How much a model is wanted on the node of `here`.
fn demand(here: &Place, model: &Key, running: &Running, wanted: &HashMap<Key, u32>) -> Demand {
    let place = Place { model: model.clone(), ..here.clone() };
    Demand { running: running.contains_key(&place), waiting: wanted.contains_key(model) }
}
