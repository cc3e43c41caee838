//! The one path of a request, from the envelope to the last byte of the answer.

mod early;

use crate::{
    answer::{self, Reply},
    attempt::{self, Failed, Opened, Sending},
    dialects::{
        envelope::{self, Envelope},
        heartbeat::{self, Heartbeat},
    },
    live::{Arrival, Outcome, Requests, UnderWay},
    meter::{Holding, Metered},
    places::{Entered, Held, Places},
    registry::{House, Registry},
    steering::Steering,
};
use bytes::Bytes;
use early::Early;
use http::{HeaderMap, Response};
use lamplighter_core::{
    fleet::NodeId,
    mode::Mode,
    model,
    node::Engine,
    operation::{Dialect, Lane, Operation},
    refusal::Refusal,
    room::Client,
    route::{self, Ask, Candidate, RoutePlan},
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};

/// Time in the waiting room.
const WAIT: Duration = Duration::from_secs(120);
/// Time to find out about nodes that have not been asked yet: only in the first moments after the start.
const LOOKING: Duration = Duration::from_secs(3);
/// Nodes that a request is really sent to, at most. Each is another one.
const ATTEMPTS: usize = 3;
/// Nodes that could not even be reached do not count as attempts; this bounds them.
const UNREACHABLE: usize = 16;

/// A request as it comes through the door.
#[derive(Debug)]
pub struct Call {
    /// What is asked for.
    pub operation: Operation,
    /// The request's id.
    pub id: String,
    /// Who asks, for places.
    pub client: Client,
    /// The program that asks, for eyes.
    pub agent: String,
    /// The node that the request's own header pins it to.
    pub pin: Option<String>,
    /// The query, without its `?`.
    pub query: Option<String>,
    /// Headers that may go up to a node.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// What serving needs.
#[derive(Debug)]
pub struct Proxy {
    /// Knows the nodes.
    pub registry: Registry,
    /// Gives out places.
    pub places: Arc<Places>,
    /// Knows what is under way.
    pub requests: Arc<Requests>,
    /// Knows the routing mode.
    pub steering: Arc<Steering>,
}

/// Serves one request. Refusals are dressed in the caller's dialect.
pub async fn serve(proxy: &Arc<Proxy>, call: Call) -> Reply {
    let (operation, dialect) = (call.operation, call.operation.dialect());
    if let Some(left_ms) = proxy.steering.pause_left_ms() {
        let left_s = left_ms.map(|left_ms| left_ms.div_ceil(1000));
        return answer::refuse(dialect, &Refusal::Paused { left_s }, &call.id);
    }
    let envelope = match envelope::read(&call.body, model_fields(operation)) {
        Ok(envelope) => envelope,
        Err(refusal) => return answer::refuse(dialect, &refusal, &call.id),
    };
    let stream = envelope.stream.unwrap_or(operation.streams_by_default());
    let under_way = proxy.requests.begin(Arrival {
        id: call.id.clone(),
        client: call.agent.clone(),
        operation,
        model: envelope.model.clone(),
        stream,
    });
    let heartbeat = if stream { Heartbeat::of(operation, &envelope.model) } else { None };
    let id = call.id.clone();
    let trip = Trip { proxy: proxy.clone(), call, envelope, met: Vec::new(), last_error: None };
    let mut trip = Box::pin(trip.go(under_way));
    let Some(heartbeat) = heartbeat else { return trip.await.reply(dialect, &id, None) };
    match tokio::time::timeout(heartbeat::EVERY, &mut trip).await {
        Ok(done) => done.reply(dialect, &id, Some(heartbeat)),
        Err(_) => answer::early(dialect, Early::new(trip, dialect, heartbeat), &id),
    }
}

/// The names that the model may have in the body. Old Ollama clients say `name` to `/api/show` (ollama `api/types.go`).
fn model_fields(operation: Operation) -> &'static [&'static str] {
    match operation {
        Operation::OllamaShow => &["model", "name"],
        _ => &["model"],
    }
}

/// The way of one request to a node that answers.
struct Trip {
    proxy: Arc<Proxy>,
    call: Call,
    envelope: Envelope,
    /// What each node that was tried met, in order.
    met: Vec<Met>,
    /// The last error that a node itself gave.
    last_error: Option<(Box<Response<Bytes>>, String, Arc<str>)>,
}

struct Met {
    node: NodeId,
    model: Arc<str>,
    words: String,
    was_sent: bool,
    /// It was a broken connection, perhaps a stale one: with nobody else left, the node is asked once more.
    may_repeat: bool,
}

struct Arrived {
    candidate: Candidate,
    node: String,
    held: Option<Held>,
    opened: Opened,
}

