//! Health in virtual time.

use super::*;
use crate::node::Presence::AlwaysOn;

fn at(ms: u64) -> Now {
    Now { wall_ms: ms, mono_ms: ms }
}

fn health() -> Health {
    Health::new(Patience::default(), at(0))
}

fn up() -> Health {
    let mut health = health();
    health.fold(Report::Answered, AlwaysOn, at(0));
    health
}

fn silent() -> Report {
    Report::Silent("no answer in 2 s".into())
}

#[test]
fn the_first_answer_is_enough_at_the_start() {
    let mut health = health();
    health.fold(Report::Answered, AlwaysOn, at(5));
    assert_eq!((health.state, health.since_ms), (State::Up, 5));
    assert!(!health.has_risen(), "nothing was wrong with it");
}

#[test]
fn falls_after_three_misses_and_rises_after_two_answers() {
    let mut health = up();
    assert!(!health.fold(silent(), AlwaysOn, at(1)));
    assert_eq!(health.next_probe_ms(0.5), 1_000, "a miss is followed up quickly");
    health.fold(silent(), AlwaysOn, at(2));
    assert_eq!(health.state, State::Up);
    health.fold(silent(), AlwaysOn, at(3));
    assert_eq!((health.state, health.since_ms), (State::Down, 3));
    health.fold(Report::Answered, AlwaysOn, at(4));
    assert_eq!(health.state, State::Down, "one answer is not a recovery");
    health.fold(silent(), AlwaysOn, at(5));
    health.fold(Report::Answered, AlwaysOn, at(6));
    health.fold(Report::Answered, AlwaysOn, at(7));
    assert_eq!((health.state, health.since_ms), (State::Up, 7));
    assert!(health.has_risen() && !health.has_risen(), "to be begun with slowly, once");
}

#[test]
fn silence_means_what_the_owner_said_it_means() {
    for (presence, state) in
        [(AlwaysOn, State::Down), (Presence::Sleeps, State::Asleep), (Presence::ComesAndGoes, State::Away)]
    {
        let mut health = health();
        health.fold(silent(), presence, at(1));
        assert_eq!(health.state, State::Unknown);
        health.fold(silent(), presence, at(2));
        assert_eq!(health.state, state);
    }
}

#[test]
fn a_closed_port_is_asked_again_at_once_and_a_gone_machine_ever_less() {
    let mut health = up();
    health.fold(Report::Closed("refused".into()), AlwaysOn, at(1));
    assert_eq!(health.next_probe_ms(0.5), 300);
    let mut waits = Vec::new();
    for ms in 0..9 {
        health.fold(silent(), AlwaysOn, at(ms));
        waits.push(health.next_probe_ms(0.5));
    }
    assert_eq!(waits[2..], [10_000, 20_000, 40_000, 60_000, 60_000, 60_000, 60_000]);
}

#[test]
fn a_refusal_counts_at_once_and_is_left_at_once() {
    let mut health = health();
    health.fold(Report::Refused("401: it wants an api_key".into()), AlwaysOn, at(1));
    assert_eq!(health.state, State::Refusing);
    health.fold(Report::Answered, AlwaysOn, at(2));
    assert_eq!((health.state, health.why.clone()), (State::Up, None));
}

#[test]
fn r13_three_failures_degrade_it_until_a_trial_goes_well() {
    let mut health = up();
    assert!(health.failed_at_work("500", at(1), 0.0), "its burden is news");
    health.failed_at_work("500", at(2), 0.0);
    assert_eq!((health.state, health.marks().burden), (State::Up, 2));
    health.failed_at_work("500", at(3), 0.0);
    assert_eq!((health.state, health.why.as_deref()), (State::Degraded, Some("it fails at work: 500")));
    health.fold(Report::Answered, AlwaysOn, at(4));
    assert_eq!(health.state, State::Degraded, "probes were fine all the time");
    assert_eq!(health.next_ms(), Some(5_001), "the first burden, and then the stay");
    assert!(health.tick(at(5_003)));
    assert!(health.marks().on_trial && health.has_risen());
    assert_eq!(health.state, State::Degraded, "until it has been shown");
    assert!(health.worked("m", at(5_004)));
    assert_eq!((health.state, health.why.clone()), (State::Up, None));
    for ms in 10..13 {
        health.fold(silent(), AlwaysOn, at(ms));
    }
    assert_eq!(health.state, State::Down);
    assert!(!health.failed_at_work("500", at(15), 0.0), "what is gone cannot fail at work");
}

