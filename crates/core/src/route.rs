//! The product's heart: which node answers, in which order they are tried, and why each other one was passed over.

mod judge;
mod nobody;
mod rules;
mod similar;
mod sleepers;
mod standing;

pub use rules::{RULES, Reason, Rule, WOKEN};
pub use similar::{distance, instead};
pub use sleepers::{Asleep, Course, course};
pub use standing::Standing;

use judge::state_words;

use crate::{
    affinity::Home,
    alias::Target,
    catalogue::Offer,
    fleet::{Fleet, NodeId},
    model::{self, Model},
    node::State,
    operation::{Lane, Operation},
    refusal::Refusal,
    room::{EMBED_SLOTS, Need, Place, Room, Seat},
    speed::Speeds,
};
use serde::Serialize;
use std::sync::Arc;

/// What a request asks for, as far as routing is concerned, and what is remembered that concerns it.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The model, as the client wrote it; may be an alias, may end in `@node`.
    pub model: &'a str,
    /// A pin from the request's own header.
    pub pin: Option<&'a str>,
    /// What is asked for.
    pub operation: Operation,
    /// Nothing may leave the house.
    pub local_only: bool,
    /// Where its conversation was answered last.
    pub home: Option<&'a Home>,
    /// What was measured of the nodes.
    pub speeds: Option<&'a Speeds>,
    /// Now, by the clock of `speeds`.
    pub now_ms: u64,
    /// Now, in milliseconds since 1970: models whose keep-alive is over have left their memory to others.
    pub wall_ms: u64,
}

impl<'a> Ask<'a> {
    /// A request without a pin or a past, at the beginning of time.
    #[must_use]
    pub fn new(model: &'a str, operation: Operation) -> Self {
        let (pin, home, speeds) = (None, None, None);
        Self { model, pin, operation, local_only: false, home, speeds, now_ms: 0, wall_ms: 0 }
    }
}

/// One node that may answer, with the name the model has there.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The node.
    pub node: NodeId,
    /// Position of the node in the fleet the plan was made from.
    pub at: usize,
    /// The model's name as that node writes it.
    pub model: Arc<str>,
    /// Position of the model in the node's list.
    pub model_at: usize,
    /// The place it takes there, and how many there are.
    pub seat: Seat,
    /// What each rule sees of it.
    pub standing: Standing,
    /// Why it stands where it stands.
    pub reason: Reason,
}

/// The candidates for one model of the alias's list, best first.
#[derive(Debug, Clone)]
pub struct Tier {
    /// The model this tier is about, as the alias (or the client) wrote it.
    pub model: String,
    /// Which of the alias's models that is, from 0.
    pub target: usize,
    /// Who may answer, best first. Never empty.
    pub candidates: Vec<Candidate>,
}

/// A node that was not chosen, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// The node.
    pub node: String,
    /// The model that was wanted there.
    pub model: String,
    /// Why, in words.
    pub why: String,
}

/// The answer of [`plan`]: tiers in the alias's order. A later tier counts only when nobody in an earlier one can serve.
#[derive(Debug, Clone)]
pub struct RoutePlan {
    /// The alias that was used, if any.
    pub alias: Option<String>,
    /// Never empty.
    pub tiers: Vec<Tier>,
    /// Who has one of the models and sleeps, in the alias's order.
    pub asleep: Vec<Asleep>,
    /// Every node that is not in a tier, per model; of [`plan_among_holders`], only those that have the model.
    pub passed_over: Vec<PassedOver>,
}

/// Why nobody can serve, with every node's reason.
#[derive(Debug, Clone)]
pub struct NoRoute {
    /// What to answer.
    pub refusal: Refusal,
    /// Every node's reason.
    pub passed_over: Vec<PassedOver>,
    /// Who has one of the models and sleeps, in the alias's order.
    pub asleep: Vec<Asleep>,
    /// Some node has not been asked yet: the answer may be another in a moment.
    pub looking: bool,
}

/// Plans one request. Pure: the same fleet, loads and memories give the same plan.
///
/// # Errors
/// `NoRoute` when no node can serve any of the models the name stands for.
pub fn plan(fleet: &Fleet, room: &Room, ask: Ask<'_>) -> Result<RoutePlan, Box<NoRoute>> {
    search(fleet, room, ask, true)
}

/// The same plan, but nobody asks why the others were passed over: only the nodes that have the model are looked at, so that
/// a large fleet costs a request nothing.
///
/// # Errors
/// As [`plan`], with every node's reason.
pub fn plan_among_holders(fleet: &Fleet, room: &Room, ask: Ask<'_>) -> Result<RoutePlan, Box<NoRoute>> {
    search(fleet, room, ask, false).or_else(|_| plan(fleet, room, ask))
}

