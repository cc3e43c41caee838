//! The tray menu of a snapshot, and of a gateway that has none.

use super::{
    Lamp, Row, Tray, node_menu,
    summary::{lamp, summary},
    words::{Clock, count, wrap},
};
use crate::snapshot::Snapshot;

/// Id of the row that copies the base URL.
pub const COPY_BASE_URL: &str = "copy-base-url";
/// Id of the row that ends the app.
pub const QUIT: &str = "quit";

const SUMMARY: &str = "summary";
/// Nodes with a row of their own; the rest is counted.
const NODES_SHOWN: usize = 6;
/// Letters in a row of the summary.
const WIDTH: usize = 72;
/// Rows of the summary of a house.
const SUMMARY_ROWS: usize = 3;
/// Rows of the reason why there is none.
const REASON_ROWS: usize = 6;

/// The tray for this snapshot at this moment.
#[must_use]
pub fn tray(snapshot: &Snapshot, clock: Clock) -> Tray {
    let summary = summary(snapshot);
    let mut rows = summary_rows(&summary, SUMMARY_ROWS);
    rows.extend([base_url_row(snapshot), Row::separator("separator/nodes")]);
    rows.extend(snapshot.nodes.iter().take(NODES_SHOWN).map(|node| node_menu::row(node, clock)));
    if snapshot.nodes.is_empty() {
        rows.push(Row::note("no-nodes", "Add a [[node]] to the configuration:"));
        rows.push(Row::note("config-path", &snapshot.gateway.config_path));
    } else if snapshot.nodes.len() > NODES_SHOWN {
        rows.push(Row::note("more", format!("{} more…", snapshot.nodes.len() - NODES_SHOWN)));
    }
    rows.extend(ending());
    Tray { lamp: lamp(snapshot), summary, rows }
}

impl Tray {
    /// The tray before the first snapshot.
    #[must_use]
    pub fn starting() -> Self {
        Self::without_gateway(Lamp::Dark, "starting…")
    }

    /// The tray of a gateway that could not start: the error in its own words, line by line.
    #[must_use]
    pub fn not_started(error: &str) -> Self {
        let said = if error.trim().is_empty() { "the gateway did not start" } else { error };
        Self::without_gateway(Lamp::Alert, said)
    }

    /// The tray while running requests are let finish; to quit again means now.
    #[must_use]
    pub fn ending(running: usize) -> Self {
        let text = match running {
            0 => "quitting…".to_owned(),
            running => format!("quitting after {}…", count(running, "more request")),
        };
        let mut tray = Self::without_gateway(Lamp::Dark, &text);
        if let Some(row) = tray.rows.iter_mut().find(|row| row.id == QUIT) {
            row.text = "Quit now".into();
        }
        tray
    }

    /// Says in place of the base URL that it was copied.
    pub fn say_copied(&mut self, base_url: &str) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.id == COPY_BASE_URL) {
            row.text = format!("Copied {base_url}");
        }
    }

    fn without_gateway(lamp: Lamp, text: &str) -> Self {
        let mut rows = summary_rows(text, REASON_ROWS);
        rows.extend(ending());
        Self { lamp, summary: text.trim().to_owned(), rows }
    }
}

fn summary_rows(text: &str, rows: usize) -> Vec<Row> {
    let id = |n| if n == 0 { SUMMARY.to_owned() } else { format!("{SUMMARY}/{n}") };
    wrap(text, WIDTH, rows).into_iter().enumerate().map(|(n, line)| Row::note(id(n), line)).collect()
}

/// `127.0.0.1:11400 · 2 active`
fn base_url_row(snapshot: &Snapshot) -> Row {
    let url = &snapshot.gateway.base_url;
    let place = url.strip_prefix("http://").unwrap_or(url);
    let active = match snapshot.requests.len() {
        0 => String::new(),
        active => format!(" · {active} active"),
    };
    Row::item(COPY_BASE_URL, format!("{place}{active}"))
}