#[test]
fn a_failed_connection_makes_suspect_until_a_probe_answers() {
    assert!(!health().suspect(), "a node that takes no requests cannot become suspect");
    let mut health = up();
    assert!(health.suspect());
    assert!(!health.suspect(), "only the first is news");
    assert!(health.fold(Report::Answered, AlwaysOn, at(1)));
    assert!(!health.suspect);
}

#[test]
fn r10_busy_is_no_fault() {
    let mut health = up();
    for ms in 0..9 {
        health.busy(1_000, at(ms));
    }
    assert_eq!((health.state, health.marks().burden), (State::Up, u32::MAX));
    assert!(health.tick(at(1_008)));
    assert_eq!(health.marks(), Marks::default());
}

#[test]
fn r12_a_refusal_at_work_stays_though_probes_answer_and_stays_longer_each_time() {
    let mut health = up();
    assert!(health.refused_at_work("it refuses us (401)".into(), at(0)));
    assert!(!health.refused_at_work("it refuses us (401)".into(), at(1)), "told once");
    health.fold(Report::Answered, AlwaysOn, at(5_000));
    assert_eq!(health.state, State::Refusing);
    health.tick(at(60_000));
    assert_eq!(health.state, State::Up);
    health.refused_at_work("it refuses us (401)".into(), at(60_001));
    assert_eq!(health.next_ms(), Some(180_001), "twice as long");
    for _ in 0..9 {
        let next_ms = health.next_ms().unwrap();
        health.tick(at(next_ms));
        health.refused_at_work("it refuses us (401)".into(), at(next_ms));
        assert!(health.next_ms().unwrap() <= next_ms + 600_000);
    }
    assert!(!health.is_gray() && health.marks().burden == 0, "no failure at work");
}

#[test]
fn r07_gray_is_degraded_and_ends_with_two_tokens() {
    let mut health = up();
    let model: Arc<str> = "m".into();
    health.silent_at_work(&model);
    for song in [Song::Silent, Song::Silent] {
        assert_eq!(health.canary(at(1_000)), Some(model.clone()));
        health.sang(song, at(1_000));
    }
    assert_eq!(health.state, State::Degraded);
    assert_eq!(health.why.as_deref(), Some("it answers, and generates nothing"));
    health.fold(Report::Answered, AlwaysOn, at(5_000));
    assert_eq!(health.state, State::Degraded);
    for _ in 0..2 {
        assert_eq!(health.canary(at(31_000)), Some(model.clone()));
        health.sang(Song::Sang, at(31_000));
    }
    assert_eq!(health.state, State::Up);
    assert!(health.has_risen(), "it is begun with slowly");
}

/// R14: each 3 s for 5 minutes it comes or goes. Eyes see at most five changes, and a node that settles is up again.
#[test]
fn r14_five_changes_at_most_in_five_minutes_of_flapping() {
    let mut health = up();
    let mut seen = vec![(health.state, health.why.clone())];
    let mut turns = 0;
    for ms in (0..300_000).step_by(300) {
        let there = (ms / 3_000) % 2 == 0;
        let was = health.answers();
        health.fold(if there { Report::Answered } else { silent() }, AlwaysOn, at(ms));
        health.tick(at(ms));
        turns += usize::from(was != health.answers());
        if seen.last() != Some(&(health.state, health.why.clone())) {
            seen.push((health.state, health.why.clone()));
        }
    }
    assert!(turns > 90, "it did flap: {turns}");
    assert!(seen.len() - 1 <= 5, "{seen:?}");
    assert_eq!(seen.last(), Some(&(State::Degraded, Some("unstable: it comes and goes".into()))));
    for ms in (300_000..700_000).step_by(5_000) {
        health.fold(Report::Answered, AlwaysOn, at(ms));
        health.tick(at(ms));
    }
    assert_eq!(health.state, State::Up, "it has settled");
}

/// Whatever happens in whatever order, a node that answers and works is up in the end, and time alone never stands still.
mod any_order {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn faults_stop_and_it_is_up_again(steps in prop::collection::vec((0u8..9, 1u64..4_000), 0..120)) {
            let mut health = up();
            let (mut now_ms, model): (u64, Arc<str>) = (0, "m".into());
            for (what, ms) in steps {
                now_ms += ms;
                match what {
                    0 | 1 => { health.fold(Report::Answered, AlwaysOn, at(now_ms)); }
                    2 => { health.fold(silent(), AlwaysOn, at(now_ms)); }
                    3 => { health.failed_at_work("500", at(now_ms), 0.5); }
                    4 => { health.busy(ms, at(now_ms)); }
                    5 => { health.refused_at_work("401".into(), at(now_ms)); }
                    6 => health.silent_at_work(&model),
                    7 => { if health.canary(at(now_ms)).is_some() { health.sang(Song::Silent, at(now_ms)); } }
                    _ => { health.suspect(); }
                }
                health.tick(at(now_ms));
            }
            for _ in 0..2_000 {
                now_ms += 1_000;
                health.fold(Report::Answered, AlwaysOn, at(now_ms));
                if health.canary(at(now_ms)).is_some() {
                    health.sang(Song::Sang, at(now_ms));
                }
                health.tick(at(now_ms));
            }
            prop_assert_eq!((health.state, health.suspect, health.marks()), (State::Up, false, Marks::default()));
        }
    }
}

