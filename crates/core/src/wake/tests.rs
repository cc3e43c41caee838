//! Waking in virtual time: the schedule, the stages, the reasons, and a tape of random events.

use super::{Effect::*, *};
use crate::node::Stage as At;

const TIMEOUT_MS: u64 = 120_000;

/// A machine, the time, and all that came out.
struct Tape {
    wake: Wake,
    now_ms: u64,
    sent_ms: Vec<u64>,
    stages: Vec<At>,
    ended: Vec<Outcome>,
    /// How a round goes.
    round: Event,
    /// What a look finds at a time.
    sights: Vec<(u64, Sight)>,
}

impl Tape {
    fn new() -> Self {
        Self {
            wake: Wake::new(TIMEOUT_MS, &[]),
            now_ms: 1_000_000,
            sent_ms: vec![],
            stages: vec![],
            ended: vec![],
            round: Event::Sent(4),
            sights: vec![],
        }
    }

    fn ask(&mut self, who: Who) -> Asked {
        let (asked, effects) = self.wake.ask(who, self.now_ms);
        self.carry_out(effects);
        asked
    }

    fn on(&mut self, event: Event) {
        let effects = self.wake.on(event, self.now_ms);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Send { round } => {
                    self.sent_ms.push(self.now_ms);
                    assert_eq!(self.wake.progress(self.now_ms).map(|p| p.rounds), Some(round));
                    self.on(self.round.clone());
                }
                Look => {
                    let due: Vec<Sight> = {
                        let now_ms = self.now_ms;
                        let (due, later) = self.sights.drain(..).partition(|(at_ms, _)| *at_ms <= now_ms);
                        self.sights = later;
                        let due: Vec<(u64, Sight)> = due;
                        due.into_iter().map(|(_, sight)| sight).collect()
                    };
                    due.into_iter().for_each(|sight| self.on(Event::Seen(sight)));
                }
                Stage(stage) => self.stages.push(stage),
                Ended(outcome) => self.ended.push(outcome),
            }
        }
    }

    /// Lets time pass, ticking exactly when asked to.
    fn run_ms(&mut self, for_ms: u64) {
        let until_ms = self.now_ms + for_ms;
        while let Some(next_ms) = self.wake.next_ms().filter(|&next_ms| next_ms <= until_ms) {
            self.now_ms = next_ms.max(self.now_ms);
            self.on(Event::Tick);
            let next_ms = self.wake.next_ms();
            assert!(
                next_ms.is_none_or(|next_ms| next_ms > self.now_ms),
                "it asks for a tick that changes nothing"
            );
        }
        self.now_ms = until_ms;
    }

    /// Rounds since `start_ms`, in seconds after it.
    fn rounds_s(&self, start_ms: u64) -> Vec<u64> {
        self.sent_ms.iter().filter(|&&ms| ms >= start_ms).map(|ms| (ms - start_ms) / 1_000).collect()
    }
}

#[test]
fn a_machine_wakes_in_stages_and_all_who_wait_share_it() {
    let mut tape = Tape::new();
    let start_ms = tape.now_ms;
    let at = |s: u64, sight| (start_ms + s * 1_000, sight);
    tape.sights =
        vec![at(14, Sight::Reachable), at(30, Sight::Api), at(31, Sight::Loading), at(40, Sight::Ready)];
    assert_eq!(tape.ask(Who::Waiter), Asked::Begun);
    for _ in 0..499 {
        assert_eq!(tape.ask(Who::Waiter), Asked::Joined);
    }
    tape.run_ms(5_000);
    assert_eq!(tape.rounds_s(start_ms), [0, 1, 3], "three rounds in five seconds for five hundred");
    let progress = tape.wake.progress(tape.now_ms).unwrap();
    assert_eq!((progress.waiters, progress.stage, progress.waited_ms), (500, At::Packet, 5_000));
    assert_eq!((progress.eta_ms, progress.timeout_ms), (None, TIMEOUT_MS));
    tape.run_ms(60_000);
    assert_eq!(tape.rounds_s(start_ms), [0, 1, 3, 13, 23], "none after the engine has answered");
    assert_eq!(tape.stages, [At::Packet, At::Reachable, At::Api, At::Loading]);
    let seen = Timeline { reachable_ms: Some(14_000), api_ms: Some(30_000), loading_ms: Some(31_000) };
    assert_eq!(tape.ended, [Outcome::Ready { took_ms: 40_000, seen, rounds: 5 }]);
    assert_eq!((tape.wake.next_ms(), tape.wake.eta_ms()), (None, Some(40_000)));
}

