//! When the machine that has the model sleeps: it is woken and waited for, woken for the next request, or passed over.

use super::{
    Proxy,
    trip::{LOOKING, Trip},
};
use crate::{
    dialects::Shown,
    live::UnderWay,
    places::{Entered, Held, Left},
    registry::House,
    vigil::Vigil,
    waker::{self, Asking, Choice, Waiting, too_soon_for},
};
use lamplighter_core::{
    fleet::{Fleet, Node},
    mode::Mode,
    node::State,
    operation::Operation,
    refusal::Refusal,
    room::{self, Arrival, WAIT_MS},
    route::{Asleep, Course, RoutePlan, course},
    wake::{Failure, Kind, Outcome, Pass, Verdict, WakePolicy, Who, is_auxiliary_prompt},
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};

/// How long a person may think about whether a machine is woken.
const ASKING: Duration = Duration::from_secs(20);
/// How long a machine that lets requests in may take to be known as up.
const TOLD: Duration = Duration::from_secs(2);
/// A disk that holds the models may come a little after the engine, seconds.
const WITHOUT_MODEL_S: u32 = 10;
/// Largest body in which an order to unload a model is looked for: it says nothing else.
const UNLOAD_BYTES: usize = 4_096;

/// What has been done about the machines that sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Lit {
    /// Nothing yet.
    #[default]
    No,
    /// What there is to do while somebody who is up can answer.
    Yes,
    /// A person was asked, too, and gave no answer.
    Asked,
    /// A person wants it answered elsewhere.
    Declined,
}

impl Proxy {
    /// What a list shows now: a sleeping machine's models where asking for one may wake it.
    #[must_use]
    pub fn shown<'a>(&self, fleet: &'a Fleet) -> Shown<'a> {
        let mode = self.steering.mode();
        let (may_wake, local_only) = (mode != Mode::NoWake, mode == Mode::Local);
        Shown {
            fleet,
            may_wake,
            quiet: self.waker.is_quiet(),
            local_only,
            default: self.waker.default_policy(),
        }
    }
}

impl Trip {
    /// Looks after the machines that sleep. False when the house has changed and the plan must be made anew.
    ///
    /// # Errors
    /// When nobody is up, and nobody can be woken.
    pub(super) async fn light(
        &mut self,
        under_way: &UnderWay,
        house: &Arc<House>,
        plan: &RoutePlan,
    ) -> Result<bool, Refusal> {
        // Those who are up and have failed already are as good as gone.
        let up = self.tries.target_left(plan);
        let is_done = match self.lit {
            Lit::No => false,
            Lit::Yes | Lit::Asked => up.is_some() || self.tries.later(plan).is_some(),
            Lit::Declined => true,
        };
        if plan.asleep.is_empty() || is_done || self.tries.is_over() {
            return Ok(true);
        }
        let verdicts = self.verdicts(&plan.asleep);
        let course = course(up, &plan.asleep, &verdicts);
        if self.is_seen_first(under_way, house, plan, &course).await? {
            return Ok(false);
        }
        match course {
            Course::Answer { wake } => {
                if let Some(at) = wake {
                    self.wake_for_the_next(house, &plan.asleep[at]);
                }
                self.lit = Lit::Yes;
                Ok(true)
            }
            Course::Ask { at } if self.lit != Lit::Asked => self.ask(under_way, house, plan, at).await,
            Course::Ask { at } | Course::Wait { at } => {
                self.wait_for(under_way, house, &plan.asleep[at]).await
            }
            // What those met who are up says more.
            Course::Nobody { .. } if !plan.tiers.is_empty() => Ok(true),
            Course::Nobody { passed } => Err(self.nobody(house, plan, passed)),
        }
    }