/// Ten hours asleep: after the misses that told, it is looked at once a minute at most, whatever the dice say; nothing is due
/// besides, no wake begins by itself, and looking at it wakes it as little as a background task does.
#[test]
fn must3_ten_hours_asleep_are_one_probe_a_minute_at_most() {
    use crate::wake::{Condition, Kind, Verdict, Wake, WakePolicy, Wish};
    const TEN_HOURS_MS: u64 = 10 * 3_600_000;
    for random in [0.0, 0.3, 0.999_999] {
        let (mut health, wake) = (up(), Wake::new(120_000, &[6_000]));
        let (mut now_ms, mut asleep_ms) = (0, vec![]);
        while now_ms < TEN_HOURS_MS {
            health.fold(silent(), crate::node::Presence::Sleeps, at(now_ms));
            if health.state == State::Asleep {
                asleep_ms.push(now_ms);
                assert_eq!((health.next_ms(), wake.next_ms()), (None, None), "nothing else is due");
                assert_eq!(wake.condition(false, now_ms), Condition::Asleep);
            }
            // A poll meets it at any time, under every policy.
            for (default, kind) in
                WakePolicy::ALL.into_iter().flat_map(|it| [(it, Kind::Look), (it, Kind::Background)])
            {
                let wish = Wish { kind, alias: None, default, forbidden: false };
                assert!(matches!(wish.verdict(wake.condition(false, now_ms)), Verdict::Pass(_)));
            }
            now_ms += health.next_probe_ms(random);
        }
        assert!(asleep_ms[0] <= 10_000, "believed asleep after {} ms", asleep_ms[0]);
        assert!(asleep_ms.windows(2).all(|two| two[1] - two[0] >= 60_000), "{random}");
        assert!((500..=600).contains(&asleep_ms.len()), "{} looks in ten hours", asleep_ms.len());
        let wish = Wish { kind: Kind::Generate, alias: None, default: WakePolicy::Wait, forbidden: false };
        assert_eq!(
            wish.verdict(wake.condition(false, now_ms)),
            Verdict::Wait,
            "and then somebody asks for it"
        );
    }
}

/// R62: the wall's clock jumps by an hour, back, and by ten years; what we believe and when we look does not.
#[test]
fn r62_the_walls_clock_may_jump() {
    const HOUR_MS: u64 = 3_600_000;
    const BASE_MS: u64 = 1_800_000_000_000;
    let walls = [0, HOUR_MS as i64, -(HOUR_MS as i64), 10 * 365 * 24 * HOUR_MS as i64];
    let run = |walls: &[i64]| {
        let now = |mono_ms: u64| {
            let off = walls[(mono_ms / 1_000) as usize % walls.len()];
            Now { wall_ms: (BASE_MS + mono_ms).saturating_add_signed(off), mono_ms }
        };
        let mut health = Health::new(Patience::default(), now(0));
        let mut seen = vec![];
        for step in 0..120u64 {
            let at = now(step * 1_000);
            match step % 24 {
                3..=5 => drop(health.failed_at_work("500", at, 0.5)),
                7 => drop(health.busy(4_000, at)),
                9 => drop(health.refused_at_work("401".into(), at)),
                11 => drop(health.worked("m", at)),
                14..=19 => drop(health.fold(silent(), crate::node::Presence::Sleeps, at)),
                _ => drop(health.fold(Report::Answered, crate::node::Presence::Sleeps, at)),
            }
            health.tick(at);
            seen.push((health.state, health.marks(), health.next_ms(), health.next_probe_ms(0.5)));
        }
        seen
    };
    let steady = run(&[0]);
    assert!(
        [State::Up, State::Degraded, State::Asleep, State::Refusing]
            .iter()
            .all(|state| steady.iter().any(|it| it.0 == *state))
    );
    assert_eq!(run(&walls), steady);
}
