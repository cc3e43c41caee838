//! The tray menu of a snapshot, and of a gateway that has none.

use super::{
    Action, Lamp, Row, Tray, connect, node_menu, routing_menu,
    summary::{lamp, summary},
    words::{Clock, count, cut_end, tokens_per_s, who, wrap},
};
use crate::snapshot::{Node, Offer, Prompt, Snapshot};

/// The row that copies the base URL.
const BASE_URL: &str = "copy-base-url";
const QUIT: &str = "quit";
const SUMMARY: &str = "summary";
/// Nodes with a row of their own; the rest is counted.
const NODES_SHOWN: usize = 6;
/// Questions whether to wake a machine.
const ASKED: usize = 2;
/// Letters of who asks, in a question.
const LONGEST_ASK: usize = 48;
/// Rows that wake a machine, unless more are waking.
const WOKEN: usize = 2;
/// Rows that free a GPU.
const FREED: usize = 2;
/// Letters in a row of the summary.
const WIDTH: usize = 72;
/// Rows of the summary of a house.
const SUMMARY_ROWS: usize = 3;
/// Rows of the reason why there is none.
const REASON_ROWS: usize = 6;

/// The tray for this snapshot at this moment.
#[must_use]
pub fn tray(snapshot: &Snapshot, clock: Clock) -> Tray {
    let summary = summary(snapshot, clock);
    let mut rows = summary_rows(&summary, SUMMARY_ROWS);
    rows.push(base_url_row(snapshot));
    if !snapshot.prompts.is_empty() {
        rows.push(Row::separator("separator/asks"));
        rows.extend(snapshot.prompts.iter().take(ASKED).flat_map(question));
    }
    rows.push(Row::separator("separator/nodes"));
    rows.extend(snapshot.nodes.iter().take(NODES_SHOWN).map(|node| node_menu::row(node, clock)));
    if snapshot.nodes.is_empty() {
        rows.push(Row::item("no-nodes", "No machines yet: add one…", Action::Open));
    } else if snapshot.nodes.len() > NODES_SHOWN {
        rows.push(Row::item("more", format!("{} more…", snapshot.nodes.len() - NODES_SHOWN), Action::Open));
    }
    rows.extend(snapshot.offers.iter().map(|offer| {
        Row::item(format!("offer/{}", offer.url), use_it(&offer.url), Action::Use(offer.clone()))
    }));
    let woken = woken(snapshot);
    if !woken.is_empty() {
        rows.push(Row::separator("separator/wake"));
        rows.extend(woken);
    }
    let freed: Vec<Row> = snapshot.nodes.iter().filter_map(node_menu::free_gpu).take(FREED).collect();
    if !freed.is_empty() {
        rows.push(Row::separator("separator/free"));
        rows.extend(freed);
    }
    rows.push(Row::separator("separator/open"));
    rows.push(open());
    rows.push(Row::separator("separator/routing"));
    rows.extend([routing_menu::row(&snapshot.gateway), connect::row()]);
    rows.extend(ending());
    Tray { lamp: lamp(snapshot), summary, rows }
}

impl Tray {
    /// The tray before the first snapshot.
    #[must_use]
    pub fn starting() -> Self {
        Self::without_gateway(Lamp::Dark, "Starting…", vec![])
    }

    /// The tray of a gateway that could not start: the error in its own words, line by line, and the way out where an Ollama
    /// holds its port.
    #[must_use]
    pub fn not_started(error: &str, offer: Option<&Offer>) -> Self {
        let said = if error.trim().is_empty() { "The gateway did not start" } else { error };
        let mut rows = vec![Row::separator("separator/open")];
        rows.extend(offer.map(|offer| Row::item("offer", use_it(&offer.url), Action::Use(offer.clone()))));
        rows.extend([Row::item("start-here", "Try again", Action::StartHere), open()]);
        Self::without_gateway(Lamp::Alert, said, rows)
    }

    /// The tray of a gateway in another process that does not answer any more.
    #[must_use]
    pub fn not_connected(url: &str) -> Self {
        let place = url.strip_prefix("http://").unwrap_or(url);
        let here = Row::item("start-here", "Start Lamplighter here", Action::StartHere);
        let rows = vec![Row::separator("separator/open"), here, open()];
        Self::without_gateway(Lamp::Alert, &format!("Not connected: nothing answers at {place}"), rows)
    }

