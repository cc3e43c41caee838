//! Sending a request to one node: how long its silence is borne there, and who is told when it lasts.

use super::trip::Trip;
use crate::{
    attempt::{self, Answer, Bear, Failed, Opened, Sending},
    dialects::envelope,
    live::UnderWay,
    registry::House,
    upstream::Upstream,
};
use lamplighter_core::{
    fleet::Node,
    model,
    node::{Engine, State},
    operation::Lane,
    route::{Candidate, RoutePlan},
};
use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Who else could answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Others {
    /// Somebody who was not asked.
    pub(super) any: bool,
    /// Somebody of them who works as far as known.
    pub(super) healthy: bool,
    /// Nobody is up: this is a try against belief.
    pub(super) is_hope: bool,
}

impl Trip {
    /// Who could answer instead of `chosen`?
    pub(super) fn others(&self, house: &House, plan: &RoutePlan, chosen: &Candidate) -> Others {
        let candidates = plan.tiers.iter().flat_map(|tier| &tier.candidates);
        let is_hope = self.hope.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let mut others = Others { any: false, healthy: false, is_hope };
        for other in candidates.filter(|other| other.node != chosen.node && !self.tries.has_met(other)) {
            // Nodes come and go while a request waits for its place: the plan may be older than the house.
            let Some(node) = house.fleet.by_id(other.node) else { continue };
            others.any = true;
            others.healthy |= node.state == State::Up && !node.suspect;
        }
        others
    }

    /// Sends it, and waits for the answer to begin. Silence is no fault; but when it lasts, a canary looks whether the node
    /// generates anything at all.
    ///
    /// # Errors
    /// [`Failed`], with nothing sent down.
    pub(super) async fn send(
        &self,
        under_way: &UnderWay,
        node: &Node,
        upstream: &Arc<Upstream>,
        candidate: &Candidate,
        others: Others,
    ) -> Result<Opened, Failed> {
        let patience = self.proxy.retries.patience;
        let generates = self.call.operation.lane() == Lane::Generate;
        let listed = node.models.iter().find(|listed| listed.name == *candidate.model);
        let is_resident = listed.is_none_or(|listed| listed.loaded != Some(false));
        let p99_ms = upstream.paces.p99_ms(&candidate.model);
        let prompt = self.call.body.len();
        // An answer in one piece comes when all of it is generated: nobody knows when that should be.
        let first_event = (self.streams && generates && others.healthy || others.is_hope)
            .then(|| Duration::from_millis(patience.first_event(is_resident, p99_ms, prompt)));
        let cap_ms = if node.config.url.is_cloud() { patience.cap_cloud_ms } else { patience.cap_ms };
        let sending = Sending {
            operation: self.call.operation,
            streams: self.streams,
            query: self.call.query.as_deref(),
            headers: &self.call.headers,
            body: envelope::with_model(&self.call.body, &self.envelope, self.name_there(node, candidate)),
            cancel: under_way.cancel_token(),
            has_alternative: others.any,
            bear: Bear {
                first_event,
                has_healthy: others.healthy,
                cap: Duration::from_millis(cap_ms),
                is_hope: others.is_hope,
            },
        };
        let began = Instant::now();
        let mut opening = std::pin::pin!(attempt::open(upstream, sending));
        let silent = Duration::from_millis(patience.silent(p99_ms, prompt));
        let whole = began + Duration::from_millis(patience.whole_ms);
        let mut is_at_work = self.streams || !generates;
        let opened = loop {
            tokio::select! {
                opened = &mut opening => break opened,
                () = tokio::time::sleep(silent), if generates && is_resident => {
                    self.proxy.registry.silent_at_work(candidate.node, upstream, &candidate.model);
                }
                // A stream says soon that all goes well. An answer in one piece says so at its end, which may be minutes away: a node
                // that starts slowly would serve one at a time all that while.
                () = tokio::time::sleep_until(whole), if !is_at_work => {
                    is_at_work = true;
                    self.proxy.places.succeeded(candidate.node);
                }
            }
        };
        if let Ok(Opened { answer: Answer::Judged { .. }, .. }) = &opened
            && is_resident
        {
            upstream.paces.record(&candidate.model, began.elapsed());
        }
        opened
    }

    /// The model's name as it is sent. Ollama knows that `x` is `x:latest` and echoes what it is asked for: there the client's
    /// own word stands. Elsewhere it is the name that the node lists.
    fn name_there<'c>(&'c self, node: &Node, candidate: &'c Candidate) -> &'c str {
        let is_ollama = node.engine == Some(Engine::Ollama);
        // Which of the two it is, routing has decided: the candidate's is the model that was meant.
        let whole = self.envelope.model.as_str();
        let mut asked = [whole, model::split_pin(whole).0].into_iter().filter(|_| is_ollama);
        asked.find(|asked| model::key(asked) == model::key(&candidate.model)).unwrap_or(&candidate.model)
    }
}