#[test]
fn it_never_answers_and_the_next_ones_are_told_at_once() {
    let mut tape = Tape::new();
    let start_ms = tape.now_ms;
    tape.ask(Who::Waiter);
    tape.run_ms(TIMEOUT_MS);
    assert_eq!(tape.rounds_s(start_ms), [0, 1, 3, 13, 23, 33, 43, 53, 63, 73, 83, 93, 103, 113]);
    let failure = Failure::NeverAnswered { rounds: 14, waited_ms: TIMEOUT_MS };
    assert_eq!(tape.ended, [Outcome::Failed(failure.clone())]);
    assert_eq!(failure.words(), "did not wake: called 14 times, nothing heard for 120 s");
    tape.run_ms(20_000);
    let told = TooSoon { wait_ms: 40_000, last: Some(failure.clone()) };
    assert_eq!(tape.ask(Who::Waiter), Asked::TooSoon(told));
    assert_eq!(tape.wake.condition(false, tape.now_ms), Condition::Failed);
    assert_eq!(tape.sent_ms.len(), 14, "and no packet more");
    assert_eq!(tape.wake.last_failure(), Some(&failure));
    assert_eq!(tape.ask(Who::Person), Asked::Begun, "a person's click always may");
    tape.on(Event::Seen(Sight::Ready));
    assert_eq!(
        (tape.wake.last_failure(), tape.wake.eta_ms()),
        (None, None),
        "it was awake: no time to learn from"
    );
}

#[test]
fn a_failure_is_news_until_it_is_up_or_tried_again() {
    let failed = || {
        let mut tape = Tape::new();
        tape.ask(Who::Waiter);
        tape.run_ms(TIMEOUT_MS);
        assert!(tape.wake.last_failure().is_some());
        tape
    };
    let mut tape = failed();
    tape.wake.seen_up();
    assert_eq!(tape.wake.last_failure(), None, "somebody has pressed its button");
    let told = TooSoon { wait_ms: 60_000, last: None };
    assert_eq!(tape.ask(Who::Waiter), Asked::TooSoon(told), "the pause after it stays");

    let mut tape = failed();
    tape.run_ms(60_000);
    assert_eq!(tape.ask(Who::Waiter), Asked::Begun);
    tape.on(Event::Left);
    assert_eq!(
        (tape.wake.last_failure(), tape.ended.last()),
        (None, Some(&Outcome::Left)),
        "it has not failed"
    );
}

#[test]
fn the_reason_comes_from_what_was_seen() {
    let fail = |round: Event, sights: Vec<(u64, Sight)>| {
        let mut tape = Tape::new();
        let start_ms = tape.now_ms;
        tape.round = round;
        tape.sights = sights.into_iter().map(|(at_ms, sight)| (start_ms + at_ms, sight)).collect();
        tape.ask(Who::Waiter);
        tape.run_ms(TIMEOUT_MS);
        assert_eq!(tape.ended.len(), 1, "{:?}", tape.ended);
        let took_ms = tape.now_ms - start_ms;
        assert_eq!(took_ms, TIMEOUT_MS);
        match tape.ended.pop() {
            Some(Outcome::Failed(failure)) => (failure, tape.sent_ms.len()),
            other => panic!("{other:?}"),
        }
    };
    let down = "eth0: network is unreachable".to_owned();
    let (why, rounds) = fail(Event::NotSent(down.clone()), vec![]);
    assert_eq!((why, rounds), (Failure::NothingSent { why: vec![down.clone()] }, 4), "given up after 13 s");
    let (why, _) = fail(Event::Sent(0), vec![]);
    assert!(why.words().contains("no packet left this computer (there was no place"), "{}", why.words());
    let (why, rounds) = fail(Event::NotSent(down), vec![(2_000, Sight::Reachable)]);
    assert_eq!((why.code(), rounds), ("engine_closed", 14), "it is there although nothing was sent");
    let (why, _) = fail(Event::Sent(2), vec![(14_000, Sight::Reachable)]);
    assert_eq!(why, Failure::EngineClosed { seen_ms: 14_000 });
    let (why, _) = fail(Event::Sent(2), vec![(14_000, Sight::Reachable), (20_000, Sight::Loading)]);
    assert_eq!(why, Failure::StillLoading { answered_ms: 20_000 });
    let (why, _) = fail(Event::Sent(2), vec![(14_000, Sight::Without("qwen".into()))]);
    assert_eq!(why, Failure::WithoutModel { model: "qwen".into() });
    for failure in [why, Failure::NothingSent { why: vec![] }, Failure::EngineClosed { seen_ms: 1 }] {
        assert!(failure.checklist(Caller::Packets).len() >= 2 && !failure.words().is_empty());
    }
}