    /// The tray while running requests are let finish; to quit again means now.
    #[must_use]
    pub fn ending(running: usize) -> Self {
        let text = match running {
            0 => "Quitting…".to_owned(),
            running => format!("Quitting after {}…", count(running, "more request")),
        };
        let mut tray = Self::without_gateway(Lamp::Dark, &text, vec![]);
        if let Some(row) = tray.rows.iter_mut().find(|row| row.id == QUIT) {
            row.text = "Quit now".into();
        }
        tray
    }

    /// Says in place of the base URL that something was copied.
    pub fn say_copied(&mut self, what: &str) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.id == BASE_URL) {
            row.text = format!("Copied {what}");
        }
    }

    /// Says something else in place of the summary, for a moment: what is being done, or that it failed.
    pub fn say(&mut self, text: &str) {
        self.rows.retain(|row| row.id != SUMMARY && !row.id.starts_with("summary/"));
        self.rows.splice(0..0, summary_rows(text, SUMMARY_ROWS));
        text.clone_into(&mut self.summary);
    }

    fn without_gateway(lamp: Lamp, text: &str, more: Vec<Row>) -> Self {
        let mut rows = summary_rows(text, REASON_ROWS);
        rows.extend(more);
        rows.extend(ending());
        Self { lamp, summary: text.trim().to_owned(), rows }
    }
}

fn summary_rows(text: &str, rows: usize) -> Vec<Row> {
    let id = |n| if n == 0 { SUMMARY.to_owned() } else { format!("{SUMMARY}/{n}") };
    wrap(text, WIDTH, rows).into_iter().enumerate().map(|(n, line)| Row::note(id(n), line)).collect()
}

/// `127.0.0.1:11400 · 2 active · 61 tok/s`
fn base_url_row(snapshot: &Snapshot) -> Row {
    let url = &snapshot.gateway.base_url;
    let place = url.strip_prefix("http://").unwrap_or(url);
    let active = Some(snapshot.requests.len()).filter(|active| *active > 0);
    let facts = [
        active.map(|active| format!(" · {active} active")),
        tokens_per_s(snapshot).map(|rate| format!(" · {rate} tok/s")),
    ];
    let facts: String = facts.into_iter().flatten().collect();
    Row::item(BASE_URL, format!("{place}{facts}"), Action::CopyBaseUrl)
}

/// Every machine that wakes can be left asleep from here, and a few of the others be woken; in the order of the configuration, so
/// that no row moves when it is clicked.
fn woken(snapshot: &Snapshot) -> Vec<Row> {
    let wakes = |node: &Node| node.sleep.waking.is_some();
    let mut others = WOKEN.saturating_sub(snapshot.nodes.iter().filter(|node| wakes(node)).count());
    let mut row = |node: &Node| {
        let row = node_menu::wake(node)?;
        if !wakes(node) {
            others = others.checked_sub(1)?;
        }
        Some(row)
    };
    snapshot.nodes.iter().filter_map(&mut row).collect()
}

/// `Wake tower (cline asks for coder)` and the other answer: not every desktop shows the notification's buttons, and who has switched
/// it off finds the question here.
fn question(prompt: &Prompt) -> [Row; 2] {
    let node = &prompt.node;
    let asks = cut_end(&format!("{} asks for {}", who(&prompt.client), prompt.model), LONGEST_ASK);
    let answer = |wake| Action::Answer { node: node.clone(), wake };
    [
        Row::item(format!("ask/{node}/wake"), format!("Wake {node} ({asks})"), answer(true)),
        Row::item(
            format!("ask/{node}/elsewhere"),
            format!("Answer elsewhere, {node} sleeps on"),
            answer(false),
        ),
    ]
}

fn use_it(url: &str) -> String {
    format!("Use the Ollama at {url} as a node")
}

fn open() -> Row {
    Row::item("open", "Open Lamplighter", Action::Open)
}

