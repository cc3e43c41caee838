//! The way of one request to a node that answers: plan, take a place, send; again with the next candidate.

use super::{Arrived, Call, Done, Ended, Proxy};
use crate::{
    attempt::{self, Sending},
    clock,
    dialects::envelope::{self, Envelope},
    live::UnderWay,
    registry::House,
};
use bytes::Bytes;
use http::Response;
use lamplighter_core::{
    fleet::NodeId,
    mode::Mode,
    model,
    node::Engine,
    refusal::Refusal,
    route::{self, Ask, Candidate, RoutePlan},
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};

/// Time to find out about nodes that have not been asked yet: only in the first moments after the start.
const LOOKING: Duration = Duration::from_secs(3);
/// Nodes that a request is really sent to, at most. Each is another one.
const ATTEMPTS: usize = 3;
/// Nodes that could not even be reached do not count as attempts; this bounds them.
const UNREACHABLE: usize = 16;

/// The way of one request to a node that answers.
pub(super) struct Trip {
    pub(super) proxy: Arc<Proxy>,
    pub(super) call: Call,
    pub(super) envelope: Envelope,
    /// What each node that was tried met, in order.
    pub(super) met: Vec<Met>,
    /// The last error that a node itself gave.
    pub(super) last_error: Option<(Box<Response<Bytes>>, String, Arc<str>)>,
}

pub(super) struct Met {
    node: NodeId,
    model: Arc<str>,
    pub(super) words: String,
    pub(super) was_sent: bool,
    /// It was a broken connection, perhaps a stale one: with nobody else left, the node is asked once more.
    pub(super) may_repeat: bool,
}

impl Trip {
    pub(super) fn new(proxy: Arc<Proxy>, call: Call, envelope: Envelope) -> Self {
        Self { proxy, call, envelope, met: Vec::new(), last_error: None }
    }

    /// Goes all the way.
    pub(super) async fn go(mut self, under_way: UnderWay) -> Done {
        let result = self.run(&under_way).await;
        Done { under_way, result }
    }

    /// Plan, take a place, send; again with the next candidate while no byte of an answer has come.
    async fn run(&mut self, under_way: &UnderWay) -> Result<Arrived, Ended> {
        loop {
            let (house, plan) = self.plan(under_way).await?;
            let Some(candidates) = self.untried(&plan) else { return Err(self.give_up()) };
            let has_alternative = candidates.len() > 1 || plan.tiers.len() > 1;
            let (house, candidate, held) = self.place(under_way, house, candidates).await?;
            let Some(Some(upstream)) = house.upstreams.get(candidate.at) else {
                self.met(&candidate, "there is no way to it".into(), false);
                continue;
            };
            let node = house.fleet.nodes[candidate.at].name().to_owned();
            under_way.sent(&node, candidate.model.clone());
            let sending = Sending {
                operation: self.call.operation,
                query: self.call.query.as_deref(),
                headers: &self.call.headers,
                body: envelope::with_model(
                    &self.call.body,
                    &self.envelope,
                    self.name_there(&house, &candidate),
                ),
                cancel: under_way.cancel_token(),
                has_alternative,
            };
            match attempt::open(upstream, sending).await {
                Ok(opened) => {
                    self.proxy.registry.worked(candidate.node, upstream);
                    let stopwatch = self.learn(&house, &candidate, &opened);
                    return Ok(Arrived { candidate, node, held, opened, stopwatch });
                }
                Err(failed) => {
                    if let Some(what) = failed.at_work() {
                        self.proxy.registry.failed_at_work(candidate.node, upstream, &what);
                    }
                    self.failed(candidate, node, failed)?;
                }
            }
        }
    }

    /// The model's name as it is sent. Ollama knows that `x` is `x:latest` and echoes what it is asked for: there the client's
    /// own word stands. Elsewhere it is the name that the node lists.
    fn name_there<'c>(&'c self, house: &House, candidate: &'c Candidate) -> &'c str {
        let (asked, _) = model::split_pin(&self.envelope.model);
        let is_ollama = house.fleet.nodes[candidate.at].engine == Some(Engine::Ollama);
        if is_ollama && model::key(asked) == model::key(&candidate.model) { asked } else { &candidate.model }
    }

    /// The plan for now. In the first moments nodes may not have been asked yet: then it waits for them, a little.
    pub(super) async fn plan(&self, under_way: &UnderWay) -> Result<(Arc<House>, RoutePlan), Refusal> {
        let mut changes = self.proxy.registry.subscribe();
        let deadline = Instant::now() + LOOKING;
        loop {
            let house = changes.borrow_and_update().clone();
            let home = self.home(&house);
            let ask = Ask {
                pin: self.call.pin.as_deref(),
                local_only: self.proxy.steering.mode() == Mode::Local,
                home: home.as_ref(),
                wall_ms: clock::wall_ms(),
                ..Ask::new(&self.envelope.model, self.call.operation)
            };
            let planned = self.proxy.speeds.with(|speeds, now_ms| {
                let ask = Ask { speeds: Some(speeds), now_ms, ..ask };
                self.proxy.places.with_room(|room| route::plan_among_holders(&house.fleet, room, ask))
            });
            match planned {
                Ok(plan) => return Ok((house, plan)),
                // Somebody was tried and is gone since: what it met is the better answer.
                Err(_) if !self.met.is_empty() => {
                    let plan = RoutePlan { alias: None, tiers: vec![], asleep: vec![], passed_over: vec![] };
                    return Ok((house, plan));
                }
                Err(no_route) if !no_route.looking => return Err(no_route.refusal),
                Err(no_route) => tokio::select! {
                    changed = timeout_at(deadline, changes.changed()) => match changed {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) => return Err(Refusal::ShuttingDown),
                        Err(_) => return Err(no_route.refusal),
                    },
                    () = under_way.cancel_token().cancelled() => return Err(self.proxy.requests.why_cancelled()),
                },
            }
        }
    }

    /// The candidates of the first tier that has any left. `None` when all has been tried.
    pub(super) fn untried(&self, plan: &RoutePlan) -> Option<Vec<Candidate>> {
        let sent = self.met.iter().filter(|met| met.was_sent).count();
        if sent >= ATTEMPTS || self.met.len() >= UNREACHABLE {
            return None;
        }
        let left = |may_be_asked: &dyn Fn(&Candidate) -> bool| {
            plan.tiers.iter().find_map(|tier| {
                let left: Vec<Candidate> =
                    tier.candidates.iter().filter(|c| may_be_asked(c)).cloned().collect();
                (!left.is_empty()).then_some(left)
            })
        };
        let mets = |c: &Candidate| {
            let (node, model) = (c.node, c.model.clone());
            self.met.iter().filter(move |met| met.node == node && met.model == model)
        };
        left(&|c| mets(c).next().is_none())
            .or_else(|| left(&|c| mets(c).count() == 1 && mets(c).all(|met| met.may_repeat)))
    }

    pub(super) fn met(&mut self, candidate: &Candidate, words: String, was_sent: bool) {
        let (node, model) = (candidate.node, candidate.model.clone());
        self.met.push(Met { node, model, words, was_sent, may_repeat: false });
    }
}
