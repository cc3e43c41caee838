//! What is remembered from one request to the next: where its conversation was answered, and how fast that node writes.

use super::{Call, trip::Trip};
use crate::{
    attempt::{Answer, Opened},
    conversations, dialects,
    registry::House,
    speeds::Stopwatch,
};
use lamplighter_core::{
    affinity::Home,
    model,
    operation::{Lane, Operation},
    route::Candidate,
};

impl Trip {
    /// Where the conversation was answered last. With a single machine there is nothing to choose.
    pub(super) fn home(&self, house: &House) -> Option<Home> {
        let chooses = self.call.operation.lane() == Lane::Generate && house.fleet.nodes.len() > 1;
        let conversation = chooses.then(|| self.conversation(house)).flatten()?;
        self.proxy.conversations.home(conversation)
    }

    /// An answer has begun: its conversation is at home there from now on.
    pub(super) fn learn(&self, house: &House, candidate: &Candidate, opened: &Opened) -> Option<Stopwatch> {
        if self.call.operation.lane() != Lane::Generate {
            return None;
        }
        if house.fleet.nodes.len() > 1 {
            let listed = house.fleet.nodes[candidate.at].models.get(candidate.model_at);
            let digest = listed.and_then(|listed| listed.digest.as_deref()).map(Into::into);
            let home = Home { node: candidate.node, model: candidate.model.clone(), digest };
            if let Some(answer) = self.answer_id(opened) {
                self.proxy
                    .conversations
                    .settle(conversations::after(answer, self.asked(house)), home.clone());
            }
            if let Some(conversation) = self.conversation(house) {
                self.proxy.conversations.settle(conversation, home);
            }
        }
        let streams = matches!(opened.answer, Answer::Judged { .. });
        streams.then(|| self.proxy.speeds.watch(candidate.node, model::key(&candidate.model).into()))
    }

    fn conversation(&self, house: &House) -> Option<lamplighter_core::affinity::Conversation> {
        let Call { session, body, client, .. } = &self.call;
        session.conversation(self.asked(house), &self.envelope.marks, body, *client)
    }

    /// The model, without a pin.
    fn asked(&self, house: &House) -> &str {
        house.fleet.asked(&self.envelope.model).0
    }

    /// The answer's own id, which the next request may name: only the node that gave it knows it.
    fn answer_id<'o>(&self, opened: &'o Opened) -> Option<&'o str> {
        if self.call.operation != Operation::Responses {
            return None;
        }
        dialects::response_id(match &opened.answer {
            Answer::Whole(body) => body,
            Answer::Judged { ready, .. } | Answer::Plain { ready, .. } => ready.front()?,
        })
    }
}