fn ending() -> [Row; 2] {
    [Row::separator("separator/quit"), Row::item(QUIT, "Quit Lamplighter", Action::Quit)]
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Kind, same_places, sample},
        *,
    };
    use crate::{
        mode::Mode,
        node::{Stage, State},
        snapshot::Gateway,
    };
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
                "Open Lamplighter",
                "",
                "Routing",
                "Connect an app",
                "",
                "Quit Lamplighter"
            ]
        );
        assert_eq!((tray.lamp, tray.summary.as_str()), (Lamp::Busy, "2 requests on n0"));
        assert!(!tray.rows[0].enabled && tray.rows[1].enabled);
        let actions: Vec<_> = tray.rows.iter().filter_map(|row| row.action.clone()).collect();
        assert_eq!(actions, [Action::CopyBaseUrl, Action::Open, Action::Quit]);
    }

    #[test]
    fn a_question_stands_near_the_top_with_both_answers() {
        let mut snapshot = house(1);
        let prompt = |node: &str, client: &str| Prompt {
            node: node.into(),
            model: "coder".into(),
            client: client.into(),
            until_ms: 1,
        };
        snapshot.prompts = vec![prompt("tower", "cline/3.1")];
        let asked = tray(&snapshot, CLOCK);
        assert_eq!(
            texts(&asked)[1..7],
            [
                "127.0.0.1:11400",
                "",
                "Wake tower (cline asks for coder)",
                "Answer elsewhere, tower sleeps on",
                "",
                "● n0 — 1 model, llama3.2:3b loaded"
            ]
        );
        let answer = |wake| Some(Action::Answer { node: "tower".into(), wake });
        assert_eq!(
            [&asked.rows[3], &asked.rows[4]].map(|row| row.action.clone()),
            [answer(true), answer(false)]
        );
        snapshot.prompts.extend([prompt("attic", &"x".repeat(99)), prompt("cellar", "")]);
        let asked = tray(&snapshot, CLOCK);
        assert!(texts(&asked)[5].chars().count() < 72, "a menu grows as wide as its widest row");
        assert!(!texts(&asked).iter().any(|text| text.contains("cellar")), "a menu has an end");
    }

    #[test]
    fn whoever_wakes_can_be_left_asleep_from_the_menu_and_no_row_moves() {
        let mut snapshot = house(9);
        for node in &mut snapshot.nodes {
            (node.state, node.sleep.can_wake) = (State::Asleep, true);
        }
        let wakes = |snapshot: &Snapshot| {
            let rows = tray(snapshot, CLOCK).rows;
            let rows = rows.into_iter().filter(|row| row.id.starts_with("wake/"));
            rows.map(|row| row.text).collect::<Vec<_>>()
        };
        assert_eq!(wakes(&snapshot), ["Wake n0", "Wake n1"]);
        let mut wake = |n: usize| {
            let node = &mut snapshot.nodes[n];
            (node.state, node.sleep.waking) =
                (State::Waking(Stage::Packet), Some(sample::waking(Stage::Packet, 0)));
            wakes(&snapshot)
        };
        assert_eq!(wake(1), ["Wake n0", "Cancel waking n1"], "in its place");
        assert_eq!(wake(8), ["Cancel waking n1", "Cancel waking n8"], "also one that has no row of its own");
        assert_eq!(wake(4), ["Cancel waking n1", "Cancel waking n4", "Cancel waking n8"]);
    }

    #[test]
    fn rows_come_with_what_there_is_to_do() {
        let mut snapshot = house(3);
        for node in &mut snapshot.nodes {
            (node.can_load, node.gpu) = (true, Some("RTX 4090".into()));
        }
        let free = tray(&snapshot, CLOCK);
        let at = texts(&free).iter().position(|text| *text == "Free n0's GPU").unwrap_or_default();
        assert_eq!(
            texts(&free)[at - 1..at + 4],
            ["", "Free n0's GPU", "Free n1's GPU", "", "Open Lamplighter"]
        );
        let below = free.row("node/n1/model/llama3.2:3b").and_then(|row| row.action.clone());
        assert_eq!(below, Some(Action::Unload { node: "n1".into(), model: Some("llama3.2:3b".into()) }));
        assert_eq!(
            free.row("routing/auto").and_then(|row| row.action.clone()),
            Some(Action::Route(Mode::Auto))
        );
        assert_eq!(free.row("nothing"), None);
    }

    #[test]
    fn a_pause_is_seen_in_lamp_summary_and_menu() {
        let mut snapshot = house(1);
        (snapshot.gateway.mode, snapshot.gateway.paused_until_ms) = (Mode::Paused, Some(18 * 3_600_000));
        let tray = tray(&snapshot, CLOCK);
        assert_eq!((tray.lamp, texts(&tray)[0]), (Lamp::Paused, "Paused until 18:00"));
        assert!(texts(&tray).contains(&"Routing: paused"));
    }

    #[test]
    fn what_is_said_for_a_moment_stands_where_the_summary_stood() {
        let mut tray = tray(&house(1), CLOCK);
        let before = tray.rows.clone();
        tray.say("Loading a on n0…");
        assert_eq!((tray.summary.as_str(), texts(&tray)[0]), ("Loading a on n0…", "Loading a on n0…"));
        assert!(same_places(&before, &tray.rows));
        tray.say(&"word ".repeat(60));
        assert_eq!(tray.rows.len(), before.len() + 2);
        tray.say("short");
        assert!(same_places(&before, &tray.rows));
    }

    #[test]
    fn a_gateway_that_is_gone_can_be_replaced_from_here() {
        let tray = Tray::not_connected("http://127.0.0.1:11400");
        assert_eq!(
            texts(&tray),
            [
                "Not connected: nothing answers at 127.0.0.1:11400",
                "",
                "Start Lamplighter here",
                "Open Lamplighter",
                "",
                "Quit Lamplighter"
            ]
        );
        assert_eq!(tray.lamp, Lamp::Alert);
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
        assert_eq!(folded.row("more").and_then(|row| row.action.clone()), Some(Action::Open));
        assert!(texts(&tray(&house(6), CLOCK)).iter().all(|text| !text.contains("more…")));
    }

    #[test]
    fn no_nodes_says_what_to_do() {
        let tray = tray(&house(0), CLOCK);
        assert_eq!((tray.lamp, texts(&tray)[0]), (Lamp::Dark, "No machines yet"));
        let row = &tray.rows[3];
        assert_eq!((row.text.as_str(), &row.action), ("No machines yet: add one…", &Some(Action::Open)));
    }

    #[test]
    fn a_gateway_that_did_not_start_alarms_in_its_own_words() {
        let why = "127.0.0.1:11400 is taken by \"ollama (process 7)\": end it, or choose another port in `listen`\n\nhint";
        let tray = Tray::not_started(why, None);
        assert_eq!((tray.lamp, tray.summary.as_str()), (Lamp::Alert, why));
        assert_eq!(
            texts(&tray)[..3],
            [
                "127.0.0.1:11400 is taken by \"ollama (process 7)\": end it, or choose",
                "another port in `listen`",
                "hint"
            ]
        );
        assert_eq!(texts(&tray)[3..], ["", "Try again", "Open Lamplighter", "", "Quit Lamplighter"]);
        assert_eq!(Tray::not_started("", None).summary, "The gateway did not start");
        assert_eq!(Tray::starting().lamp, Lamp::Dark);
    }

    #[test]
    fn an_ollama_on_our_port_is_one_click_from_being_a_node() {
        let offer = Offer { name: "ollama".into(), url: "127.0.0.1:11434".into() };
        let tray = Tray::not_started("An Ollama holds 127.0.0.1:11434", Some(&offer));
        assert_eq!(texts(&tray)[2..4], ["Use the Ollama at 127.0.0.1:11434 as a node", "Try again"]);
        assert_eq!(tray.rows[2].action, Some(Action::Use(offer.clone())));
        // Beside a gateway that runs on another port it stands below the nodes.
        let snapshot = Snapshot { offers: vec![offer.clone()], ..house(1) };
        let tray = super::tray(&snapshot, CLOCK);
        let at = texts(&tray).iter().position(|text| text.starts_with("Use the Ollama")).unwrap_or_default();
        assert_eq!((at, &tray.rows[at].action), (4, &Some(Action::Use(offer))));
    }

    #[test]
    fn quitting_says_what_it_waits_for_and_offers_not_to() {
        assert_eq!(texts(&Tray::ending(2)), ["Quitting after 2 more requests…", "", "Quit now"]);
        assert_eq!(Tray::ending(0).summary, "Quitting…");
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
