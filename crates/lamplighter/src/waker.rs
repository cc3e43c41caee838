//! Runs `core::wake`: one wake per node, joined by all who want it awake.
//!
//! The state machine decides, this carries out: packets go by the courier, looks by the registry, history to the store. Every
//! call is instant; a tracked task per wake keeps its time.

mod courier;
mod follow;
pub mod learning;
mod prompts;
mod record;
mod verdicts;

pub use courier::{Call, Courier, Known};
pub use prompts::{Asking, Choice, Prompts};
pub use verdicts::too_soon_for;

use crate::{
    clock,
    places::Places,
    registry::{House, Registry},
    store::Store,
};
use lamplighter_core::{
    config::{WakeConfig, WakeRules},
    fleet::{Node, NodeId},
    node::{Stage, State},
    wake::{
        Asked, Condition, Effect, Event, Failure, Outcome, Progress, Sight, TooSoon, Wake, WakePolicy, Who,
    },
};
use record::Record;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Past wakes that the estimate is taken from.
const PAST: u32 = 20;
/// Models that one wake is for, at most: of more, those who ask for one of the others are told by a new plan.
const MODELS: usize = 64;

/// What a waker is made of.
#[derive(Debug)]
pub struct Parts {
    /// Knows the nodes and looks at them.
    pub registry: Registry,
    /// Sends the packets.
    pub courier: Arc<Courier>,
    /// What the file says of waking.
    pub rules: watch::Receiver<WakeRules>,
    /// Questions to a person.
    pub prompts: Arc<Prompts>,
    /// The places on the nodes: shut while one sleeps.
    pub places: Arc<Places>,
    /// Keeps past wakes.
    pub store: Option<Store>,
    /// Told when something has changed that eyes would see.
    pub changed: Arc<Notify>,
    /// Tracks what is spawned.
    pub tasks: TaskTracker,
    /// Ends it.
    pub stop: CancellationToken,
}

/// Wakes machines.
#[derive(Debug)]
pub struct Waker {
    parts: Parts,
    sleepers: Mutex<HashMap<NodeId, Sleeper>>,
    has_audience: AtomicBool,
}

/// One node that can be woken.
#[derive(Debug)]
struct Sleeper {
    wake: Wake,
    running: Option<Running>,
    /// What is written down of the wake that everybody has left: it may be taken up again.
    left: Option<Record>,
    /// How long earlier wakes took has come from the store.
    knows_past: bool,
    /// When the last failure was, milliseconds since 1970.
    failed_ms: Option<u64>,
}

/// A wake under way.
#[derive(Debug)]
struct Running {
    /// The models that it is for, each once; `None` when whatever the node has will do.
    models: Option<Vec<String>>,
    record: Record,
    ended: watch::Sender<Option<Arc<Outcome>>>,
}

/// What eyes see of a node's waking.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The wake under way.
    pub progress: Option<Progress>,
    /// Who began it: a program and its model; `None` when a person did.
    pub asked_by: Option<String>,
    /// When it began, milliseconds since 1970.
    pub started_ms: Option<u64>,
    /// How the last one failed, until another one begins or the node is up.
    pub failure: Option<Failure>,
    /// When that was, milliseconds since 1970.
    pub failed_ms: Option<u64>,
    /// How long it usually takes, milliseconds.
    pub eta_ms: Option<u64>,
}

impl Waker {
    /// Nothing is waking. How long earlier wakes took comes from the store.
    pub async fn start(parts: Parts) -> Arc<Self> {
        let waker =
            Arc::new(Self { parts, sleepers: Mutex::default(), has_audience: AtomicBool::new(false) });
        waker.meet(&waker.parts.registry.house()).await;
        waker.parts.tasks.spawn(waker.clone().follow());
        waker
    }