fn search(fleet: &Fleet, room: &Room, ask: Ask<'_>, everyone: bool) -> Result<RoutePlan, Box<NoRoute>> {
    let (name, own_pin) = fleet.asked(ask.model);
    let pin = ask.pin.or(own_pin);
    let targets = fleet.targets(name);
    let mut search = Search { fleet, room, ask, everyone, passed_over: Vec::new(), asleep: Vec::new() };
    let mut tiers = Vec::with_capacity(targets.len());
    for (at, target) in targets.iter().enumerate() {
        let target = Target { node: target.node.or(pin), ..*target };
        for candidates in search.candidates(target, at) {
            tiers.push(Tier { model: target.model.to_owned(), target: at, candidates });
        }
    }
    // The list of each model is in the order of the configuration; a person's order goes before it.
    search
        .asleep
        .sort_by_key(|asleep| (asleep.target, std::cmp::Reverse(fleet.nodes[asleep.at].config.priority)));
    if tiers.is_empty() {
        let looking = fleet.nodes.iter().any(|node| node.state == State::Unknown);
        let refusal = search.refusal(name, pin, &targets);
        let Search { passed_over, asleep, .. } = search;
        return Err(Box::new(NoRoute { refusal, passed_over, asleep, looking }));
    }
    let alias = fleet.alias(name).map(|alias| alias.name.clone());
    Ok(RoutePlan { alias, tiers, asleep: search.asleep, passed_over: search.passed_over })
}

struct Search<'a> {
    fleet: &'a Fleet,
    room: &'a Room,
    ask: Ask<'a>,
    /// Look at every node, not only at those that have the model.
    everyone: bool,
    passed_over: Vec<PassedOver>,
    asleep: Vec<Asleep>,
}

impl<'a> Search<'a> {
    /// Who can serve `target`, best first; none, one tier, or two. Everybody else is noted with the reason.
    fn candidates(&mut self, target: Target<'_>, target_at: usize) -> Vec<Vec<Candidate>> {
        let mut found = Vec::new();
        let fleet = self.fleet;
        if self.everyone {
            for (at, node) in fleet.nodes.iter().enumerate() {
                let model = node.models.iter().position(|listed| listed.answers_to(target.model));
                found.extend(self.consider(at, model, target, target_at));
            }
        } else {
            for &Offer { node: at, model } in fleet.catalogue.holders(target.model) {
                found.extend(self.consider(at, Some(model), target, target_at));
            }
        }
        found.sort_by(|a, b| rules::compare(&a.standing, &b.standing));
        let mut tiers = by_contents(found);
        for tier in &mut tiers {
            for at in 0..tier.len() {
                let reason = rules::reason(&tier[at].standing, tier.get(at + 1).map(|next| &next.standing));
                tier[at].reason = reason;
            }
        }
        tiers
    }

    fn consider(
        &mut self,
        at: usize,
        model_at: Option<usize>,
        target: Target<'_>,
        target_at: usize,
    ) -> Option<Candidate> {
        let node = &self.fleet.nodes[at];
        let model_at = model_at.unwrap_or(usize::MAX);
        match self.judge(node, node.models.get(model_at), target) {
            Ok(listed) if node.sleeps() => {
                let (model, policy) = (listed.name.as_str().into(), target.wake);
                let seat = self.seat(at, listed);
                self.asleep.push(Asleep { node: node.id, at, model, seat, target: target_at, policy });
                let (node, model, why) = (node.name().to_owned(), target.model.to_owned(), state_words(node));
                self.passed_over.push(PassedOver { node, model, why });
                None
            }
            Ok(listed) => Some(self.candidate(at, model_at, listed, target.node.is_some())),
            Err(why) => {
                let (node, model) = (node.name().to_owned(), target.model.to_owned());
                self.passed_over.push(PassedOver { node, model, why });
                None
            }
        }
    }

    fn candidate(&self, at: usize, model_at: usize, listed: &Model, pinned: bool) -> Candidate {
        let node = &self.fleet.nodes[at];
        let seat = self.seat(at, listed);
        let standing = self.standing(at, listed, &seat, pinned);
        let reason = rules::reason(&standing, None);
        Candidate { node: node.id, at, model: listed.name.as_str().into(), model_at, seat, standing, reason }
    }

    /// The place that a request takes there.
    fn seat(&self, at: usize, listed: &Model) -> Seat {
        let node = &self.fleet.nodes[at];
        let lane = self.ask.operation.lane();
        let (key, limit): (&str, u32) = match lane {
            Lane::Generate => (model::key(&listed.name), node.slots()),
            Lane::Embed => ("", EMBED_SLOTS),
            Lane::Free => ("", u32::MAX),
        };
        let need = Need::of(node, listed).filter(|_| lane == Lane::Generate);
        Seat { place: Place { node: node.id, lane, model: key.into() }, limit, need }
    }
}

/// A conversation stays with the contents that answered it (R18), even if it has to wait for them: nodes with others under the
/// same name come only when none of its own can serve, or all are overrun.
fn by_contents(candidates: Vec<Candidate>) -> Vec<Vec<Candidate>> {
    let keeps = |it: &Candidate| !it.standing.other_contents;
    let serves = |it: &Candidate| keeps(it) && it.standing.trouble.is_none() && !it.standing.is_overrun();
    let tiers = if candidates.iter().any(serves) {
        let (own, others) = candidates.into_iter().partition(keeps);
        vec![own, others]
    } else {
        vec![candidates]
    };
    tiers.into_iter().filter(|tier| !tier.is_empty()).collect()
}