enum Ended {
    /// We say no.
    Refused(Refusal),
    /// The node's own error is the answer.
    NodeSaid { response: Box<Response<Bytes>>, node: String, model: Arc<str> },
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A trip that has ended, one way or the other.
struct Done {
    under_way: UnderWay,
    result: Result<Arrived, Ended>,
}

impl Done {
    /// The answer, when nothing has gone down yet.
    fn reply(self, dialect: Dialect, id: &str, heartbeat: Option<Heartbeat>) -> Reply {
        match self.result {
            Ok(mut arrived) => {
                let head = std::mem::take(&mut arrived.opened.head.headers);
                let (status, node) = (arrived.opened.head.status, arrived.node.clone());
                let candidate = arrived.candidate.clone();
                let body = arrived.into_body(self.under_way, dialect, heartbeat);
                answer::from_node(status, &head, body, &node, &candidate, id)
            }
            Err(Ended::Refused(refusal)) => {
                let is_wish = refusal == Refusal::Cancelled;
                self.under_way.ends(if is_wish { Outcome::Cancelled } else { Outcome::Failed });
                answer::refuse(dialect, &refusal, id)
            }
            Err(Ended::NodeSaid { response, node, model }) => {
                self.under_way.ends(Outcome::Answered);
                answer::error_from_node(*response, &node, &model, id)
            }
        }
    }
}

impl Arrived {
    /// The way down: everything that the request holds is given back when it is dropped.
    fn into_body(self, under_way: UnderWay, dialect: Dialect, heartbeat: Option<Heartbeat>) -> Metered {
        let Opened { answer, ends, open, .. } = self.opened;
        let holding = Holding { under_way, place: self.held, open };
        Metered::new(answer, dialect, self.node, ends.cut, holding, heartbeat)
    }
}

impl Trip {
    async fn go(mut self, under_way: UnderWay) -> Done {
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
                    return Ok(Arrived { candidate, node, held, opened });
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
    async fn plan(&self, under_way: &UnderWay) -> Result<(Arc<House>, RoutePlan), Refusal> {
        let mut changes = self.proxy.registry.subscribe();
        let deadline = Instant::now() + LOOKING;
        loop {
            let house = changes.borrow_and_update().clone();
            let ask = Ask {
                model: &self.envelope.model,
                pin: self.call.pin.as_deref(),
                operation: self.call.operation,
                local_only: self.proxy.steering.mode() == Mode::Local,
            };
            let planned =
                self.proxy.places.with_room(|room| route::plan_among_holders(&house.fleet, room, ask));
            match planned {
                Ok(plan) => return Ok((house, plan)),
                // Somebody was tried and is gone since: what it met is the better answer.
                Err(_) if !self.met.is_empty() => {
                    let plan = RoutePlan { alias: None, tiers: vec![], passed_over: vec![] };
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
    fn untried(&self, plan: &RoutePlan) -> Option<Vec<Candidate>> {
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

    /// Takes a place at one of the candidates, or waits for one. While it waits, nodes may come and go: the line is kept.
    async fn place(
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

    fn met(&mut self, candidate: &Candidate, words: String, was_sent: bool) {
        let (node, model) = (candidate.node, candidate.model.clone());
        self.met.push(Met { node, model, words, was_sent, may_repeat: false });
    }

    /// Notes a failed attempt, and tells the registry what it shows about the node.
    ///
    /// # Errors
    /// When the request ends here: the node's own error is the answer, or it was cancelled.
    fn failed(&mut self, candidate: Candidate, node: String, failed: Failed) -> Result<(), Ended> {
        let registry = &self.proxy.registry;
        let may_repeat = matches!(failed, Failed::Broke(_));
        let (words, was_sent) = match failed {
            Failed::NoConnection(how) => {
                registry.suspect(candidate.node);
                (how, false)
            }
            Failed::Broke(how) | Failed::Unreachable(how) => {
                registry.suspect(candidate.node);
                (how, true)
            }
            Failed::Gone => ("it stopped answering".to_owned(), true),
            Failed::Empty => ("it answered with nothing".to_owned(), true),
            Failed::Refused(status) => {
                registry.suspect(candidate.node);
                (format!("it refuses us ({}): check its api_key", status.as_u16()), false)
            }
            Failed::Drift(response) => {
                registry.drifted(candidate.node, &candidate.model);
                self.last_error = Some((response, node.clone(), candidate.model.clone()));
                ("it does not have the model any more".to_owned(), false)
            }
            Failed::Error(response) if attempt::is_worth_another(response.status()) => {
                let words = format!("it answered {}", response.status().as_u16());
                self.last_error = Some((response, node.clone(), candidate.model.clone()));
                (words, true)
            }
            Failed::Error(response) => {
                return Err(Ended::NodeSaid { response, node, model: candidate.model });
            }
            Failed::Cancelled => return Err(self.proxy.requests.why_cancelled().into()),
        };
        tracing::info!(request = self.call.id, node, words, "attempt failed");
        self.met(&candidate, format!("{node}: {words}"), was_sent);
        if let Some(met) = self.met.last_mut() {
            met.may_repeat = may_repeat;
        }
        Ok(())
    }

    /// All has been tried: the last node's own error, or what each one met.
    fn give_up(&mut self) -> Ended {
        match self.last_error.take() {
            Some((response, node, model)) => Ended::NodeSaid { response, node, model },
            None => Ended::Refused(Refusal::AllFailed {
                model: self.envelope.model.clone(),
                attempts: self.met.iter().map(|met| met.words.clone()).collect(),
            }),
        }
    }
}
