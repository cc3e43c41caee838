//! A place for a request: taken at once, or waited for in the line.

use super::trip::Trip;
use crate::{
    live::UnderWay,
    places::{Entered, Held, Left},
    registry::House,
};
use lamplighter_core::{
    operation::Lane,
    refusal::Refusal,
    room::{self, Arrival, WAIT_MS},
    route::Candidate,
};
use std::{sync::Arc, time::Duration};

impl Trip {
    /// Takes a place at one of the candidates, or waits for one. While it waits, nodes may come and go: its turn is kept.
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
        let arrival = Arrival {
            client: self.call.client,
            cost: room::cost(self.call.body.len()),
            seats: seats(&candidates),
            lobby_bytes: None,
        };
        let full = |house: &House, candidates: &[Candidate], waiting| {
            let node = house.fleet.nodes[candidates[0].at].name().to_owned();
            Refusal::RoomFull { node, waiting }
        };
        let mut queued = match self.proxy.places.enter(arrival) {
            Entered::Held(held) => {
                let candidate = candidates.swap_remove(held.seat);
                return Ok((house, candidate, Some(held)));
            }
            Entered::Full { waiting } => return Err(full(&house, &candidates, waiting)),
            Entered::Queued(queued) => queued,
        };
        let mut changes = self.proxy.registry.subscribe();
        changes.mark_unchanged();
        loop {
            under_way.waits(queued.ahead());
            tokio::select! {
                biased;
                granted = queued.granted() => return match granted {
                    Ok(held) => {
                        let candidate = candidates.swap_remove(held.seat);
                        Ok((house, candidate, Some(held)))
                    }
                    Err(Left::Displaced { waiting }) => Err(full(&house, &candidates, waiting)),
                    Err(Left::Expired) => {
                        let waited_s = Duration::from_millis(WAIT_MS).as_secs();
                        Err(Refusal::WaitedTooLong { model: self.envelope.model.clone(), waited_s })
                    }
                },
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
