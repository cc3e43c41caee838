//! A place for a request: taken at once, or waited for in the line.

use super::trip::Trip;
use crate::{
    live::UnderWay,
    places::{Entered, Held},
    registry::House,
};
use lamplighter_core::{operation::Lane, refusal::Refusal, route::Candidate};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Time in the waiting room.
const WAIT: Duration = Duration::from_secs(120);

impl Trip {
    /// Takes a place at one of the candidates, or waits for one. While it waits, nodes may come and go: the line is kept.
    pub(super) async fn place(
        &self,
        under_way: &UnderWay,
        mut house: Arc<House>,
        mut candidates: Vec<Candidate>,
    ) -> Result<(Arc<House>, Candidate, Option<Held>), Refusal> {
        if self.call.operation.lane() == Lane::Free {
            return Ok((house, candidates.swap_remove(0), None));
        }
        let seats = |candidates: &[Candidate]| candidates.iter().map(|c| c.seat.clone()).collect::<Vec<_>>();
        let mut queued = match self.proxy.places.enter(self.call.client, seats(&candidates)) {
            Entered::Held(held) => {
                let candidate = candidates.swap_remove(held.seat);
                return Ok((house, candidate, Some(held)));
            }
            Entered::Full { waiting } => {
                let node = house.fleet.nodes[candidates[0].at].name().to_owned();
                return Err(Refusal::RoomFull { node, waiting });
            }
            Entered::Queued(queued) => queued,
        };
        let mut changes = self.proxy.registry.subscribe();
        changes.mark_unchanged();
        let deadline = Instant::now() + WAIT;
        loop {
            under_way.waits(queued.ahead());
            tokio::select! {
                biased;
                held = queued.granted() => {
                    let candidate = candidates.swap_remove(held.seat);
                    return Ok((house, candidate, Some(held)));
                }
                () = tokio::time::sleep_until(deadline) => {
                    return Err(Refusal::WaitedTooLong { model: self.envelope.model.clone(), waited_s: WAIT.as_secs() });
                }
                () = under_way.cancel_token().cancelled() => return Err(self.proxy.requests.why_cancelled()),
                // The position in the line moves.
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                Ok(()) = changes.changed() => {
                    let (fresh, plan) = self.plan(under_way).await?;
                    if let Some(left) = self.untried(&plan)
                        && queued.reseat(seats(&left))
                    {
                        (house, candidates) = (fresh, left);
                    }
                }
            }
        }
    }
}