#[test]
fn a_disk_that_comes_late_brings_its_models() {
    let mut tape = Tape::new();
    let start_ms = tape.now_ms;
    tape.sights = vec![(start_ms + 5_000, Sight::Without("qwen".into())), (start_ms + 12_000, Sight::Ready)];
    tape.ask(Who::Waiter);
    tape.run_ms(60_000);
    assert!(matches!(tape.ended[..], [Outcome::Ready { took_ms: 12_000, .. }]), "{:?}", tape.ended);
}

#[test]
fn a_machine_that_is_just_going_to_sleep_is_called_again() {
    let mut tape = Tape::new();
    let start_ms = tape.now_ms;
    // Still seen at once; it hears packets only after 8 s.
    tape.sights = vec![(start_ms, Sight::Reachable), (start_ms + 20_000, Sight::Ready)];
    tape.ask(Who::Waiter);
    tape.run_ms(30_000);
    assert_eq!(tape.rounds_s(start_ms), [0, 1, 3, 13]);
    assert!(matches!(tape.ended[..], [Outcome::Ready { .. }]));
}

#[test]
fn the_last_to_leave_ends_it_and_who_comes_back_takes_it_up() {
    let mut tape = Tape::new();
    let start_ms = tape.now_ms;
    tape.ask(Who::Waiter);
    tape.ask(Who::Waiter);
    tape.run_ms(2_000);
    tape.on(Event::Left);
    assert_eq!(tape.ended, []);
    tape.on(Event::Left);
    assert_eq!((&tape.ended[..], tape.wake.next_ms()), (&[Outcome::Left][..], None));
    tape.run_ms(10_000);
    assert_eq!(tape.rounds_s(start_ms), [0, 1], "nobody waits: no packet");
    assert_eq!(tape.wake.condition(false, tape.now_ms), Condition::Asleep);
    assert_eq!(tape.ask(Who::Waiter), Asked::Resumed, "the same wake, not another one");
    tape.run_ms(15_000);
    assert_eq!(tape.rounds_s(start_ms), [0, 1, 13, 23], "on the same schedule");
    tape.on(Event::Left);
    tape.run_ms(40_000);
    assert_eq!(tape.ask(Who::Waiter), Asked::Begun, "after a minute it is a new one");
    assert_eq!(tape.rounds_s(start_ms + 60_000), [7]);
}

#[test]
fn a_persons_wake_goes_on_alone_until_a_person_ends_it() {
    let mut tape = Tape::new();
    tape.ask(Who::Waiter);
    tape.ask(Who::Person);
    tape.on(Event::Left);
    assert!(tape.wake.progress(tape.now_ms).is_some_and(|p| p.by_person && p.waiters == 0));
    tape.run_ms(5_000);
    tape.on(Event::Cancelled);
    assert_eq!(tape.ended, [Outcome::Cancelled]);
    let told = tape.ask(Who::Waiter);
    assert_eq!(told, Asked::TooSoon(TooSoon { wait_ms: 60_000, last: None }), "a person has just said no");
    tape.run_ms(60_000);
    assert_eq!(tape.ask(Who::ForTheNext), Asked::Begun);
    tape.ask(Who::Waiter);
    tape.on(Event::Left);
    assert!(tape.wake.progress(tape.now_ms).is_some(), "it is for the next request: nobody need wait");
}

