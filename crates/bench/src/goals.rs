//! The rows of the table: what is measured, in which unit, and what it should come to.

use crate::spread::median;
use std::{collections::BTreeMap, fmt::Write};

/// Who was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The fake node itself.
    Direct,
    /// nginx.
    Nginx,
    /// haproxy.
    Haproxy,
    /// Lamplighter.
    Gateway,
}

/// What a row should come to. The second figure is the stretch goal.
#[derive(Debug, Clone, Copy)]
enum Goal {
    /// At most so many times nginx's figure.
    AtMostOfNginx(f64, f64),
    /// At least so many times nginx's figure.
    AtLeastOfNginx(f64, f64),
    /// At most this, whatever others do.
    AtMost(f64, f64),
    /// At least this.
    AtLeast(f64, f64),
    /// Only told.
    None,
}

struct Row {
    id: &'static str,
    title: &'static str,
    unit: &'static str,
    /// What the direct way takes is taken off both proxies' figures.
    added: bool,
    goal: Goal,
}

const fn row(id: &'static str, title: &'static str, unit: &'static str, goal: Goal) -> Row {
    Row { id, title, unit, added: false, goal }
}

const fn added(id: &'static str, title: &'static str, unit: &'static str, goal: Goal) -> Row {
    Row { id, title, unit, added: true, goal }
}

use Goal::{AtLeast, AtLeastOfNginx, AtMost, AtMostOfNginx};

const ROWS: [Row; 26] = [
    row("req_s", "requests per second, 16 connections, one core", "", AtLeastOfNginx(0.8, 1.0)),
    row("req_cpu", "CPU per request", "µs", AtMostOfNginx(1.25, 1.0)),
    row("req_user", "… of it in user mode", "µs", Goal::None),
    added("lat_p50", "added latency, 1 connection, p50", "µs", AtMostOfNginx(1.1, 1.0)),
    added("lat_p99", "added latency, 1 connection, p99", "µs", AtMostOfNginx(1.25, 1.0)),
    added("ttfb_p50", "added time to a stream's first event, p50", "µs", AtMostOfNginx(1.25, 0.8)),
    row("ttfb_max", "slowest first event (never a 40 ms stall)", "ms", AtMost(40.0, 40.0)),
    row("delay_p50", "delay of an event, 64 streams, p50", "µs", AtMostOfNginx(1.15, 1.0)),
    row("delay_p99", "delay of an event, 64 streams, p99", "µs", AtMostOfNginx(1.25, 1.0)),
    row("event_cpu", "CPU per event, 64 streams", "µs", AtMostOfNginx(1.0, 0.8)),
    row("burst", "events per second in bursts, 4 streams", "", AtLeastOfNginx(1.0, 1.9)),
    row("burst_cpu", "CPU per event in bursts", "µs", Goal::None),
    row("body64_cpu", "CPU per request with a 64 KB body", "µs", AtMostOfNginx(0.75, 0.75)),
    row("body20_cpu", "CPU per request with a 20 MB body", "ms", AtMostOfNginx(0.9, 0.9)),
    added("body20_lat", "added latency of a 20 MB body, p50", "ms", Goal::None),
    row("body20_mem", "memory that a 20 MB body adds", "MB", AtMost(3.0, 3.0)),
    row("rss_idle", "memory idle (RSS)", "MB", AtMost(10.0, 10.0)),
    row("pss_idle", "memory idle (PSS)", "MB", Goal::None),
    row("stream_kb", "memory per open stream, 1,000 streams", "KB", AtMost(45.0, 25.0)),
    row("kept_kb", "… of it still held 6 s after they are closed", "KB", Goal::None),
    row("start", "from start to serving", "ms", AtMost(100.0, 100.0)),
    row("list_p50", "model list, half of 20 nodes black-holed, p50", "ms", Goal::None),
    row("list_p99", "model list, half of 20 nodes black-holed, p99", "ms", AtMost(50.0, 5.0)),
    row("fleet", "req/s over 300 nodes × 3,000 models : 3 × 30", "×", AtLeast(0.95, 1.0)),
    row("size", "size of `lamplighter`", "MB", Goal::None),
    row("size_app", "size of `lamplighter-desktop`", "MB", Goal::None),
];

