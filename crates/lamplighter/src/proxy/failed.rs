//! What a failed attempt shows about the node, and what is left to say when all has failed.

use super::{Ended, tries::Again, trip::Trip};
use crate::{
    attempt::{self, Failed},
    clock,
    upstream::Upstream,
};
use bytes::Bytes;
use http::{Response, header};
use lamplighter_core::{
    budget,
    fleet::Node,
    refusal::Refusal,
    route::{self, Candidate},
};
use std::{sync::PoisonError, time::Duration};
use tokio::time::Instant;

/// A node that says that it is busy, and not for how long, is passed over for this long.
const BUSY_MS: u64 = 1_000;

impl Trip {
    /// Notes a failed attempt, and tells the registry what it shows about the node.
    ///
    /// # Errors
    /// When the request ends here: the node's own error is the answer, or it was cancelled.
    pub(super) async fn failed(
        &mut self,
        candidate: Candidate,
        node: &Node,
        upstream: &Upstream,
        failed: Failed,
    ) -> Result<(), Ended> {
        let registry = &self.proxy.registry;
        let name = node.name();
        if let Some(what) = failed.at_work() {
            registry.failed_at_work(candidate.node, upstream, &what);
        }
        let (words, was_sent, again) = match failed {
            Failed::NoConnection(how) => {
                registry.suspect(candidate.node);
                (how, false, Again::Lost)
            }
            Failed::Broke(how) => {
                registry.suspect(candidate.node);
                (how, true, Again::Once)
            }
            Failed::Unreachable(how) => {
                registry.suspect(candidate.node);
                (how, true, Again::Lost)
            }
            Failed::Gone => ("it stopped answering".to_owned(), true, Again::Lost),
            Failed::Silent(after) => {
                registry.silent_at_work(candidate.node, upstream, &candidate.model);
                (format!("it sent nothing in {} s", after.as_secs()), true, Again::No)
            }
            Failed::Gray => ("it generates nothing".to_owned(), true, Again::No),
            Failed::Empty => ("it answered with nothing".to_owned(), true, Again::No),
            Failed::Refused(response) => {
                let (words, again) = self.refused(&candidate, node, upstream, *response);
                (words, false, again)
            }
            Failed::Drift(response) => {
                registry.drifted(candidate.node, &candidate.model);
                self.last_error = Some((response, name.to_owned(), candidate.model.clone()));
                ("it does not have the model any more".to_owned(), false, Again::No)
            }
            Failed::OutOfMemory(response) => {
                let is_first = !self.tries.has_met(&candidate);
                let again = if is_first && registry.make_room(candidate.node, &candidate.model).await {
                    Again::First
                } else {
                    let why = "cannot load it: out of memory".to_owned();
                    registry.blocked(candidate.node, &candidate.model, why);
                    Again::No
                };
                self.last_error = Some((response, name.to_owned(), candidate.model.clone()));
                ("it is out of memory".to_owned(), true, again)
            }
            Failed::Error(response) if attempt::is_worth_another(response.status()) => {
                let words = format!("it answered {}", response.status().as_u16());
                let again = self.later(&candidate, &response);
                self.last_error = Some((response, name.to_owned(), candidate.model.clone()));
                (words, true, again)
            }
            Failed::Error(response) => {
                let node = name.to_owned();
                return Err(Ended::NodeSaid { response, node, model: candidate.model });
            }
            Failed::Cancelled => return Err(self.proxy.requests.why_cancelled().into()),
        };
        tracing::info!(request = self.call.id, node = name, words, "attempt failed");
        self.tries.met(&candidate, format!("{name}: {words}"), was_sent, again);
        Ok(())
    }

    /// Does the answer mean "later", and when? 429 and 503 say that the node is busy, for as long as their `Retry-After`.
    fn later(&self, candidate: &Candidate, response: &Response<Bytes>) -> Again {
        let patience = &self.proxy.retries.patience;
        let backoff_ms = budget::backoff_ms(self.tries.rounds(), clock::random());
        let wait_ms = match response.status().as_u16() {
            429 | 503 => {
                // What cannot be read as text is garbage like any other.
                let told = response.headers().get(header::RETRY_AFTER);
                let told_ms =
                    told.map(|text| budget::retry_after_ms(text.to_str().unwrap_or(""), clock::wall_ms()));
                let busy_ms = told_ms.unwrap_or(BUSY_MS).clamp(BUSY_MS, patience.retry_after_ms);
                self.proxy.registry.busy(candidate.node, busy_ms);
                told_ms.map_or(backoff_ms, |told_ms| told_ms.max(backoff_ms))
            }
            408 | 409 | 425 => backoff_ms,
            _ => return Again::No,
        };
        if wait_ms > patience.retry_after_ms {
            return Again::No;
        }
        Again::At(Instant::now() + Duration::from_millis(wait_ms))
    }

    /// All has been tried: the last node's own error, or what each one met.
    pub(super) fn give_up(&mut self) -> Ended {
        if let Some((response, ..)) = &self.last_error
            && self.tries.sent() == 0
            && matches!(response.status().as_u16(), 400 | 404)
        {
            // Lists have changed under way: whoever was asked does not have it any more (R17). What there is now helps more than
            // one engine's own words.
            let (model, dialect) = (self.envelope.model.clone(), self.call.operation.dialect());
            let similar = route::instead(&self.proxy.registry.house().fleet, &model, dialect);
            return Ended::Refused(Refusal::ModelUnknown { model, similar, no_node: None });
        }
        let hope = self.hope.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        match (self.last_error.take(), hope) {
            (Some((response, node, model)), _) => Ended::NodeSaid { response, node, model },
            // It was as we believed.
            (None, Some(refusal)) => Ended::Refused(refusal),
            (None, None) => Ended::Refused(Refusal::AllFailed {
                model: self.envelope.model.clone(),
                soon: !self.tries.all_refused(),
                attempts: self.tries.words(),
            }),
        }
    }
}
