//! The line before one kind of place: fair between clients, in order within each.
//!
//! Deficit round robin with new flows first, as in FQ-CoDel (RFC 8290, sections 4.1 and 4.2), with requests for packets. A
//! client whose request has just come goes before those that keep the line full; then it is one of them. Whoever is called
//! pays the request's cost from a credit of its own; a visit refills it. So a client that floods the line waits for itself.

use super::{Client, Ticket};
use std::collections::{HashMap, VecDeque};

/// What a visit refills: the cost of a short request.
const QUANTUM: i32 = 1;
/// Calls in a row to newcomers, while others wait: whoever invents a client for each request must not starve them.
const NEWCOMERS_IN_A_ROW: u32 = 4;

/// Requests that wait for one lane of one node.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    flows: HashMap<Client, Flow>,
    /// Clients that have come since they were last called: first.
    newcomers: VecDeque<Client>,
    /// The others, whose turn it is next in front.
    round: VecDeque<Client>,
    newcomers_called: u32,
    waiting: usize,
}

#[derive(Debug, Clone)]
struct Flow {
    /// May be called while it is above zero; a dear request leaves a debt for the next visits.
    credit: i32,
    /// Oldest first.
    queue: VecDeque<(Ticket, u32)>,
    is_newcomer: bool,
}

impl Line {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// Everybody who waits, in no order.
    pub(super) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.flows.values().flat_map(|flow| flow.queue.iter().map(|(ticket, _)| *ticket))
    }

    /// The requests of one client, oldest first.
    pub(super) fn of(&self, client: Client) -> impl DoubleEndedIterator<Item = Ticket> {
        self.flows.get(&client).into_iter().flat_map(|flow| flow.queue.iter().map(|(ticket, _)| *ticket))
    }

    /// Lets a request in, behind those of its client that came before it.
    pub(super) fn push(&mut self, client: Client, ticket: Ticket, cost: u32) {
        let flow = self.flows.entry(client).or_insert_with(|| {
            self.newcomers.push_back(client);
            Flow { credit: QUANTUM, queue: VecDeque::new(), is_newcomer: true }
        });
        let at = flow.queue.partition_point(|(other, _)| *other < ticket);
        flow.queue.insert(at, (ticket, cost));
        self.waiting += 1;
    }

    /// Lets a request out that was not called.
    pub(super) fn remove(&mut self, client: Client, ticket: Ticket) {
        let Some(flow) = self.flows.get_mut(&client) else { return };
        let Some(at) = flow.queue.iter().position(|(other, _)| *other == ticket) else { return };
        flow.queue.remove(at);
        self.waiting -= 1;
        if flow.queue.is_empty() {
            let list = if flow.is_newcomer { &mut self.newcomers } else { &mut self.round };
            list.retain(|other| *other != client);
            self.flows.remove(&client);
        }
    }

    /// Who is next among those who may go. Clients that nobody may be called of keep their turn. Asked again, it says the same.
    pub(super) fn next(&mut self, may: impl Fn(Ticket) -> bool) -> Option<(Client, Ticket)> {
        if self.waiting == 0 {
            return None;
        }
        let (mut at, mut poor) = (0, false);
        let mut in_newcomers = self.newcomers_called < NEWCOMERS_IN_A_ROW;
        let mut lists_left = 2;
        loop {
            let list = if in_newcomers { &mut self.newcomers } else { &mut self.round };
            let Some(&client) = list.get(at) else {
                (at, in_newcomers, lists_left) = (0, !in_newcomers, lists_left - 1);
                if lists_left > 0 {
                    continue;
                }
                if !std::mem::take(&mut poor) {
                    return None;
                }
                lists_left = 2;
                continue;
            };
            let Some(flow) = self.flows.get_mut(&client) else {
                list.remove(at);
                continue;
            };
            if flow.queue.is_empty() && flow.credit > 0 {
                list.remove(at);
                self.flows.remove(&client);
                continue;
            }
            match flow.queue.iter().find(|(ticket, _)| may(*ticket)) {
                Some((ticket, _)) if flow.credit > 0 => return Some((client, *ticket)),
                None if !flow.queue.is_empty() => at += 1,
                found => {
                    poor |= found.is_some();
                    flow.credit += QUANTUM;
                    flow.is_newcomer = false;
                    list.remove(at);
                    self.round.push_back(client);
                }
            }
        }
    }

    /// Calls a request: it leaves the line, and its client pays.
    pub(super) fn call(&mut self, client: Client, ticket: Ticket) {
        let Some(flow) = self.flows.get_mut(&client) else { return };
        let Some(at) = flow.queue.iter().position(|(other, _)| *other == ticket) else { return };
        let cost = flow.queue.remove(at).map_or(1, |(_, cost)| cost);
        self.waiting -= 1;
        self.newcomers_called = if flow.is_newcomer { self.newcomers_called + 1 } else { 0 };
        flow.credit -= i32::try_from(cost).unwrap_or(i32::MAX);
        if flow.credit <= 0 || flow.queue.is_empty() {
            // Its visit is over. A client without requests keeps its turn for one round, so that it is no newcomer at once.
            let list = if flow.is_newcomer { &mut self.newcomers } else { &mut self.round };
            list.retain(|other| *other != client);
            self.round.push_back(client);
            flow.credit += QUANTUM;
            flow.is_newcomer = false;
        }
        if self.waiting == 0 {
            *self = Self::default();
        } else if self.flows.len() > 2 * self.waiting + 64 {
            // Newcomers were called for so long that the round was never walked: who has left does not stay in it.
            let flows = &mut self.flows;
            flows.retain(|_, flow| !flow.queue.is_empty());
            self.round.retain(|client| flows.contains_key(client));
        }
    }

    /// The order in which those who may go would be called.
    pub(super) fn order(&self, may: impl Fn(Ticket) -> bool) -> Vec<Ticket> {
        let mut line = self.clone();
        let mut order = Vec::with_capacity(line.waiting);
        while let Some((client, ticket)) = line.next(&may) {
            order.push(ticket);
            line.call(client, ticket);
        }
        order
    }
}
