//! What the tray should show now: the view of the house, and what only lasts a moment.

use crate::gateway::NotStarted;
use lamplighter_core::{
    snapshot::Snapshot,
    view::{self, Clock, Lamp, News, Tray},
};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a row says `Copied`.
const COPIED: Duration = Duration::from_secs(2);
/// How long the summary says that something could not be done.
const FAILED: Duration = Duration::from_secs(10);
/// The lamp stays busy until nothing has run for this long: it must not flicker between short requests.
const QUIET: Duration = Duration::from_secs(2);

/// What there is to show.
#[derive(Debug, Default)]
pub enum Showing {
    /// Nothing yet.
    #[default]
    Starting,
    /// The gateway did not start.
    Failed(NotStarted),
    /// The gateway that ran at this address, in another process, does not answer.
    Gone(String),
    /// The gateway runs.
    House(Arc<Snapshot>),
}

/// The tray's state that is not in the snapshot.
#[derive(Debug, Default)]
pub struct Face {
    /// What there is to show.
    pub showing: Showing,
    /// What was last copied, and when.
    pub copied: Option<(String, Instant)>,
    /// What is being done, the latest last.
    pub doing: Vec<String>,
    /// Why something could not be done, and when.
    pub failed: Option<(String, Instant)>,
    /// Sorts of news that are not told; `None` where nothing tells them.
    pub untold: Option<BTreeSet<News>>,
    /// On the way out.
    pub ending: bool,
    busy: Busy,
}

#[derive(Debug, Default)]
enum Busy {
    #[default]
    No,
    Yes,
    QuietSince(Instant),
}

impl Face {
    /// The tray as it should look, and when it will look different with no news at all.
    pub fn wanted(&mut self, clock: Clock, now: Instant) -> (Tray, Option<Instant>) {
        let (mut tray, busy_until) = match &self.showing {
            Showing::Starting => (Tray::starting(), None),
            Showing::Failed(NotStarted { why, offer }) => (Tray::not_started(why, offer.as_ref()), None),
            Showing::Gone(url) => (Tray::not_connected(url), None),
            Showing::House(snapshot) if self.ending => (Tray::ending(snapshot.requests.len()), None),
            Showing::House(snapshot) => {
                let mut tray = view::tray(snapshot, clock);
                if let Some(off) = &self.untold {
                    tray.with_notifications(off);
                }
                let until = self.busy.hold(&mut tray.lamp, now);
                (tray, until)
            }
        };
        let copied = self.copied.as_ref().filter(|(_, at)| now < *at + COPIED);
        if let Some((what, _)) = copied {
            tray.say_copied(what);
        }
        let failed = self.failed.as_ref().filter(|(_, at)| now < *at + FAILED);
        if let Some((why, _)) = failed {
            tray.say(why);
            tray.lamp = Lamp::Alert;
        } else if let Some(what) = self.doing.last() {
            tray.say(what);
        }
        let until = [copied.map(|(_, at)| *at + COPIED), failed.map(|(_, at)| *at + FAILED), busy_until];
        (tray, until.into_iter().flatten().min())
    }
}