    /// Nobody is woken before the first look at it has had its time: it may be up. True when the house is another since then.
    async fn is_seen_first(
        &self,
        under_way: &UnderWay,
        house: &House,
        plan: &RoutePlan,
        course: &Course,
    ) -> Result<bool, Refusal> {
        let (Course::Wait { at } | Course::Ask { at } | Course::Answer { wake: Some(at) }) = course else {
            return Ok(false);
        };
        let mut changes = self.proxy.registry.subscribe();
        let is_unseen = |house: &House| house.fleet.by_id(plan.asleep[*at].node).is_some_and(Node::is_unseen);
        if !is_unseen(house) {
            return Ok(false);
        }
        let seen = timeout_at(self.began + LOOKING, changes.wait_for(|house| !is_unseen(house)));
        tokio::select! {
            seen = seen => match seen {
                Ok(Ok(_)) => Ok(true),
                Ok(Err(_)) => Err(Refusal::ShuttingDown),
                Err(_) => Ok(false),
            },
            () = under_way.cancel_token().cancelled() => Err(self.proxy.requests.why_cancelled()),
        }
    }

    pub(super) fn verdicts(&self, asleep: &[Asleep]) -> Vec<Verdict> {
        let forbidden = self.proxy.steering.mode() == Mode::NoWake;
        self.proxy.waker.verdicts(asleep, self.kind(), forbidden)
    }

    /// What kind of request it is, as far as waking is concerned.
    fn kind(&self) -> Kind {
        let body = &self.call.body;
        if self.call.is_background || is_auxiliary_prompt(body) {
            return Kind::Background;
        }
        let unloads = matches!(self.call.operation, Operation::OllamaChat | Operation::OllamaGenerate)
            && body.len() <= UNLOAD_BYTES
            && is_unload(body);
        if unloads { Kind::Look } else { Kind::of(self.call.operation) }
    }

    /// While somebody waits for the answer, the machine is kept awake as its owner has written. What must not wake one does not
    /// keep one awake either: titles and tags, and what goes by an alias that says `never`.
    pub(super) fn keep_awake(&self, node: &Node, alias: Option<&str>, house: &House) -> Option<Vigil> {
        node.config.keep_awake.as_ref()?;
        let aliases = house.fleet.aliases.iter();
        let never =
            aliases.filter(|it| Some(it.name.as_str()) == alias).any(|it| it.wake == Some(WakePolicy::Never));
        let counts = !never && matches!(self.kind(), Kind::Generate | Kind::Embed);
        counts.then(|| self.proxy.vigils.keep(node)).flatten()
    }

    fn asked_by(&self) -> String {
        waker::asked_by(&self.call.agent, &self.envelope.model)
    }

    fn wake_for_the_next(&self, house: &House, asleep: &Asleep) {
        let node = &house.fleet.nodes[asleep.at];
        // Too soon after the last try is no matter: nobody waits.
        let _ = self.proxy.waker.ask(node, Who::ForTheNext, Some(&asleep.model), Some(self.asked_by()));
    }

