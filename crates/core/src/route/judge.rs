//! Can a node serve a request? If not, why, in words.

use super::{Ask, Search};
use crate::{
    alias::Target,
    fleet::Node,
    model::{self, Model},
    node::State,
    operation::{Lane, Operation},
};

impl Search<'_> {
    /// Can this node serve the target, now or once it is awake? If not, why, in words that follow "it …".
    ///
    /// `listed` is its model of that name, as the catalogue knows it.
    pub(super) fn judge<'n>(
        &self,
        node: &'n Node,
        listed: Option<&'n Model>,
        target: Target<'_>,
    ) -> Result<&'n Model, String> {
        let Ask { operation, local_only, .. } = self.ask;
        if let Some(pin) = target.node
            && pin != node.name()
        {
            return Err(format!("the request is pinned to {pin}"));
        }
        let Some(listed) = listed else {
            return Err(match node.state {
                State::Unknown => "not asked yet".into(),
                _ if node.models.is_empty() => state_words(node),
                _ => "does not have it".into(),
            });
        };
        if !node.state.takes_requests() && !node.sleeps() {
            return Err(state_words(node));
        }
        if !node.dialects.serves(operation) {
            return Err(match operation {
                Operation::CountTokens => "cannot count tokens".into(),
                other => format!("does not speak {}", other.dialect().title()),
            });
        }
        if local_only && (node.config.url.is_cloud() || listed.remote) {
            return Err("out of the house, and the mode is \"local only\"".into());
        }
        if let Some(blocked) = node.marks.blocked.iter().find(|it| it.model == model::key(&listed.name)) {
            return Err(blocked.why.clone());
        }
        if listed.embeds_only() && operation.lane() == Lane::Generate {
            return Err("has it, but it makes embeddings only".into());
        }
        Ok(listed)
    }
}

/// The state of a node in words that follow its name and "is": "away: no answer in 2 s".
pub(super) fn state_words(node: &Node) -> String {
    match &node.why {
        Some(why) => format!("{} ({why})", node.state.word()),
        None => node.state.word().to_owned(),
    }
}

/// "away" → "is away"; "does not have it" stays.
pub(super) fn with_verb(why: &str) -> String {
    let has_verb = ["does ", "has ", "cannot ", "the request "].iter().any(|start| why.starts_with(start));
    if has_verb { why.to_owned() } else { format!("is {why}") }
}

/// May it serve within a minute, without anybody doing something?
pub(super) fn comes_soon(node: &Node) -> bool {
    matches!(node.state, State::Unknown | State::Waking(_))
}
