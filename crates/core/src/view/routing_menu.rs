//! How requests are routed: the mode as people read it, and the rows that change it.

use super::{Action, Row, words::Clock};
use crate::{mode::Mode, snapshot::Gateway};

/// `Routing ▸`: the modes, the one in force marked, and the pause.
pub(super) fn row(gateway: &Gateway) -> Row {
    let mode = |mode: Mode, text| {
        let on = gateway.mode == mode;
        Row::check(format!("routing/{}", mode.word()), text, on, Some(Action::Route(mode)))
    };
    let pause = Row::item("routing/pause-hour", "Pause for 1 hour", Action::Pause { an_hour: true });
    let last = match gateway.mode {
        Mode::Paused => Row::item("routing/resume", "Resume", Action::Resume),
        Mode::Auto | Mode::Local | Mode::NoWake => {
            Row::item("routing/pause", "Pause until I resume", Action::Pause { an_hour: false })
        }
    };
    let rows = vec![
        mode(Mode::Auto, "Automatic"),
        mode(Mode::Local, "Local only"),
        mode(Mode::NoWake, "Only machines that are up (never wake)"),
        Row::separator("routing/separator"),
        pause,
        last,
    ];
    let said = match gateway.mode {
        Mode::Auto => "Routing",
        Mode::Local => "Routing: local only",
        Mode::NoWake => "Routing: never wake",
        Mode::Paused => "Routing: paused",
    };
    Row::submenu("routing", said, rows)
}

/// `Paused until 18:00`, or until a person resumes.
pub(super) fn paused(gateway: &Gateway, clock: Clock) -> String {
    format!("Paused until {}", end_of_pause(gateway, clock))
}

fn end_of_pause(gateway: &Gateway, clock: Clock) -> String {
    gateway.paused_until_ms.map_or_else(|| "you resume".to_owned(), |until_ms| clock.time(until_ms))
}

/// What a person has chosen about routing, `paused until 18:00`; `None` when it is as configured.
#[must_use]
pub fn routing(gateway: &Gateway, clock: Clock) -> Option<String> {
    match gateway.mode {
        mode @ (Mode::Auto | Mode::Local | Mode::NoWake) => mode.words().map(str::to_owned),
        Mode::Paused => Some(format!("paused until {}", end_of_pause(gateway, clock))),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Kind, *};

    fn rows(mode: Mode) -> (String, Vec<Row>) {
        let row = row(&Gateway { mode, ..Default::default() });
        let Kind::Submenu(rows) = row.kind else { panic!("it opens") };
        (row.text, rows)
    }

    #[test]
    fn exactly_the_mode_in_force_is_marked() {
        for (mode, text, at) in [
            (Mode::Auto, "Routing", Some(0)),
            (Mode::Local, "Routing: local only", Some(1)),
            (Mode::NoWake, "Routing: never wake", Some(2)),
            (Mode::Paused, "Routing: paused", None),
        ] {
            let (said, rows) = rows(mode);
            assert_eq!(
                (said.as_str(), rows.iter().position(|row| row.kind == Kind::Check(true))),
                (text, at)
            );
        }
    }

    #[test]
    fn a_pause_offers_its_end() {
        let last = |mode| rows(mode).1.pop().map(|row| (row.text, row.action));
        assert_eq!(last(Mode::Paused), Some(("Resume".into(), Some(Action::Resume))));
        let pause = Some(Action::Pause { an_hour: false });
        assert_eq!(last(Mode::Local), Some(("Pause until I resume".into(), pause)));
    }

    #[test]
    fn a_pause_says_until_when_in_local_time() {
        let clock = Clock { now_ms: 0, utc_offset_min: 60 };
        let until = |paused_until_ms| paused(&Gateway { paused_until_ms, ..Default::default() }, clock);
        assert_eq!(until(Some(17 * 3_600_000)), "Paused until 18:00");
        assert_eq!(until(None), "Paused until you resume");
        let said = |mode| routing(&Gateway { mode, ..Default::default() }, clock);
        assert_eq!((said(Mode::Auto), said(Mode::Paused)), (None, Some("paused until you resume".into())));
        assert!(said(Mode::Local).unwrap().starts_with("local only"));
        assert!(said(Mode::NoWake).unwrap().starts_with("never wake"));
    }
}