#[test]
fn conditions_and_quiet_hours() {
    let mut tape = Tape::new();
    assert_eq!(tape.wake.condition(false, tape.now_ms), Condition::Asleep);
    assert_eq!(tape.wake.condition(true, tape.now_ms), Condition::Quiet);
    tape.ask(Who::Person);
    assert_eq!(tape.wake.condition(true, tape.now_ms), Condition::Waking, "who finds it waking may join");
}

#[test]
fn a_late_clock_makes_up_for_nothing() {
    let mut tape = Tape::new();
    tape.ask(Who::Waiter);
    tape.now_ms += 100_000;
    tape.on(Event::Tick);
    tape.on(Event::Tick);
    assert_eq!(tape.sent_ms.len(), 2, "one round for all that were missed");
    tape.now_ms += 3_600_000;
    tape.on(Event::Tick);
    assert_eq!((tape.sent_ms.len(), tape.ended.len()), (2, 1));
}

#[test]
fn the_estimate_is_the_median_of_the_last_twenty() {
    let wake = |took: &[u64]| Wake::new(TIMEOUT_MS, took).eta_ms();
    assert_eq!(wake(&[]), None);
    assert_eq!(wake(&[15_000, 41_000, 300_000]), Some(41_000));
    assert_eq!(wake(&[10_000, 20_000]), Some(15_000));
    let moved: Vec<u64> = std::iter::repeat_n(90_000, 30).chain(std::iter::repeat_n(15_000, 20)).collect();
    assert_eq!(wake(&moved), Some(15_000));
}

mod tape {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Pass(u64),
        Ask(Who),
        On(Event),
    }

    fn step() -> impl Strategy<Value = Step> {
        let sight = prop_oneof![
            2 => Just(Sight::Card),
            4 => Just(Sight::Reachable),
            2 => Just(Sight::Api),
            1 => Just(Sight::Loading),
            1 => Just(Sight::Without("m".into())),
            1 => Just(Sight::Ready),
        ];
        let event = prop_oneof![
            2 => Just(Event::Tick),
            2 => Just(Event::Left),
            1 => Just(Event::Cancelled),
            2 => sight.prop_map(Event::Seen),
            1 => Just(Event::NotSent("no".into())),
        ];
        prop_oneof![
            6 => (0..40_000u64).prop_map(Step::Pass),
            1 => (0..4_000_000u64).prop_map(Step::Pass),
            4 => prop_oneof![3 => Just(Who::Waiter), 1 => Just(Who::ForTheNext), 1 => Just(Who::Person)].prop_map(Step::Ask),
            4 => event.prop_map(Step::On),
        ]
    }

    /// Most rounds that the schedule has in so long a time.
    fn scheduled(for_ms: u64) -> usize {
        let first = [0, 1_000, 3_000].iter().filter(|&&at_ms| at_ms <= for_ms).count();
        first + usize::try_from(for_ms.saturating_sub(3_000) / 10_000).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn one_wake_at_a_time_on_its_schedule_and_it_always_ends(steps in prop::collection::vec(step(), 1..120), ticks in any::<bool>()) {
            let mut tape = Tape::new();
            let (mut begun_ms, mut by_requests_ms): (Option<u64>, Vec<u64>) = (None, vec![]);
            let mut sent_before = 0;
            for step in steps {
                match step {
                    Step::Pass(ms) if ticks => tape.run_ms(ms),
                    Step::Pass(ms) => tape.now_ms += ms,
                    Step::Ask(who) => {
                        let was_running = tape.wake.progress(tape.now_ms).is_some();
                        let asked = tape.ask(who);
                        if asked == Asked::Begun {
                            prop_assert!(!was_running, "two at a time");
                            sent_before = tape.sent_ms.len() - 1;
                            begun_ms = Some(tape.now_ms);
                            if who != Who::Person {
                                by_requests_ms.push(tape.now_ms);
                            }
                        }
                        prop_assert_eq!(tape.wake.progress(tape.now_ms).is_some(), !matches!(asked, Asked::TooSoon(_)));
                        prop_assert!(who != Who::Person || !matches!(asked, Asked::TooSoon(_)));
                    }
                    Step::On(event) => tape.on(event),
                }
                if let Some(begun_ms) = begun_ms {
                    let rounds = tape.sent_ms.len() - sent_before;
                    // And one for a person's click.
                    prop_assert!(rounds <= scheduled(tape.now_ms - begun_ms) + 1, "{} rounds", rounds);
                }
                let running = tape.wake.progress(tape.now_ms);
                prop_assert!(running.is_none_or(|p| p.rounds > 0 && (!ticks || p.waited_ms < 2 * TIMEOUT_MS)));
                prop_assert_eq!(running.is_some(), tape.wake.next_ms().is_some());
            }
            for pair in by_requests_ms.windows(2) {
                prop_assert!(pair[1] - pair[0] >= 60_000);
            }
            for seven in by_requests_ms.windows(7) {
                prop_assert!(seven[6] - seven[0] >= 3_600_000);
            }
            let was_running = tape.wake.progress(tape.now_ms).is_some();
            let ended = tape.ended.len();
            tape.run_ms(TIMEOUT_MS);
            prop_assert_eq!(tape.wake.next_ms(), None, "it did not end");
            prop_assert_eq!(tape.ended.len() - ended, usize::from(was_running));
        }
    }
}

