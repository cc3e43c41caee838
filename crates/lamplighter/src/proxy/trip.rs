//! The way of one request to a node that answers: plan, take a place, send; again with the next candidate.

use super::{
    Arrived, Call, Done, Ended, Proxy,
    lamp::Lit,
    tries::{Again, Tries},
};
use crate::{clock, dialects::envelope::Envelope, live::UnderWay, places::Held, registry::House};
use bytes::Bytes;
use http::Response;
use lamplighter_core::{
    affinity::Home,
    fleet::NodeId,
    last_hope,
    mode::Mode,
    refusal::Refusal,
    route::{self, Ask, Asleep, Candidate, NoRoute, RoutePlan},
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, timeout_at};

/// Time to find out about nodes that have not been asked yet: only in the first moments after the start.
pub(super) const LOOKING: Duration = Duration::from_secs(3);

/// The way of one request to a node that answers.
pub(super) struct Trip {
    pub(super) proxy: Arc<Proxy>,
    pub(super) call: Call,
    pub(super) envelope: Envelope,
    /// When it set out.
    pub(super) began: Instant,
    /// Does the client want a stream?
    pub(super) streams: bool,
    /// What has been tried.
    pub(super) tries: Tries,
    /// Nobody is up, and this request tries the likeliest all the same; what it hears when that fails, too.
    pub(super) hope: Mutex<Option<Refusal>>,
    /// The last error that a node itself gave.
    pub(super) last_error: Option<(Box<Response<Bytes>>, String, Arc<str>)>,
    /// What has been done about machines that sleep.
    pub(super) lit: Lit,
    /// Until when it is found out what has become of a machine that was lost.
    pub(super) known_by: Option<Instant>,
    /// The place that it has waited for while the machine woke.
    pub(super) kept: Option<(NodeId, Held)>,
}