    /// Somebody wants the node awake: a wake begins, or the one under way is joined. `model` is what it is for; `asked_by` says
    /// who asks, for people. `None` when the node cannot be woken.
    ///
    /// # Errors
    /// When a request comes too soon after an earlier try.
    pub fn ask(
        self: &Arc<Self>,
        node: &Node,
        who: Who,
        model: Option<&str>,
        asked_by: Option<String>,
    ) -> Option<Result<Waiting, TooSoon>> {
        let config = node.config.wake.clone()?;
        let house = self.parts.registry.house();
        let mut sleepers = self.lock();
        let sleeper = sleepers.entry(node.id).or_insert_with(|| Sleeper::new(config.timeout_ms));
        sleeper.wake.set_timeout(config.timeout_ms);
        let is_loading = sleeper.running.is_none() && is_loading(&house, node.id);
        let now_ms = clock::mono_ms();
        let (asked, effects) =
            if is_loading { sleeper.wake.attend(who, now_ms) } else { sleeper.wake.ask(who, now_ms) };
        match asked {
            Asked::TooSoon(too_soon) => return Some(Err(too_soon)),
            Asked::Joined => {}
            Asked::Begun | Asked::Resumed => {
                let left = sleeper.left.take().filter(|_| asked == Asked::Resumed);
                let record = match left {
                    Some(left) => left.resumed(),
                    None if is_loading => Record::unwritten(node.name(), who, asked_by),
                    None => Record::new(node.name(), who, asked_by),
                };
                tracing::info!(
                    node = node.name(),
                    asked_by = record.asked_by().unwrap_or("a person"),
                    "{}",
                    if is_loading { "waiting for its engine" } else { "waking" }
                );
                let models = model.is_some().then(Vec::new);
                sleeper.running = Some(Running { models, record, ended: watch::Sender::new(None) });
                self.parts.places.shut(node.id);
                self.parts.tasks.spawn(self.clone().keep_time(node.id));
            }
        }
        let running = sleeper.running.as_mut()?;
        if let (Some(models), Some(model)) = (&mut running.models, model)
            && models.len() < MODELS
            && models.iter().all(|it| it != model)
        {
            models.push(model.to_owned());
        }
        let ended = running.ended.subscribe();
        self.carry_out(node.id, sleeper, effects);
        drop(sleepers);
        Some(Ok(Waiting { waker: self.clone(), node: node.id, ended, counts: who == Who::Waiter }))
    }

    /// A person ends the wake under way. False when there is none.
    pub fn cancel(self: &Arc<Self>, node: NodeId) -> bool {
        let was_running = self.lock().get(&node).is_some_and(|sleeper| sleeper.running.is_some());
        self.on(node, Event::Cancelled);
        was_running
    }

    /// What a request meets at this node while it sleeps.
    #[must_use]
    pub fn condition(&self, node: NodeId, quiet: bool) -> Condition {
        let sleepers = self.lock();
        let unasked = if quiet { Condition::Quiet } else { Condition::Asleep };
        sleepers.get(&node).map_or(unasked, |sleeper| sleeper.wake.condition(quiet, clock::mono_ms()))
    }

    /// Why no request may start a wake now.
    #[must_use]
    pub fn too_soon(&self, node: NodeId) -> Option<TooSoon> {
        self.lock().get(&node)?.wake.too_soon(clock::mono_ms())
    }

    /// What eyes see of a node's waking.
    #[must_use]
    pub fn seen(&self, node: NodeId) -> Option<Seen> {
        let sleepers = self.lock();
        let sleeper = sleepers.get(&node)?;
        let running = sleeper.running.as_ref();
        Some(Seen {
            progress: sleeper.wake.progress(clock::mono_ms()),
            asked_by: running.and_then(|running| running.record.asked_by().map(str::to_owned)),
            started_ms: running.map(|running| running.record.started_ms()),
            failure: sleeper.wake.last_failure().cloned(),
            failed_ms: sleeper.failed_ms,
            eta_ms: sleeper.wake.eta_ms(),
        })
    }

    /// The policy for requests that name no alias with one of its own.
    #[must_use]
    pub fn default_policy(&self) -> WakePolicy {
        self.parts.rules.borrow().default
    }

