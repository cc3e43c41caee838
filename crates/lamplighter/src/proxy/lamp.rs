//! When the machine that has the model sleeps: it is woken and waited for, woken for the next request, or passed over.

use super::{Proxy, trip::Trip};
use crate::{
    dialects::Shown,
    live::UnderWay,
    places::{Entered, Held, Left},
    registry::House,
    vigil::Vigil,
    waker::{Choice, Waiting, too_soon_for},
};
use lamplighter_core::{
    fleet::{Fleet, Node},
    mode::Mode,
    operation::Operation,
    refusal::Refusal,
    room::{self, Arrival, WAIT_MS},
    route::{Asleep, Course, RoutePlan, course},
    wake::{Kind, Outcome, Pass, Verdict, WakePolicy, Who, is_auxiliary_prompt},
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long a person may think about whether a machine is woken.
const ASKING: Duration = Duration::from_secs(20);
/// How long a machine that lets requests in may take to be known as up.
const TOLD: Duration = Duration::from_secs(2);
/// Largest body in which an order to unload a model is looked for: it says nothing else.
const UNLOAD_BYTES: usize = 4_096;

impl Proxy {
    /// What a list shows now: a sleeping machine's models where asking for one may wake it.
    #[must_use]
    pub fn shown<'a>(&self, fleet: &'a Fleet) -> Shown<'a> {
        let may_wake = self.steering.mode() != Mode::NoWake;
        Shown { fleet, may_wake, default: self.waker.default_policy() }
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
        if plan.asleep.is_empty() || self.is_lit {
            return Ok(true);
        }
        let verdicts = self.verdicts(&plan.asleep);
        // Those who are up and have failed already are as good as gone.
        let up = self.untried(plan).and(plan.tiers.first()).map(|tier| tier.target);
        match course(up, &plan.asleep, &verdicts) {
            Course::Answer { wake } => {
                if let Some(at) = wake {
                    self.wake_for_the_next(house, &plan.asleep[at]);
                }
                self.is_lit = true;
                Ok(true)
            }
            Course::Ask { at } => self.ask(under_way, house, plan, at).await,
            Course::Wait { at } => self.wait_for(under_way, house, &plan.asleep[at]).await,
            Course::Nobody { passed } => Err(self.nobody(house, plan, passed)),
        }
    }

    fn verdicts(&self, asleep: &[Asleep]) -> Vec<Verdict> {
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
        format!("{} for {}", self.call.agent, self.envelope.model)
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
                granted = queued.granted() => return match granted {
                    Ok(held) => Ok(self.enters(asleep, held, &mut waiting).await),
                    Err(Left::Displaced { .. }) => Err(Refusal::LobbyFull { node: node.name().into() }),
                    Err(Left::Expired) => {
                        let waited_s = Duration::from_millis(WAIT_MS).as_secs();
                        Err(Refusal::WaitedTooLong { model: self.envelope.model.clone(), waited_s })
                    }
                },
                ended = waiting.ended(), if !is_ready => match ended.as_deref() {
                    None => return Err(Refusal::ShuttingDown),
                    Some(Outcome::Ready { .. }) => {
                        is_ready = true;
                        under_way.waits(queued.ahead());
                    }
                    Some(Outcome::Failed(_) | Outcome::Left) => return Ok(false),
                    // A person has ended it: this request is answered elsewhere, or not at all.
                    Some(Outcome::Cancelled) => return Ok(false),
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
        let asking = self.proxy.waker.prompt(node.name(), &self.envelope.model, &self.call.agent, ASKING);
        let choice = match asking {
            Some(mut asking) => {
                under_way.waits(0);
                let deadline = Instant::now() + ASKING;
                tokio::select! {
                    () = under_way.cancel_token().cancelled() => return Err(self.proxy.requests.why_cancelled()),
                    choice = asking.chosen() => choice,
                    () = tokio::time::sleep_until(deadline) => None,
                }
            }
            None => None,
        };
        match (choice, plan.tiers.is_empty()) {
            (Some(Choice::Wake), _) => self.wait_for(under_way, house, asleep).await,
            (Some(Choice::Elsewhere), false) => {
                self.is_lit = true;
                Ok(true)
            }
            (Some(Choice::Elsewhere), true) => Err(self.nobody(house, plan, Some((at, Pass::Policy)))),
            (None, true) => self.wait_for(under_way, house, asleep).await,
            (None, false) => {
                self.wake_for_the_next(house, asleep);
                self.is_lit = true;
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
