//! Questions to a person: shall this machine be woken for that request? One question per machine, joined by all who ask it.

use lamplighter_core::snapshot::Prompt;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

use crate::clock;

/// What a person has chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Wake it, and wait for it.
    Wake,
    /// Answer elsewhere, and let it sleep.
    Elsewhere,
}

/// The questions that wait for an answer.
#[derive(Debug, Default)]
pub struct Prompts {
    open: Mutex<BTreeMap<String, Open>>,
}

#[derive(Debug)]
struct Open {
    shown: Prompt,
    /// The model as that node calls it: the one that was asked for may be an alias.
    model_there: String,
    choice: watch::Sender<Option<Choice>>,
}

/// A request that waits for an answer.
#[derive(Debug)]
pub struct Asking {
    prompts: Arc<Prompts>,
    node: String,
    is_shown: bool,
    choice: watch::Receiver<Option<Choice>>,
}

impl Prompts {
    /// Asks, or joins those who ask already. `model_there` is what the node calls the model that `client` asked for.
    pub fn ask(
        self: &Arc<Self>,
        node: &str,
        (model, model_there): (&str, &str),
        client: &str,
        for_long: Duration,
    ) -> Asking {
        let mut open = self.lock();
        let question = open.entry(node.to_owned()).or_insert_with(|| Open {
            shown: Prompt {
                node: node.to_owned(),
                model: model.to_owned(),
                client: client.to_owned(),
                until_ms: clock::wall_ms() + for_long.as_millis() as u64,
            },
            model_there: model_there.to_owned(),
            choice: watch::Sender::new(None),
        });
        let (choice, is_shown) = (question.choice.subscribe(), question.shown.model == model);
        Asking { prompts: self.clone(), node: node.to_owned(), is_shown, choice }
    }

    /// A person has chosen. `first` is done before anybody is told; it is given the question, and the model as that node
    /// calls it. False when nobody asks any more.
    pub fn answer(&self, node: &str, choice: Choice, first: impl FnOnce(&Prompt, &str)) -> bool {
        let Some(open) = self.lock().remove(node) else { return false };
        first(&open.shown, &open.model_there);
        open.choice.send_replace(Some(choice));
        true
    }

    /// The open questions, for eyes.
    #[must_use]
    pub fn shown(&self) -> Vec<Prompt> {
        self.lock().values().map(|open| open.shown.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asking {
    /// Waits for the answer. Cancel-safe. `None` when there will be none.
    pub async fn chosen(&mut self) -> Option<Choice> {
        self.choice.wait_for(Option::is_some).await.ok().and_then(|choice| *choice)
    }

    /// Is it the very model that a person reads of in the question? Another one's request has joined, and was not spoken of.
    #[must_use]
    pub fn is_shown(&self) -> bool {
        self.is_shown
    }

    /// Is the question still open? Else an answer is there, or just about to be.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let open = self.prompts.lock();
        open.get(&self.node).is_some_and(|question| question.choice.subscribe().same_channel(&self.choice))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut open = self.prompts.lock();
        let Some(question) = open.get(&self.node) else { return };
        // Ours may have been answered, and this be the question of somebody who came after.
        let is_ours = question.choice.subscribe().same_channel(&self.choice);
        // The last who asks takes the question along; this one still counts itself.
        if is_ours && question.choice.receiver_count() <= 1 {
            open.remove(&self.node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_been_answered_does_not_take_the_next_question_along() {
        let prompts = Arc::new(Prompts::default());
        let ask = || prompts.ask("workstation", ("coder", "qwen3:8b"), "cline/3", Duration::from_secs(20));
        let answered = ask();
        assert!(prompts.answer("workstation", Choice::Elsewhere, |_, model| assert_eq!(model, "qwen3:8b")));
        let (next, joined) = (ask(), ask());
        drop(answered);
        assert_eq!(prompts.shown().len(), 1, "the next one still asks");
        drop(next);
        assert_eq!(prompts.shown().len(), 1, "and so does who joined it");
        drop(joined);
        assert_eq!(prompts.shown(), []);
    }
}
