//! A machine that was lost under a request: it may have fallen asleep a moment ago, and nobody has noticed yet.

use super::trip::Trip;
use crate::{live::UnderWay, registry::House};
use lamplighter_core::{
    fleet::NodeId,
    refusal::Refusal,
    route::{Asleep, RoutePlan},
    wake::Verdict,
};
use std::time::Duration;
use tokio::time::Instant;

/// How long a request waits to know what has become of such a machine. After this computer's own sleep its network is given 15 s,
/// and then three probes must miss.
const KNOWN_WITHIN: Duration = Duration::from_secs(25);

/// How long it may take until everybody has been told that it is doubted. An answer before that is one of before the loss.
const DOUBTED_WITHIN: Duration = Duration::from_secs(1);

impl Trip {
    /// Waits until it is known what has become of a machine that was lost and may be woken. True when it is, and the plan must be
    /// made anew: it sleeps, or it answers again. False when there is no such machine, or nobody knows in time.
    ///
    /// # Errors
    /// When the request is ended meanwhile.
    pub(super) async fn finds_out(
        &mut self,
        under_way: &UnderWay,
        house: &House,
        plan: &RoutePlan,
    ) -> Result<bool, Refusal> {
        let Some(lost) = self.maybe_asleep(house, plan) else { return Ok(false) };
        let deadline = *self.known_by.get_or_insert_with(|| Instant::now() + KNOWN_WITHIN);
        let mut changes = self.proxy.registry.subscribe();
        under_way.waits(0);
        let doubted_by = Instant::now() + DOUBTED_WITHIN;
        let mut was_suspect = false;
        loop {
            let house = changes.borrow_and_update().clone();
            match house.fleet.by_id(lost) {
                Some(node) if node.state.takes_requests() && node.suspect => was_suspect = true,
                Some(node) if node.state.takes_requests() => {
                    if was_suspect || Instant::now() >= doubted_by {
                        self.tries.is_back(lost);
                        return Ok(self.untried(plan).is_some());
                    }
                }
                _ => return Ok(true),
            }
            let until = if was_suspect { deadline } else { doubted_by.min(deadline) };
            tokio::select! {
                () = under_way.cancel_token().cancelled() => return Err(self.proxy.requests.why_cancelled()),
                () = tokio::time::sleep_until(until) => if until == deadline { return Ok(false) },
                changed = changes.changed() => if changed.is_err() { return Err(Refusal::ShuttingDown) },
            }
        }
    }

    /// The first that was lost, if this request may wake it.
    fn maybe_asleep(&self, house: &House, plan: &RoutePlan) -> Option<NodeId> {
        if self.tries.is_over() {
            return None;
        }
        let alias = house.fleet.aliases.iter().find(|it| Some(it.name.as_str()) == plan.alias.as_deref());
        let may_wake = |target: usize, candidate: &lamplighter_core::route::Candidate| {
            let asleep = Asleep {
                node: candidate.node,
                at: candidate.at,
                model: candidate.model.clone(),
                seat: candidate.seat.clone(),
                target,
                policy: alias.and_then(|alias| alias.wake),
            };
            !matches!(self.verdicts(&[asleep])[..], [Verdict::Pass(_)])
        };
        let mut lost = self.tries.lost(plan);
        let found = lost.find(|(target, candidate)| {
            let node = house.fleet.by_id(candidate.node);
            node.is_some_and(|node| node.config.wake.is_some()) && may_wake(*target, candidate)
        });
        found.map(|(_, candidate)| candidate.node)
    }
}
