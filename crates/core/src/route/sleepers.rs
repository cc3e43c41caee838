//! Machines that have the model and sleep: is one of them woken, and does the request wait for it?

use crate::{
    fleet::NodeId,
    room::Seat,
    wake::{Pass, Verdict, WakePolicy},
};
use std::sync::Arc;

/// A machine that has one of the models and sleeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asleep {
    /// The node.
    pub node: NodeId,
    /// Position of the node in the fleet the plan was made from.
    pub at: usize,
    /// The model's name as that node wrote it when it was last seen.
    pub model: Arc<str>,
    /// The place it would take there.
    pub seat: Seat,
    /// Which of the alias's models it is, from 0.
    pub target: usize,
    /// What the alias says about waking.
    pub policy: Option<WakePolicy>,
}

/// What is done about the machines that sleep. Numbers are positions in the list that [`course`] was asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Course {
    /// Who is up answers; that machine, if any, is woken for the next request.
    Answer {
        /// Woken for the next request.
        wake: Option<usize>,
    },
    /// A person is asked whether to wake that machine; until then, and without an answer, who is up answers and it is woken.
    Ask {
        /// The machine.
        at: usize,
    },
    /// The request wakes that machine, or joins its wake, and waits.
    Wait {
        /// The machine.
        at: usize,
    },
    /// Nobody is up, and nobody is woken. Why the first of them is not.
    Nobody {
        /// The machine, and why it is passed over; `None` when there is none.
        passed: Option<(usize, Pass)>,
    },
}

/// What to do: `up` is the first of the alias's models that somebody who is up has; `asleep` and `verdicts` go side by side, in
/// the alias's order.
///
/// Candidates are taken in the alias's order; for one model a machine that is up goes before one that sleeps. Under `wait` a
/// sleeping machine counts as able to serve; under `fallback` the first that is up answers, and the first sleeping one before it
/// is woken for the next request. With nobody up, the request waits for it.
#[must_use]
pub fn course(up: Option<usize>, asleep: &[Asleep], verdicts: &[Verdict]) -> Course {
    let before = asleep
        .iter()
        .zip(verdicts)
        .enumerate()
        .filter(|(_, (asleep, _))| up.is_none_or(|up| asleep.target < up));
    let mut wake = None;
    let mut passed = None;
    for (at, (_, verdict)) in before {
        match verdict {
            // One that would be woken for the next request stands before it in the list: then that one is waited for.
            Verdict::Wait => return Course::Wait { at: wake.unwrap_or(at) },
            Verdict::Ask if wake.is_none() => return Course::Ask { at },
            Verdict::Fallback | Verdict::Ask => wake = wake.or(Some(at)),
            Verdict::Pass(why) => passed = passed.or(Some((at, *why))),
        }
    }
    match (up, wake) {
        (None, Some(at)) => Course::Wait { at },
        (None, None) => Course::Nobody { passed },
        (Some(_), wake) => Course::Answer { wake },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{operation::Lane, room::Place};

    fn asleep(targets: &[usize]) -> Vec<Asleep> {
        let one = |(i, &target)| {
            let node = NodeId(u32::try_from(i).unwrap());
            let place = Place { node, lane: Lane::Generate, model: "m".into() };
            let seat = Seat { place, limit: 1, need: None };
            Asleep { node, at: i, model: "m".into(), seat, target, policy: None }
        };
        targets.iter().enumerate().map(one).collect()
    }

    #[test]
    fn up_goes_before_asleep_for_one_model_and_asleep_before_a_later_model() {
        let one = asleep(&[0]);
        assert_eq!(course(Some(0), &one, &[Verdict::Wait]), Course::Answer { wake: None });
        assert_eq!(course(Some(1), &one, &[Verdict::Wait]), Course::Wait { at: 0 });
        assert_eq!(course(Some(1), &one, &[Verdict::Fallback]), Course::Answer { wake: Some(0) });
        assert_eq!(course(Some(1), &one, &[Verdict::Ask]), Course::Ask { at: 0 });
        assert_eq!(course(Some(1), &one, &[Verdict::Pass(Pass::Quiet)]), Course::Answer { wake: None });
    }

    #[test]
    fn with_nobody_up_the_request_waits_for_what_may_be_woken() {
        let two = asleep(&[0, 1]);
        let pass = Verdict::Pass(Pass::Failed);
        assert_eq!(course(None, &two, &[Verdict::Fallback; 2]), Course::Wait { at: 0 });
        assert_eq!(course(None, &two, &[pass, Verdict::Wait]), Course::Wait { at: 1 });
        assert_eq!(course(None, &two, &[pass, pass]), Course::Nobody { passed: Some((0, Pass::Failed)) });
        assert_eq!(course(None, &[], &[]), Course::Nobody { passed: None });
        assert_eq!(course(Some(0), &[], &[]), Course::Answer { wake: None });
    }
}