impl Busy {
    /// Keeps the lamp busy a little longer than it is; says until when.
    fn hold(&mut self, lamp: &mut Lamp, now: Instant) -> Option<Instant> {
        let since = match (*lamp, &self) {
            (Lamp::Busy, _) => {
                *self = Self::Yes;
                return None;
            }
            (_, Self::No) => return None,
            (_, Self::Yes) => now,
            (_, Self::QuietSince(since)) => *since,
        };
        if now >= since + QUIET {
            *self = Self::No;
            return None;
        }
        *self = Self::QuietSince(since);
        // More urgent lamps are shown at once.
        *lamp = Lamp::Busy.min(*lamp);
        Some(since + QUIET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplighter_core::snapshot::{Gateway, Level, Problem};

    const CLOCK: Clock = Clock { now_ms: 0, utc_offset_min: 0 };

    fn face() -> Face {
        let gateway = Gateway { base_url: "http://127.0.0.1:11400".into(), ..Default::default() };
        Face {
            showing: Showing::House(Arc::new(Snapshot { gateway, ..Default::default() })),
            ..Default::default()
        }
    }

    fn first_rows(tray: &Tray) -> Vec<&str> {
        tray.rows.iter().take(2).map(|row| row.text.as_str()).collect()
    }

    #[test]
    fn copied_is_said_for_two_seconds() {
        let (mut face, t) = (face(), Instant::now());
        face.copied = Some(("http://127.0.0.1:11400".into(), t));
        let (tray, next) = face.wanted(CLOCK, t + Duration::from_millis(1_900));
        assert_eq!(first_rows(&tray)[1], "Copied http://127.0.0.1:11400");
        assert_eq!(next, Some(t + COPIED));
        let (tray, next) = face.wanted(CLOCK, t + COPIED);
        assert_eq!((first_rows(&tray)[1], next), ("127.0.0.1:11400", None));
    }

    #[test]
    fn what_is_done_and_what_failed_stand_in_the_summary_for_a_while() {
        let (mut face, t) = (face(), Instant::now());
        face.doing = vec!["Loading a on nas…".into(), "Loading b on nas…".into()];
        let (tray, next) = face.wanted(CLOCK, t);
        assert_eq!((tray.summary.as_str(), tray.lamp, next), ("Loading b on nas…", Lamp::Dark, None));
        face.doing.clear();
        face.failed = Some(("a was not loaded on nas".into(), t));
        let (tray, next) = face.wanted(CLOCK, t + FAILED - Duration::from_millis(1));
        assert_eq!(
            (tray.summary.as_str(), tray.lamp, next),
            ("a was not loaded on nas", Lamp::Alert, Some(t + FAILED))
        );
        let (tray, next) = face.wanted(CLOCK, t + FAILED);
        assert_eq!((tray.summary.as_str(), tray.lamp, next), ("No machines yet", Lamp::Dark, None));
    }

    #[test]
    fn busy_falls_back_after_two_seconds_of_quiet() {
        let (mut busy, t) = (Busy::No, Instant::now());
        let mut hold = |lamp: Lamp, ms| {
            let (mut lamp, at) = (lamp, t + Duration::from_millis(ms));
            let until = busy.hold(&mut lamp, at);
            (lamp, until.map(|until| (until - t).as_millis()))
        };
        assert_eq!(hold(Lamp::Lit, 0), (Lamp::Lit, None));
        assert_eq!(hold(Lamp::Busy, 1_000), (Lamp::Busy, None));
        assert_eq!(hold(Lamp::Lit, 5_000), (Lamp::Busy, Some(7_000)), "quiet begins when it is first seen");
        assert_eq!(hold(Lamp::Busy, 6_000), (Lamp::Busy, None));
        assert_eq!(hold(Lamp::Low, 6_500), (Lamp::Busy, Some(8_500)));
        assert_eq!(hold(Lamp::Alert, 7_000), (Lamp::Alert, Some(8_500)), "urgent things do not wait");
        assert_eq!(hold(Lamp::Low, 8_499).0, Lamp::Busy);
        assert_eq!(hold(Lamp::Low, 8_500), (Lamp::Low, None));
        assert_eq!(hold(Lamp::Low, 8_600), (Lamp::Low, None));
    }

    #[test]
    fn each_stage_of_the_gateway_has_its_tray() {
        let now = Instant::now();
        let mut face = Face::default();
        assert_eq!(face.wanted(CLOCK, now).0, Tray::starting());
        face.showing = Showing::Failed(NotStarted { why: "port 11400 is taken".into(), offer: None });
        assert_eq!(face.wanted(CLOCK, now).0.lamp, Lamp::Alert);
        face.showing = Showing::Gone("http://127.0.0.1:11400".into());
        assert_eq!(face.wanted(CLOCK, now).0, Tray::not_connected("http://127.0.0.1:11400"));
        let problem = Problem {
            code: "x".into(),
            level: Level::Problem,
            message: "nas is down".into(),
            hint: None,
            node: None,
        };
        let snapshot = Snapshot { problems: vec![problem], ..Default::default() };
        face.showing = Showing::House(Arc::new(snapshot));
        assert_eq!(face.wanted(CLOCK, now).0.summary, "nas is down");
        face.ending = true;
        assert_eq!(face.wanted(CLOCK, now).0, Tray::ending(0));
    }
}