/// Between its own end and the end of that minute a wake that was left is over: it is neither taken up nor begun anew.
#[test]
fn a_short_wake_that_everybody_left_ends_when_it_would_have() {
    let mut tape = Tape::new();
    tape.wake.set_timeout(5_000);
    tape.ask(Who::Waiter);
    tape.run_ms(2_000);
    tape.on(Event::Left);
    tape.run_ms(2_000);
    assert_eq!(tape.wake.condition(false, tape.now_ms), Condition::Asleep);
    tape.run_ms(2_000);
    assert_eq!(tape.wake.condition(false, tape.now_ms), Condition::Failed, "pass it over");
    assert!(matches!(tape.ask(Who::Waiter), Asked::TooSoon(_)));
}

/// "A person's click always may": it is no less than a wake of its own.
#[test]
fn a_click_late_in_a_requests_wake_gets_its_whole_time() {
    let mut tape = Tape::new();
    tape.wake.set_timeout(10_000);
    let start_ms = tape.now_ms;
    tape.ask(Who::Waiter);
    tape.run_ms(8_500);
    assert_eq!(tape.rounds_s(start_ms), [0, 1, 3]);
    assert_eq!(tape.ask(Who::Person), Asked::Joined);
    assert_eq!(tape.sent_ms.last(), Some(&tape.now_ms), "a packet follows the click");
    let sent = tape.sent_ms.len();
    assert_eq!(tape.ask(Who::Person), Asked::Joined);
    assert_eq!(tape.sent_ms.len(), sent, "and none the second one");
    tape.run_ms(9_000);
    assert_eq!(tape.ended, []);
    tape.run_ms(1_500);
    assert!(matches!(tape.ended[..], [Outcome::Failed(_)]), "{:?}", tape.ended);
}

/// An engine that restarts is no machine that sleeps.
#[test]
fn an_engine_that_loads_is_waited_for_without_a_packet() {
    let mut tape = Tape::new();
    let (asked, effects) = tape.wake.attend(Who::Waiter, tape.now_ms);
    assert_eq!(asked, Asked::Begun);
    tape.carry_out(effects);
    assert_eq!(tape.wake.attend(Who::Waiter, tape.now_ms).0, Asked::Joined);
    tape.run_ms(30_000);
    assert_eq!((tape.sent_ms.len(), &tape.stages[..]), (0, &[At::Loading][..]));
    tape.on(Event::Seen(Sight::Ready));
    assert!(matches!(tape.ended[..], [Outcome::Ready { rounds: 0, .. }]), "{:?}", tape.ended);
    assert_eq!(tape.wake.eta_ms(), None, "it says nothing about waking");
    assert_eq!(tape.wake.too_soon(tape.now_ms), None, "and is not counted");
}