    /// Are these quiet hours, by this computer's own clock?
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let quiet = self.parts.rules.borrow().quiet_hours;
        quiet.is_some_and(|hours| hours.contains(clock::minute_of_day()))
    }

    /// Asks a person whether to wake that node for a model, as it was asked for and as the node calls it. `None` when nobody looks who could answer.
    #[must_use]
    pub fn prompt(
        &self,
        node: &str,
        model: (&str, &str),
        client: &str,
        for_long: Duration,
    ) -> Option<Asking> {
        if !self.has_audience.load(Relaxed) {
            return None;
        }
        let asking = self.parts.prompts.ask(node, model, client, for_long);
        self.parts.changed.notify_one();
        Some(asking)
    }

    /// Questions to a person.
    #[must_use]
    pub fn prompts(&self) -> &Prompts {
        &self.parts.prompts
    }

    /// Whether somebody looks at what this gateway tells.
    pub fn audience(&self, is_there: bool) {
        self.has_audience.store(is_there, Relaxed);
    }

    /// Who sends the packets, and knows what is needed for that.
    #[must_use]
    pub fn courier(&self) -> &Arc<Courier> {
        &self.parts.courier
    }

    /// Is anything waking?
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.lock().values().any(|sleeper| sleeper.running.is_some())
    }

    /// Keeps the time of one wake, and tells it what is seen of its node.
    async fn keep_time(self: Arc<Self>, node: NodeId) {
        let mut changes = self.parts.registry.subscribe();
        loop {
            let house = changes.borrow_and_update().clone();
            self.see(&house, node);
            let Some(next_ms) = self.lock().get(&node).and_then(|sleeper| sleeper.wake.next_ms()) else {
                return;
            };
            let at = Instant::now() + Duration::from_millis(next_ms.saturating_sub(clock::mono_ms()));
            tokio::select! {
                () = self.parts.stop.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(at) => self.on(node, Event::Tick),
            }
        }
    }

    /// Tells a wake under way what is to be seen of its node now.
    fn see(self: &Arc<Self>, house: &House, node: NodeId) {
        let sight = {
            let sleepers = self.lock();
            let Some(running) = sleepers.get(&node).and_then(|sleeper| sleeper.running.as_ref()) else {
                return;
            };
            sight(house, node, running.models.as_deref())
        };
        match sight {
            Ok(Some(sight)) => self.on(node, Event::Seen(sight)),
            Ok(None) => {}
            // The node has left the configuration, or we have left its network.
            Err(()) => self.on(node, Event::Cancelled),
        }
    }

    fn on(self: &Arc<Self>, node: NodeId, event: Event) {
        let mut sleepers = self.lock();
        let Some(sleeper) = sleepers.get_mut(&node) else { return };
        let effects = sleeper.wake.on(event, clock::mono_ms());
        self.carry_out(node, sleeper, effects);
    }

    /// With the lock held, so that who comes while a wake ends meets either the whole of it or the next one. Everything here is
    /// instant, and nothing of it asks the waker.
    fn carry_out(self: &Arc<Self>, node: NodeId, sleeper: &mut Sleeper, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { round } => {
                    self.note(sleeper, |record| record.round(round));
                    self.call(node, round);
                }
                Effect::Look => {
                    self.parts.registry.look_at(node);
                    self.listen(node, sleeper);
                }
                Effect::Stage(stage) => {
                    self.parts.registry.waking(node, Some(stage));
                    self.note(sleeper, |record| record.stage(stage));
                }
                Effect::Ended(outcome) => self.ended(node, sleeper, outcome),
            }
            self.parts.changed.notify_one();
        }
    }

    /// Looks whether its card has answered since the wake began, until anything has: a machine whose ports are all silent is told from
    /// one that is off.
    fn listen(self: &Arc<Self>, node: NodeId, sleeper: &Sleeper) {
        let stage = sleeper.wake.progress(clock::mono_ms()).map(|progress| progress.stage);
        let (Some(running), Some(Stage::Packet)) = (&sleeper.running, stage) else { return };
        let within = Duration::from_millis(running.record.since_ms());
        let Some(url) = self.parts.registry.house().fleet.by_id(node).map(|it| it.config.url.clone()) else {
            return;
        };
        let waker = self.clone();
        self.parts.tasks.spawn(async move {
            if waker.parts.courier.hears_card(&url, within).await {
                waker.on(node, Event::Seen(Sight::Card));
            }
        });
    }

    /// Sends one round of packets.
    fn call(self: &Arc<Self>, node: NodeId, round: u32) {
        let house = self.parts.registry.house();
        let Some(there) = house.fleet.by_id(node).filter(|_| !house.elsewhere.contains(&node)) else {
            return;
        };
        let Some(config) = there.config.wake.clone() else { return };
        let call = Call { node: there.name().to_owned(), url: there.config.url.clone(), config };
        let (waker, courier) = (self.clone(), self.parts.courier.clone());
        self.parts.tasks.spawn(async move {
            let sent = tokio::select! {
                biased;
                () = waker.parts.stop.cancelled() => return,
                sent = courier.send(&call) => sent,
            };
            let event = match sent {
                Ok(places) => Event::Sent(places),
                Err(why) => Event::NotSent(why),
            };
            tracing::debug!(node = call.node, round, ?event, "wake packets");
            waker.on(node, event);
        });
    }

    fn ended(&self, node: NodeId, sleeper: &mut Sleeper, outcome: Outcome) {
        self.parts.registry.waking(node, None);
        if matches!(outcome, Outcome::Failed(_)) {
            sleeper.failed_ms = Some(clock::wall_ms());
        }
        let Some(mut running) = sleeper.running.take() else { return };
        running.record.ended(&outcome, self.parts.store.as_ref());
        match &outcome {
            Outcome::Ready { took_ms, .. } => tracing::info!(node = running.record.node(), took_ms, "awake"),
            Outcome::Failed(failure) => {
                tracing::warn!(node = running.record.node(), "not woken: it {}", failure.words());
            }
            Outcome::Left => tracing::info!(node = running.record.node(), "not woken: nobody waits any more"),
            Outcome::Cancelled => {
                tracing::info!(node = running.record.node(), "not woken: somebody ended it")
            }
        }
        sleeper.left = (outcome == Outcome::Left).then_some(running.record);
        running.ended.send_replace(Some(Arc::new(outcome)));
        // Whoever still waits there has been told; whoever comes later finds an open door, also when the machine was woken by hand.
        self.parts.places.open(node);
    }

    fn note(&self, sleeper: &mut Sleeper, note: impl FnOnce(&mut Record)) {
        if let Some(running) = &mut sleeper.running {
            note(&mut running.record);
            running.record.keep(self.parts.store.as_ref());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Sleeper>> {
        // A panic while holding the lock must not stop waking: every change is complete or absent.
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to be seen of a node now. `Err` when it is not to be woken from here any more.
fn sight(house: &House, node: NodeId, models: Option<&[String]>) -> Result<Option<Sight>, ()> {
    let node = house.fleet.by_id(node).filter(|_| !house.elsewhere.contains(&node)).ok_or(())?;
    if node.config.wake.is_none() {
        return Err(());
    }
    Ok(match node.state {
        State::Up | State::Degraded => {
            let lists = |model: &String| node.models.iter().any(|listed| listed.answers_to(model));
            Some(match models {
                // One is enough: the disk is there, and who wants another one is told by the next plan.
                Some(models) if !models.iter().any(lists) => {
                    Sight::Without(models.first().cloned().unwrap_or_default())
                }
                Some(_) | None => Sight::Ready,
            })
        }
        // It is awake; that it refuses us is said to whoever asks it.
        State::Refusing => Some(Sight::Ready),
        State::Waking(Stage::Loading) => Some(Sight::Loading),
        // What was seen before the wake is forgotten with its beginning. This computer's own ports always refuse: behind them may be
        // a tunnel, and they say nothing of the machine at its end.
        State::Waking(_) if node.reachable && !node.config.url.is_loopback() => Some(Sight::Reachable),
        _ => None,
    })
}

/// Does its engine answer that it is loading? Then the machine is awake.
fn is_loading(house: &House, node: NodeId) -> bool {
    let state = house.fleet.by_id(node).map(|node| node.state);
    state == Some(State::Waking(Stage::Loading)) && !house.elsewhere.contains(&node)
}

/// Somebody who wants a node awake. Who waits leaves on drop; the last to leave ends the wake.
#[derive(Debug)]
pub struct Waiting {
    waker: Arc<Waker>,
    node: NodeId,
    ended: watch::Receiver<Option<Arc<Outcome>>>,
    counts: bool,
}

impl Waiting {
    /// Waits for the end of the wake. Cancel-safe. `None` when the gateway ends.
    pub async fn ended(&mut self) -> Option<Arc<Outcome>> {
        let outcome = match self.ended.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        // From here on there is nothing to leave.
        self.counts = false;
        outcome
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.counts && self.ended.borrow().is_none() {
            // It may leave because the node is up, before the wake has been told: then it was woken, and not left.
            self.waker.see(&self.waker.parts.registry.house(), self.node);
            self.waker.on(self.node, Event::Left);
        }
    }
}

/// Who asks for a wake, for people.
#[must_use]
pub fn asked_by(client: &str, model: &str) -> String {
    format!("{client} for {model}")
}

/// How a node is woken, as its owner wrote it.
#[must_use]
pub fn can_wake(node: &Node) -> Option<&WakeConfig> {
    node.config.wake.as_ref()
}
