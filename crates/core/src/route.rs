//! The product's heart: which node answers, in which order they are tried, and why each other one was passed over.

use crate::{
    alias::{self, Target},
    fleet::{Fleet, Node, NodeId},
    model::{self, Model},
    node::State,
    operation::{Dialect, Lane, Operation},
    refusal::Refusal,
    room::{EMBED_SLOTS, Place, Room, Seat},
};
use serde::Serialize;
use std::{cmp::Reverse, sync::Arc};

/// What a request asks for, as far as routing is concerned.
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
    /// The place it takes there, and how many there are.
    pub seat: Seat,
    /// Why it stands where it stands.
    pub reason: Reason,
}

/// Why a candidate stands where it stands; the first that applies, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The request names the node.
    Pinned,
    /// The model is in memory there, and a place is free.
    LoadedFree,
    /// A place is free.
    Free,
    /// The model is in memory there, and all places are taken.
    Loaded,
    /// All places are taken.
    Busy,
}

impl Reason {
    /// The reason in words, ASCII only: it stands in a response header.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Pinned => "pinned to this node",
            Self::LoadedFree => "loaded, with a free place",
            Self::Free => "a free place",
            Self::Loaded => "loaded, all places taken",
            Self::Busy => "all places taken",
        }
    }
}

/// The candidates for one model of the alias's list, best first.
#[derive(Debug, Clone)]
pub struct Tier {
    /// The model this tier is about, as the alias (or the client) wrote it.
    pub model: String,
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
    /// Some node has not been asked yet: the answer may be another in a moment.
    pub looking: bool,
}

/// Plans one request. Pure: the same fleet and loads give the same plan.
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
    let (name, own_pin) = model::split_pin(ask.model);
    let pin = ask.pin.or(own_pin);
    let targets = alias::resolve(&fleet.aliases, name);
    let Ask { operation, local_only, .. } = ask;
    let mut search = Search { fleet, room, operation, local_only, everyone, passed_over: Vec::new() };
    let mut tiers = Vec::with_capacity(targets.len());
    for target in &targets {
        let target = Target { node: target.node.or(pin), ..*target };
        let candidates = search.candidates(target);
        if !candidates.is_empty() {
            tiers.push(Tier { model: target.model.to_owned(), candidates });
        }
    }
    if tiers.is_empty() {
        let looking = fleet.nodes.iter().any(|node| node.state == State::Unknown);
        let refusal = search.refusal(ask, name, pin, &targets);
        return Err(Box::new(NoRoute { refusal, passed_over: search.passed_over, looking }));
    }
    let alias = alias::find(&fleet.aliases, name).map(|alias| alias.name.clone());
    Ok(RoutePlan { alias, tiers, passed_over: search.passed_over })
}

struct Search<'a> {
    fleet: &'a Fleet,
    room: &'a Room,
    operation: Operation,
    local_only: bool,
    /// Look at every node, not only at those that have the model.
    everyone: bool,
    passed_over: Vec<PassedOver>,
}