/// All that was measured, round by round.
#[derive(Debug, Default)]
pub struct Figures(BTreeMap<(&'static str, Who), Vec<f64>>);

impl Figures {
    /// Notes one figure of one round.
    pub fn add(&mut self, id: &'static str, who: Who, figure: f64) {
        debug_assert!(ROWS.iter().any(|row| row.id == id), "no row {id}");
        self.0.entry((id, who)).or_default().push(figure);
    }

    fn of(&self, row: &Row, who: Who) -> Option<f64> {
        let median_of = |who| median(self.0.get(&(row.id, who))?);
        let figure = median_of(who)?;
        Some(if row.added && who != Who::Direct { figure - median_of(Who::Direct)? } else { figure })
    }

    /// The table in Markdown: medians of the rounds, the ratio to nginx, the goal, and whether it is met. haproxy's column
    /// is there when it was measured: figures to look at, the goals are nginx's.
    pub fn table(&self) -> String {
        let has_haproxy = self.0.keys().any(|(_, who)| *who == Who::Haproxy);
        let (title, line) = if has_haproxy { (" haproxy |", "--:|") } else { ("", "") };
        let mut text = format!(
            "| | direct | nginx |{title} Lamplighter | : nginx | goal | |\n|---|--:|--:|{line}--:|--:|---|---|\n"
        );
        for row in &ROWS {
            let all = [Who::Direct, Who::Nginx, Who::Haproxy, Who::Gateway].map(|who| self.of(row, who));
            if all.iter().all(Option::is_none) {
                continue;
            }
            let [direct, nginx, haproxy, gateway] = all;
            let shown = |figure: Option<f64>| {
                figure.map_or("–".to_owned(), |f| number(f) + space(row.unit) + row.unit)
            };
            // A difference that drowns in noise makes no ratio.
            let ratio = gateway.zip(nginx.filter(|n| *n > 0.0)).map(|(g, n)| g / n);
            let (goal, met) = row.goal.judge(gateway, ratio, row.unit);
            let ratio = ratio.map_or("–".to_owned(), |r| format!("{r:.2}"));
            let mut cells = vec![row.title.to_owned(), shown(direct), shown(nginx)];
            cells.extend(has_haproxy.then(|| shown(haproxy)));
            cells.extend([shown(gateway), ratio, goal, met.to_owned()]);
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        text
    }
}

impl Goal {
    /// The goal in words, and the verdict.
    fn judge(self, gateway: Option<f64>, ratio: Option<f64>, unit: &str) -> (String, &'static str) {
        let unit = format!("{}{unit}", space(unit));
        let (text, figure, must, stretch, least) = match self {
            Self::AtMostOfNginx(must, stretch) => (format!("≤ {must} ×"), ratio, must, stretch, false),
            Self::AtLeastOfNginx(must, stretch) => (format!("≥ {must} ×"), ratio, must, stretch, true),
            Self::AtMost(must, stretch) => {
                (format!("≤ {}{unit}", number(must)), gateway, must, stretch, false)
            }
            Self::AtLeast(must, stretch) => (format!("≥ {must}{unit}"), gateway, must, stretch, true),
            Self::None => return (String::new(), ""),
        };
        let meets = |figure: f64, goal: f64| if least { figure >= goal } else { figure <= goal };
        let verdict = match figure {
            None => "not measured",
            Some(figure) if must != stretch && meets(figure, stretch) => "ok, stretch too",
            Some(figure) if meets(figure, must) => "ok",
            Some(_) => "gap",
        };
        (text, verdict)
    }
}

fn space(unit: &str) -> &'static str {
    if unit.is_empty() { "" } else { " " }
}

/// Three digits that say something; thousands apart.
fn number(figure: f64) -> String {
    match figure.abs() {
        size if size >= 1000.0 => {
            let whole = format!("{:.0}", figure);
            let at = whole.len() - 3;
            match at.checked_sub(3).filter(|at| *at > 0) {
                Some(million) => format!("{},{},{}", &whole[..million], &whole[million..at], &whole[at..]),
                None => format!("{},{}", &whole[..at], &whole[at..]),
            }
        }
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_medians_and_what_the_direct_way_takes_is_taken_off() {
        let mut figures = Figures::default();
        for (direct, nginx, gateway) in [(30.0, 100.0, 107.0), (30.0, 101.0, 106.0), (31.0, 9_000.0, 107.0)] {
            figures.add("lat_p50", Who::Direct, direct);
            figures.add("lat_p50", Who::Nginx, nginx);
            figures.add("lat_p50", Who::Gateway, gateway);
        }
        figures.add("req_s", Who::Gateway, 40_000.0);
        figures.add("req_s", Who::Nginx, 60_000.0);
        figures.add("start", Who::Gateway, 12.34);
        let table = figures.table();
        let line = |start: &str| table.lines().find(|line| line.contains(start)).unwrap().to_owned();
        assert_eq!(
            line("added latency, 1 connection, p50"),
            "| added latency, 1 connection, p50 | 30.0 µs | 71.0 µs | 77.0 µs | 1.08 | ≤ 1.1 × | ok |"
        );
        assert!(
            line("requests per second").ends_with("| – | 60,000 | 40,000 | 0.67 | ≥ 0.8 × | gap |"),
            "{table}"
        );
        assert!(line("start to serving").ends_with("| – | – | 12.3 ms | – | ≤ 100 ms | ok |"), "{table}");
        assert!(!table.contains("model list") && !table.contains("haproxy"), "{table}");
        figures.add("req_s", Who::Haproxy, 50_000.0);
        let table = figures.table();
        assert!(table.contains("| – | 60,000 | 50,000 | 40,000 | 0.67 |"), "{table}");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0.123, 12.34, 123.4, 1234.5, 1_234_567.0].map(number),
            ["0.12", "12.3", "123", "1,234", "1,234,567"]
        );
    }
}
