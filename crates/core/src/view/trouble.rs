//! What a person should know of a machine beyond its state: a wake that led nowhere, a GPU that it has lost. One rule for the
//! lamp, the tray, the command line and notifications.

use super::words::Mark;
use crate::{
    node::State,
    snapshot::{Node, WakeFailure},
};

/// Something is wrong with a machine, whatever its state says.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trouble<'a> {
    /// Its last wake led nowhere.
    NotWoken(&'a WakeFailure),
    /// It answers, an order of magnitude slower than it could.
    NoGpu,
}

impl<'a> Trouble<'a> {
    /// What is wrong with this machine now.
    pub(super) fn of(node: &'a Node) -> Option<Self> {
        match node.state {
            State::Up | State::Degraded => node.sleep.gpu_lost.then_some(Self::NoGpu),
            // It is on, and says itself what is wrong.
            State::Refusing | State::Waking(_) => None,
            State::Unknown | State::Asleep | State::Away | State::Down => not_woken(node).map(Self::NotWoken),
        }
    }

    /// What it is, in words that follow the machine's name.
    pub(super) fn says(self) -> &'static str {
        match self {
            Self::NotWoken(failure) => became(failure),
            Self::NoGpu => "is up, but without its GPU",
        }
    }
}

/// How its last wake failed, while nobody tries again. Elsewhere nobody can know.
fn not_woken(node: &Node) -> Option<&WakeFailure> {
    node.sleep.failure.as_ref().filter(|_| node.sleep.waking.is_none() && !node.sleep.elsewhere)
}

/// What became of a wake that failed, in words that follow the machine's name: one that is awake is not said to sleep.
pub(super) fn became(failure: &WakeFailure) -> &'static str {
    match failure.code.as_str() {
        "card_only" => "is on the network, but no port of it answers",
        "engine_closed" => "is awake, but its engine does not answer",
        "still_loading" => "is awake, and its engine is still loading",
        "without_model" => "is awake, but without the model that was asked for",
        _ => "did not wake",
    }
}

/// The mark of a machine: of its state, unless more is wrong with it.
pub(super) fn mark(node: &Node) -> Mark {
    if Trouble::of(node).is_some() { Mark::Problem } else { Mark::of(node.state) }
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};
    use crate::{node::Stage, wake::Failure};

    fn failed(state: State, failure: &Failure) -> Node {
        let mut node = sample::node("tower", state);
        node.sleep.failure = Some(sample::failure(failure));
        node
    }

    fn says(node: &Node) -> Option<&'static str> {
        Trouble::of(node).map(Trouble::says)
    }

    const SILENT: Failure = Failure::NeverAnswered { rounds: 5, waited_ms: 120_000 };

    #[test]
    fn a_failed_wake_is_told_in_every_state_in_which_the_machine_is_not_there() {
        for state in [State::Asleep, State::Away, State::Down, State::Unknown] {
            assert_eq!(says(&failed(state, &SILENT)), Some("did not wake"), "{state:?}");
            assert_eq!(mark(&failed(state, &SILENT)), Mark::Problem);
            assert_eq!(
                (says(&sample::node("tower", state)), mark(&sample::node("x", state))),
                (None, Mark::of(state))
            );
        }
        for state in [State::Up, State::Degraded, State::Refusing, State::Waking(Stage::Packet)] {
            assert_eq!(says(&failed(state, &SILENT)), None, "{state:?}");
        }
        let mut again = failed(State::Down, &SILENT);
        again.sleep.waking = Some(sample::waking(Stage::Packet, 0));
        assert_eq!(says(&again), None, "it is tried again");
        let mut abroad = failed(State::Away, &SILENT);
        abroad.sleep.elsewhere = true;
        assert_eq!((says(&abroad), mark(&abroad)), (None, Mark::Away));
    }

    #[test]
    fn a_machine_that_is_awake_is_not_said_to_sleep() {
        let said = |failure: &Failure| says(&failed(State::Down, failure)).unwrap_or_default();
        assert_eq!(
            said(&Failure::EngineClosed { seen_ms: 9_000 }),
            "is awake, but its engine does not answer"
        );
        assert_eq!(
            said(&Failure::StillLoading { answered_ms: 9_000 }),
            "is awake, and its engine is still loading"
        );
        // Whether it is awake nobody knows.
        assert_eq!(
            said(&Failure::CardOnly { seen_ms: 9_000 }),
            "is on the network, but no port of it answers"
        );
        let without = Failure::WithoutModel { model: "qwen3:8b".into() };
        assert_eq!(said(&without), "is awake, but without the model that was asked for");
        assert_eq!(said(&Failure::NothingSent { why: vec![] }), "did not wake");
    }

    #[test]
    fn a_machine_without_its_gpu_is_a_problem_while_it_answers() {
        let lost = |state| {
            let mut node = sample::node("tower", state);
            node.sleep.gpu_lost = true;
            (says(&node), mark(&node))
        };
        assert_eq!(lost(State::Up), (Some("is up, but without its GPU"), Mark::Problem));
        assert_eq!(lost(State::Asleep), (None, Mark::Asleep), "it may come back with it");
    }
}