impl Search<'_> {
    /// Who can serve `target`, best first. Everybody else is noted with the reason.
    fn candidates(&mut self, target: Target<'_>) -> Vec<Candidate> {
        let mut found: Vec<(_, Candidate)> = Vec::new();
        let fleet = self.fleet;
        let all: Vec<usize>;
        let looked_at = if self.everyone {
            all = (0..fleet.nodes.len()).collect();
            &all
        } else {
            fleet.catalogue.holders(target.model)
        };
        for &at in looked_at {
            let node = &fleet.nodes[at];
            match self.judge(node, target) {
                Ok(listed) => {
                    let candidate = self.candidate(at, node, listed, target.node.is_some());
                    let last = node.state == State::Degraded || node.suspect;
                    found.push(((last, candidate.reason, Reverse(node.config.priority), at), candidate));
                }
                Err(why) => {
                    let (node, model) = (node.name().to_owned(), target.model.to_owned());
                    self.passed_over.push(PassedOver { node, model, why });
                }
            }
        }
        found.sort_by_key(|(rank, _)| *rank);
        found.into_iter().map(|(_, candidate)| candidate).collect()
    }

    /// Can this node serve the target? If not, why, in words that follow "it …".
    fn judge<'n>(&self, node: &'n Node, target: Target<'_>) -> Result<&'n Model, String> {
        if let Some(pin) = target.node
            && pin != node.name()
        {
            return Err(format!("the request is pinned to {pin}"));
        }
        let Some(listed) = node.models.iter().find(|listed| listed.answers_to(target.model)) else {
            return Err(match node.state {
                State::Unknown => "not asked yet".into(),
                _ if node.models.is_empty() => state_words(node),
                _ => "does not have it".into(),
            });
        };
        if !node.state.takes_requests() {
            return Err(state_words(node));
        }
        if !node.dialects.serves(self.operation) {
            return Err(match self.operation {
                Operation::CountTokens => "cannot count tokens".into(),
                other => format!("does not speak {}", other.dialect().title()),
            });
        }
        if self.local_only && (node.config.url.is_cloud() || listed.remote) {
            return Err("is out of the house, and the mode is \"local only\"".into());
        }
        if listed.embeds_only() && self.operation.lane() == Lane::Generate {
            return Err("has it, but it makes embeddings only".into());
        }
        Ok(listed)
    }

    fn candidate(&self, at: usize, node: &Node, listed: &Model, pinned: bool) -> Candidate {
        let lane = self.operation.lane();
        let (key, limit): (&str, u32) = match lane {
            Lane::Generate => (model::key(&listed.name), node.slots()),
            Lane::Embed => ("", EMBED_SLOTS),
            Lane::Free => ("", u32::MAX),
        };
        let seat = Seat { place: Place { node: node.id, lane, model: key.into() }, limit };
        let free = self.room.running(&seat.place) < limit;
        let reason = match (pinned, listed.loaded == Some(true), free) {
            (true, ..) => Reason::Pinned,
            (_, true, true) => Reason::LoadedFree,
            (_, false, true) => Reason::Free,
            (_, true, false) => Reason::Loaded,
            (_, false, false) => Reason::Busy,
        };
        Candidate { node: node.id, at, model: listed.name.as_str().into(), seat, reason }
    }

    /// Nobody can serve: which of the reasons is the one to tell?
    fn refusal(&self, ask: Ask<'_>, name: &str, pin: Option<&str>, targets: &[Target<'_>]) -> Refusal {
        let model = name.to_owned();
        if self.fleet.nodes.is_empty() {
            let config_path =
                self.fleet.config_path.clone().unwrap_or_else(|| "the configuration file".into());
            return Refusal::NoNodes { config_path };
        }
        if let Some(pin) = pin {
            return match self.fleet.node(pin) {
                None => Refusal::PinFailed {
                    model,
                    node: pin.into(),
                    why: "there is no node of that name".into(),
                    soon: false,
                },
                Some(node) => {
                    let why = self
                        .passed_over
                        .iter()
                        .find(|over| over.node == pin)
                        .map_or("it cannot", |over| &over.why);
                    Refusal::PinFailed {
                        model,
                        node: pin.into(),
                        why: format!("it {}", with_verb(why)),
                        soon: comes_soon(node),
                    }
                }
            };
        }
        let has = |node: &Node| {
            targets.iter().any(|t| {
                t.node.is_none_or(|n| n == node.name()) && node.models.iter().any(|m| m.answers_to(t.model))
            })
        };
        let holders: Vec<&Node> = self.fleet.nodes.iter().filter(|node| has(node)).collect();
        let pinned_away = targets.iter().any(|t| t.node.is_some());
        if holders.is_empty() && !pinned_away {
            let unasked = self.fleet.nodes.iter().all(|node| {
                node.state == State::Unknown || !node.state.takes_requests() && node.models.is_empty()
            });
            if unasked {
                let reasons = self
                    .fleet
                    .nodes
                    .iter()
                    .map(|node| format!("{} is {}", node.name(), state_words(node)))
                    .collect();
                return Refusal::ModelAway { model, reasons, soon: self.fleet.nodes.iter().any(comes_soon) };
            }
            return Refusal::ModelUnknown {
                similar: similar(self.fleet, name, ask.operation.dialect()),
                model,
            };
        }
        let up: Vec<_> = holders.iter().filter(|node| node.state.takes_requests()).collect();
        let dialect = ask.operation.dialect();
        if !up.is_empty() && up.iter().all(|node| !node.dialects.serves(ask.operation)) {
            let instead = Dialect::ALL
                .into_iter()
                .filter(|&d| d != dialect && up.iter().any(|node| node.dialects.speaks(d)))
                .collect();
            return Refusal::DialectMissing { model, dialect, instead };
        }
        let mut reasons: Vec<String> = Vec::new();
        for over in &self.passed_over {
            if holders.iter().any(|node| node.name() == over.node) || pinned_away && holders.is_empty() {
                let reason = format!("{} {}", over.node, with_verb(&over.why));
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
        }
        Refusal::ModelAway { model, reasons, soon: holders.iter().any(|node| comes_soon(node)) }
    }
}

/// The state of a node in words that follow its name and "is": "away: no answer in 2 s".
fn state_words(node: &Node) -> String {
    match &node.why {
        Some(why) => format!("{} ({why})", node.state.word()),
        None => node.state.word().to_owned(),
    }
}

/// "away" → "is away"; "does not have it" stays.
fn with_verb(why: &str) -> String {
    let has_verb = ["does ", "has ", "cannot ", "the request "].iter().any(|start| why.starts_with(start));
    if has_verb { why.to_owned() } else { format!("is {why}") }
}

/// May it serve within a minute, without anybody doing something?
fn comes_soon(node: &Node) -> bool {
    matches!(node.state, State::Unknown | State::Waking(_))
}

/// Up to three listed names or aliases that look like `name`.
fn similar(fleet: &Fleet, name: &str, dialect: Dialect) -> Vec<String> {
    let wanted = name.to_ascii_lowercase();
    let stem = wanted
        .split([':', '/'])
        .next_back()
        .filter(|s| s.len() > 2 && !wanted.contains(':'))
        .unwrap_or(wanted.split(':').next().unwrap_or(&wanted))
        .to_owned();
    let listed = fleet.catalogue.in_dialect(&fleet.nodes, dialect).map(|entry| entry.name.as_str());
    let aliases =
        fleet.aliases.iter().map(|alias| alias.name.as_str()).filter(|name| !alias::is_wildcard(name));
    let mut close: Vec<(usize, String)> = aliases
        .chain(listed)
        .filter_map(|candidate| {
            let lower = candidate.to_ascii_lowercase();
            let far = distance(&wanted, &lower);
            (far <= 1 + wanted.len() / 5 || lower.contains(&stem)).then(|| (far, candidate.to_owned()))
        })
        .collect();
    close.sort();
    close.into_iter().take(3).map(|(_, name)| name).collect()
}

/// Levenshtein's distance, for short names.
#[must_use]
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(256).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(256).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let cost = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