impl Trip {
    pub(super) fn new(proxy: Arc<Proxy>, call: Call, envelope: Envelope, streams: bool) -> Self {
        Self {
            proxy,
            call,
            envelope,
            began: Instant::now(),
            streams,
            tries: Tries::default(),
            hope: Mutex::default(),
            last_error: None,
            lit: Lit::default(),
            known_by: None,
            kept: None,
        }
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
            if !self.light(under_way, &house, &plan).await? {
                continue;
            }
            let kept = self.kept.take().and_then(|(node, held)| {
                let mut candidates = plan.tiers.iter().flat_map(|tier| &tier.candidates);
                candidates
                    .find(|candidate| candidate.node == node)
                    .cloned()
                    .map(|candidate| (Candidate { reason: route::WOKEN, ..candidate }, held))
            });
            let Some(candidates) = self.untried(&plan) else {
                if self.finds_out(under_way, &house, &plan).await? {
                    continue;
                }
                let Some(at) = self.tries.later(&plan) else { return Err(self.give_up()) };
                self.wait_until(at, under_way).await?;
                continue;
            };
            let active = || self.proxy.requests.count();
            let Some(permit) = self.proxy.retries.permit(self.tries.sent(), active) else {
                return Err(self.give_up());
            };
            let (house, candidate, held) = match kept {
                Some((candidate, held)) => (house, candidate, Some(held)),
                None => self.place(under_way, house, candidates).await?,
            };
            let node = &house.fleet.nodes[candidate.at];
            let Some(Some(upstream)) = house.upstreams.get(candidate.at) else {
                let words = format!("{}: there is no way to it", node.name());
                self.tries.met(&candidate, words, false, Again::No);
                continue;
            };
            under_way.sent(node.name(), candidate.model.clone());
            let others = self.others(&house, &plan, &candidate);
            let vigil = self.keep_awake(node, plan.alias.as_deref(), &house);
            match self.send(under_way, node, upstream, &candidate, others).await {
                Ok(opened) => {
                    self.proxy.registry.worked(candidate.node, upstream, &candidate.model);
                    self.proxy.places.succeeded(candidate.node);
                    // What is in memory there has changed, or what we believe of the node is wrong.
                    if others.is_hope || candidate.standing.loaded == Some(false) {
                        self.proxy.registry.look_at(candidate.node);
                    }
                    let node = node.name().to_owned();
                    let stopwatch = self.learn(&house, &candidate, &opened);
                    return Ok(Arrived { candidate, node, held, opened, stopwatch, vigil });
                }
                Err(failed) => {
                    // Nobody holds a place while it waits for something else.
                    drop((held, permit, vigil));
                    self.failed(candidate, node, upstream, failed).await?;
                }
            }
        }
    }

    /// Waits until a node that said "later" may be asked again, or until the house is another.
    async fn wait_until(&self, at: Instant, under_way: &UnderWay) -> Result<(), Refusal> {
        let mut changes = self.proxy.registry.subscribe();
        changes.mark_unchanged();
        under_way.waits(0);
        tokio::select! {
            () = tokio::time::sleep_until(at) => Ok(()),
            () = under_way.cancel_token().cancelled() => Err(self.proxy.requests.why_cancelled()),
            Ok(()) = changes.changed() => Ok(()),
        }
    }

    /// The plan for now. In the first moments nodes may not have been asked yet: then it waits for them, a little.
    pub(super) async fn plan(&self, under_way: &UnderWay) -> Result<(Arc<House>, RoutePlan), Refusal> {
        let mut changes = self.proxy.registry.subscribe();
        let deadline = Instant::now() + LOOKING;
        loop {
            let house = changes.borrow_and_update().clone();
            let home = self.home(&house);
            let ask = self.question(home.as_ref());
            match self.route(&house, ask) {
                Ok(plan) => {
                    self.hopes(None);
                    return Ok((house, plan));
                }
                // Somebody who has it sleeps: what is done about that is the request's own affair.
                Err(no_route)
                    if !no_route.asleep.is_empty() && (!no_route.looking || Instant::now() >= deadline) =>
                {
                    let plan = RoutePlan {
                        alias: None,
                        tiers: vec![],
                        asleep: no_route.asleep,
                        passed_over: no_route.passed_over,
                    };
                    return Ok((house, plan));
                }
                // Somebody was tried and is gone since: what it met is the better answer.
                Err(_) if !self.tries.is_empty() => {
                    let plan = RoutePlan { alias: None, tiers: vec![], asleep: vec![], passed_over: vec![] };
                    return Ok((house, plan));
                }
                Err(no_route) if !no_route.looking => match self.hope(&house, ask) {
                    Some(plan) => {
                        self.hopes(Some(no_route.refusal));
                        return Ok((house, plan));
                    }
                    None => return Err(no_route.refusal),
                },
                Err(no_route) => tokio::select! {
                    changed = timeout_at(deadline, changes.changed()) => match changed {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) => return Err(Refusal::ShuttingDown),
                        Err(_) if !no_route.asleep.is_empty() => {}
                        Err(_) => return Err(no_route.refusal),
                    },
                    () = under_way.cancel_token().cancelled() => return Err(self.proxy.requests.why_cancelled()),
                },
            }
        }
    }

    fn question<'a>(&'a self, home: Option<&'a Home>) -> Ask<'a> {
        Ask {
            pin: self.call.pin.as_deref(),
            local_only: self.proxy.steering.mode() == Mode::Local,
            home,
            wall_ms: clock::wall_ms(),
            ..Ask::new(&self.envelope.model, self.call.operation)
        }
    }

    fn route(&self, house: &House, ask: Ask<'_>) -> Result<RoutePlan, Box<NoRoute>> {
        self.proxy.speeds.with(|speeds, now_ms| {
            let ask = Ask { speeds: Some(speeds), now_ms, ..ask };
            self.proxy.places.with_room(|room| route::plan_among_holders(&house.fleet, room, ask))
        })
    }

    /// Is anybody else up who has one of the alias's models up to that one, and has not been tried?
    pub(super) fn somebody_else_is_up(&self, house: &House, asleep: &Asleep) -> bool {
        self.others_up(house, asleep, asleep.target)
    }

    /// The same for any of the alias's models: for a request whose wait is over.
    pub(super) fn anybody_else_is_up(&self, house: &House, asleep: &Asleep) -> bool {
        self.others_up(house, asleep, usize::MAX)
    }

    fn others_up(&self, house: &House, asleep: &Asleep, last_target: usize) -> bool {
        let Ok(mut plan) = self.route(house, self.question(None)) else { return false };
        plan.tiers.retain(|tier| tier.target <= last_target);
        plan.tiers.iter_mut().for_each(|tier| tier.candidates.retain(|it| it.node != asleep.node));
        plan.tiers.retain(|tier| !tier.candidates.is_empty());
        self.untried(&plan).is_some()
    }

    /// While nobody is up, one request now and then tries the likeliest node: what we believe may be wrong.
    fn hope(&self, house: &House, ask: Ask<'_>) -> Option<RoutePlan> {
        let supposed = last_hope::suppose(&house.fleet, ask)?;
        let plan = self.proxy.places.with_room(|room| route::plan(&supposed, room, ask)).ok()?;
        // On another network its address may be a stranger's: nothing is sent there.
        if plan.tiers.iter().flat_map(|tier| &tier.candidates).any(|c| house.elsewhere.contains(&c.node)) {
            return None;
        }
        self.proxy.retries.may_hope().then_some(plan)
    }

    fn hopes(&self, refusal: Option<Refusal>) {
        *self.hope.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
    }

    /// Whom to ask now: the candidates of the first tier that has any left. `None` when nobody can be asked now.
    pub(super) fn untried(&self, plan: &RoutePlan) -> Option<Vec<Candidate>> {
        self.tries.left(plan)
    }
}
