//! What is known of a model whose machine sleeps. `ollama run` asks `/api/show` before it asks for an answer, and gives up when
//! that fails (ollama `cmd/cmd.go`, `RunHandler`): looking must wake nothing, and must not stand in the way of waking either.

use super::{Done, Ended, Proxy};
use crate::{
    answer::{self, Reply},
    dialects,
    live::Outcome,
};
use lamplighter_core::{operation::Operation, refusal::Refusal};

/// The answer in place of "it sleeps", where there is one.
pub(super) fn show(proxy: &Proxy, operation: Operation, model: &str, done: &Done, id: &str) -> Option<Reply> {
    let Err(Ended::Refused(Refusal::NodeAsleep { node, .. })) = &done.result else { return None };
    if operation != Operation::OllamaShow {
        return None;
    }
    let house = proxy.registry.house();
    let there = house.fleet.nodes.iter().find(|it| it.name() == &**node)?;
    let targets = house.fleet.targets(model);
    let of_target = |target: &str| there.models.iter().find(|listed| listed.answers_to(target));
    let listed = targets.iter().find_map(|it| of_target(it.model))?;
    done.under_way.ends(Outcome::Answered);
    Some(answer::remembered(&dialects::ollama_show(listed), there.name(), &listed.name, id))
}
