//! Nobody can serve: which of all the reasons is the one to tell?

use super::{
    Search,
    judge::{comes_soon, state_words, with_verb},
    similar::similar,
};
use crate::{alias::Target, fleet::Node, model, node::State, operation::Dialect, refusal::Refusal};

impl Search<'_> {
    /// Nobody can serve: which of the reasons is the one to tell?
    pub(super) fn refusal(&self, name: &str, pin: Option<&str>, targets: &[Target<'_>]) -> Refusal {
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
            let (bare, no_node) = model::split_pin(name);
            let dialect = self.ask.operation.dialect();
            let mut similar_names = similar(self.fleet, name, dialect);
            if similar_names.is_empty() && no_node.is_some() {
                similar_names = similar(self.fleet, bare, dialect);
            }
            let no_node = no_node.map(str::to_owned);
            return Refusal::ModelUnknown { model, similar: similar_names, no_node };
        }
        let up: Vec<_> = holders.iter().filter(|node| node.state.takes_requests()).collect();
        let dialect = self.ask.operation.dialect();
        if !up.is_empty() && up.iter().all(|node| !node.dialects.serves(self.ask.operation)) {
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
