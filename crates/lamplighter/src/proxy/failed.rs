//! What a failed attempt shows about the node, and what is left to say when all has failed.

use super::{Ended, trip::Trip};
use crate::attempt::{self, Failed};
use lamplighter_core::{refusal::Refusal, route::Candidate};

impl Trip {
    /// Notes a failed attempt, and tells the registry what it shows about the node.
    ///
    /// # Errors
    /// When the request ends here: the node's own error is the answer, or it was cancelled.
    pub(super) fn failed(&mut self, candidate: Candidate, node: String, failed: Failed) -> Result<(), Ended> {
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
    pub(super) fn give_up(&mut self) -> Ended {
        match self.last_error.take() {
            Some((response, node, model)) => Ended::NodeSaid { response, node, model },
            None => Ended::Refused(Refusal::AllFailed {
                model: self.envelope.model.clone(),
                attempts: self.met.iter().map(|met| met.words.clone()).collect(),
            }),
        }
    }
}