fn ending() -> [Row; 2] {
    [Row::separator("separator/quit"), Row::item(QUIT, "Quit Lamplighter")]
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Kind, same_places, sample},
        *,
    };
    use crate::{node::State, snapshot::Gateway};
    use std::collections::HashSet;

    const CLOCK: Clock = Clock { now_ms: 0, utc_offset_min: 0 };

    fn house(nodes: usize) -> Snapshot {
        let gateway = Gateway { base_url: "http://127.0.0.1:11400".into(), ..Default::default() };
        let nodes = (0..nodes)
            .map(|n| sample::models(sample::node(&format!("n{n}"), State::Up), &["llama3.2:3b"], 1));
        Snapshot { gateway, nodes: nodes.collect(), ..Default::default() }
    }

    fn texts(tray: &Tray) -> Vec<&str> {
        tray.rows.iter().map(|row| row.text.as_str()).collect()
    }

    #[test]
    fn the_menu_reads_from_summary_to_quit() {
        let mut snapshot = house(1);
        snapshot.requests = vec![sample::request("n0"); 2];
        snapshot.nodes[0].active = 2;
        let tray = tray(&snapshot, CLOCK);
        assert_eq!(
            texts(&tray),
            [
                "2 requests on n0",
                "127.0.0.1:11400 · 2 active",
                "",
                "● n0 — 2 active, llama3.2:3b",
                "",
                "Quit Lamplighter"
            ]
        );
        assert_eq!((tray.lamp, tray.summary.as_str()), (Lamp::Busy, "2 requests on n0"));
        assert!(!tray.rows[0].enabled && tray.rows[1].enabled);
        assert_eq!((tray.rows[1].id.as_str(), tray.rows[5].id.as_str()), (COPY_BASE_URL, QUIT));
    }

    #[test]
    fn ids_are_unique_through_all_levels() {
        let tray = tray(&house(9), CLOCK);
        let mut seen = HashSet::new();
        for row in &tray.rows {
            assert!(seen.insert(row.id.clone()), "{}", row.id);
            if let Kind::Submenu(rows) = &row.kind {
                assert!(rows.iter().all(|row| seen.insert(row.id.clone())));
            }
        }
    }

    #[test]
    fn many_nodes_are_folded_into_a_count() {
        let folded = tray(&house(9), CLOCK);
        assert_eq!(texts(&folded)[9], "3 more…");
        assert_eq!(folded.rows.len(), 3 + 6 + 1 + 2);
        assert!(texts(&tray(&house(6), CLOCK)).iter().all(|text| !text.contains("more…")));
    }

    #[test]
    fn no_nodes_says_what_to_do() {
        let mut snapshot = house(0);
        snapshot.gateway.config_path = "/home/me/.config/lamplighter/config.toml".into();
        let tray = tray(&snapshot, CLOCK);
        assert_eq!(texts(&tray)[0], "no machines yet");
        assert_eq!(texts(&tray)[4], "/home/me/.config/lamplighter/config.toml");
    }

    #[test]
    fn a_gateway_that_did_not_start_alarms_in_its_own_words() {
        let why = "127.0.0.1:11400 is taken by \"ollama (process 7)\": end it, or choose another port in `listen`\n\nhint";
        let tray = Tray::not_started(why);
        assert_eq!((tray.lamp, tray.summary.as_str()), (Lamp::Alert, why));
        assert_eq!(
            texts(&tray)[..3],
            [
                "127.0.0.1:11400 is taken by \"ollama (process 7)\": end it, or choose",
                "another port in `listen`",
                "hint"
            ]
        );
        assert_eq!(texts(&tray).last(), Some(&"Quit Lamplighter"));
        assert_eq!(Tray::not_started("").summary, "the gateway did not start");
        assert_eq!(Tray::starting().lamp, Lamp::Dark);
    }

    #[test]
    fn quitting_says_what_it_waits_for_and_offers_not_to() {
        assert_eq!(texts(&Tray::ending(2)), ["quitting after 2 more requests…", "", "Quit now"]);
        assert_eq!(Tray::ending(0).summary, "quitting…");
        assert_eq!(Tray::ending(1).rows.last().map(|row| row.id.as_str()), Some(QUIT));
    }

    #[test]
    fn copied_is_said_in_place() {
        let before = tray(&house(2), CLOCK);
        let mut after = before.clone();
        after.say_copied("http://127.0.0.1:11400");
        assert_eq!(texts(&after)[1], "Copied http://127.0.0.1:11400");
        assert!(same_places(&before.rows, &after.rows) && before != after);
        assert!(!same_places(&before.rows, &tray(&house(3), CLOCK).rows));
    }
}