    /// Wakes the machine, or joins its wake, and waits for a place there; or until somebody else can serve.
    async fn wait_for(
        &mut self,
        under_way: &UnderWay,
        house: &Arc<House>,
        asleep: &Asleep,
    ) -> Result<bool, Refusal> {
        let Proxy { waker, places, registry, requests, .. } = &*self.proxy;
        let node = &house.fleet.nodes[asleep.at];
        let mut changes = registry.subscribe();
        changes.mark_unchanged();
        let mut waiting = match waker.ask(node, Who::Waiter, Some(&asleep.model), Some(self.asked_by())) {
            Some(Ok(waiting)) => waiting,
            Some(Err(too_soon)) => return Err(too_soon_for(&self.envelope.model, node, &too_soon)),
            // It has lost its [node.wake] just now.
            None => return Ok(false),
        };
        let arrival = Arrival {
            client: self.call.client,
            cost: room::cost(self.call.body.len()),
            seats: vec![asleep.seat.clone()],
            lobby_bytes: Some(self.call.body.len() as u64),
        };
        let mut queued = match places.enter(arrival) {
            Entered::Held(held) => return Ok(self.enters(asleep, held, &mut waiting).await),
            Entered::Full { .. } => return Err(Refusal::LobbyFull { node: node.name().into() }),
            Entered::Queued(queued) => queued,
        };
        under_way.wakes(node.name());
        let mut is_ready = false;
        loop {
            tokio::select! {
                biased;
                () = under_way.cancel_token().cancelled() => return Err(requests.why_cancelled()),
                // Before the places: the door opens also when the wake has failed.
                ended = waiting.ended(), if !is_ready => match ended.as_deref() {
                    None => return Err(Refusal::ShuttingDown),
                    Some(Outcome::Ready { .. }) => {
                        is_ready = true;
                        under_way.waits(queued.ahead());
                    }
                    // It is up: a new plan would only say that nobody has that model.
                    Some(Outcome::Failed(Failure::WithoutModel { .. })) => {
                        let house = registry.house();
                        if self.anybody_else_is_up(&house, asleep) {
                            return Ok(false);
                        }
                        let own = Failure::WithoutModel { model: asleep.model.to_string() };
                        return Err(self.not_there(node, &own, WITHOUT_MODEL_S));
                    }
                    Some(Outcome::Failed(_) | Outcome::Left) => return Ok(false),
                    // A person has ended it: this request is answered elsewhere, or not at all.
                    Some(Outcome::Cancelled) => {
                        let house = registry.house();
                        let sleeps = house.fleet.by_id(asleep.node).is_some_and(Node::sleeps);
                        if !sleeps || self.anybody_else_is_up(&house, asleep) {
                            return Ok(false);
                        }
                        let (model, node) = (self.envelope.model.clone(), node.name().into());
                        let why = "is asleep, and somebody has ended its wake".into();
                        return Err(Refusal::NodeAsleep { model, node, why, retry_s: None });
                    }
                },
                granted = queued.granted() => return match granted {
                    Ok(held) => Ok(self.enters(asleep, held, &mut waiting).await),
                    Err(Left::Displaced { .. }) => Err(Refusal::LobbyFull { node: node.name().into() }),
                    Err(Left::Expired) => {
                        let waited_s = Duration::from_millis(WAIT_MS).as_secs();
                        Err(Refusal::WaitedTooLong { model: self.envelope.model.clone(), waited_s })
                    }
                },
                // The position in the line moves.
                () = tokio::time::sleep(Duration::from_secs(1)), if is_ready => under_way.waits(queued.ahead()),
                changed = changes.changed() => {
                    if changed.is_err() {
                        return Err(Refusal::ShuttingDown);
                    }
                    let house = changes.borrow_and_update().clone();
                    let is_gone_again = is_ready
                        && house.fleet.by_id(asleep.node).is_none_or(|node| !node.state.takes_requests());
                    if is_gone_again || self.somebody_else_is_up(&house, asleep) {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// A place is there: the door opens a moment before everybody has been told that the machine is up, and until then a plan would
    /// still find it asleep.
    async fn enters(&mut self, asleep: &Asleep, held: Held, waiting: &mut Waiting) -> bool {
        let told = tokio::time::timeout(TOLD, waiting.ended()).await;
        if matches!(told.ok().flatten().as_deref(), Some(Outcome::Ready { .. })) {
            self.tries.woken(asleep.node);
            self.kept = Some((asleep.node, held));
        }
        false
    }

    /// Asks a person, where one looks; meanwhile and without an answer it is as under `fallback`.
    async fn ask(
        &mut self,
        under_way: &UnderWay,
        house: &Arc<House>,
        plan: &RoutePlan,
        at: usize,
    ) -> Result<bool, Refusal> {
        let asleep = &plan.asleep[at];
        let node = &house.fleet.nodes[asleep.at];
        let model = (&*self.envelope.model, &*asleep.model);
        let asking = self.proxy.waker.prompt(node.name(), model, &self.call.agent, ASKING);
        let is_shown = asking.as_ref().is_none_or(Asking::is_shown);
        let choice = match asking {
            Some(mut asking) => {
                under_way.waits(0);
                let deadline = Instant::now() + ASKING;
                let mut changes = self.proxy.registry.subscribe();
                loop {
                    tokio::select! {
                        () = under_way.cancel_token().cancelled() => {
                            return Err(self.proxy.requests.why_cancelled());
                        }
                        choice = asking.chosen() => break choice,
                        () = tokio::time::sleep_until(deadline) => break None,
                        changed = changes.changed() => if changed.is_err() {
                            return Err(Refusal::ShuttingDown);
                        }
                    }
                    // Somebody else has woken it meanwhile, or somebody who is up has the model now: there is nothing left to ask.
                    let house = changes.borrow_and_update().clone();
                    let sleeps =
                        house.fleet.by_id(asleep.node).is_some_and(|node| node.state == State::Asleep);
                    let is_settled =
                        !sleeps || plan.tiers.is_empty() && self.somebody_else_is_up(&house, asleep);
                    // A person's own answer stands above what it has brought about.
                    if is_settled && asking.is_open() {
                        return Ok(false);
                    }
                }
            }
            None => None,
        };
        match (choice, self.untried(plan).is_none()) {
            (Some(Choice::Wake), _) => self.wait_for(under_way, house, asleep).await,
            // That was said of another model: this one is asked for now.
            (Some(Choice::Elsewhere), _) if !is_shown => Ok(false),
            (Some(Choice::Elsewhere), _) if plan.tiers.is_empty() => {
                Err(self.nobody(house, plan, Some((at, Pass::Declined))))
            }
            (Some(Choice::Elsewhere), _) => {
                self.lit = Lit::Declined;
                Ok(true)
            }
            (None, true) => self.wait_for(under_way, house, asleep).await,
            (None, false) => {
                self.wake_for_the_next(house, asleep);
                self.lit = Lit::Asked;
                Ok(true)
            }
        }
    }

    /// Nobody is up, and nobody is woken.
    fn nobody(&self, house: &House, plan: &RoutePlan, passed: Option<(usize, Pass)>) -> Refusal {
        let (at, pass) = passed.unwrap_or((0, Pass::Policy));
        let node = &house.fleet.nodes[plan.asleep[at].at];
        self.proxy.waker.refuses(&self.envelope.model, node, pass)
    }

    /// It was woken, and cannot answer.
    fn not_there(&self, node: &Node, failure: &Failure, retry_s: u32) -> Refusal {
        let (model, node) = (self.envelope.model.clone(), node.name().into());
        Refusal::NodeAsleep { model, node, why: failure.words(), retry_s: Some(retry_s) }
    }
}

/// `keep_alive: 0` without a prompt takes a model out of memory (ollama `docs/api.md`, "Unload a model"): nothing to wake for.
fn is_unload(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Order {
        keep_alive: Option<serde_json::Value>,
        prompt: Option<serde_json::Value>,
        messages: Option<Vec<serde_json::Value>>,
    }
    let Ok(order) = serde_json::from_slice::<Order>(body) else { return false };
    let says_zero = match order.keep_alive {
        Some(serde_json::Value::Number(number)) => number.as_f64() == Some(0.0),
        Some(serde_json::Value::String(text)) => matches!(text.trim(), "0" | "0s" | "0m"),
        _ => false,
    };
    let has_prompt = order.prompt.is_some_and(|prompt| prompt.as_str() != Some(""));
    says_zero && !has_prompt && order.messages.is_none_or(|messages| messages.is_empty())
}

#[cfg(test)]
mod tests {
    use super::is_unload;

    #[test]
    fn an_order_to_unload_is_told_from_a_preload() {
        for unload in [
            r#"{"model":"a","keep_alive":0}"#,
            r#"{"model":"a","prompt":"","keep_alive":"0s"}"#,
            r#"{"model":"a","messages":[],"keep_alive":0}"#,
        ] {
            assert!(is_unload(unload.as_bytes()), "{unload}");
        }
        for other in [
            r#"{"model":"a"}"#,
            r#"{"model":"a","keep_alive":"5m"}"#,
            r#"{"model":"a","prompt":"hi","keep_alive":0}"#,
            "not json",
        ] {
            assert!(!is_unload(other.as_bytes()), "{other}");
        }
    }
}
