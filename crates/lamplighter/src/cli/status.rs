//! `lamplighter status`: every machine at a glance.

use super::{
    ask::{Running, block_on},
    harmless_json, print, print_json,
    table::table,
};
use crate::control_file::Whose;
use futures::StreamExt;
use lamplighter_core::{
    snapshot::{Level, Snapshot},
    view,
};
use std::{io::IsTerminal, process::ExitCode, time::Duration};
use tokio::time::{Instant, timeout};

/// Events have no last one: the stream is watched for silence instead.
const ENDLESS: Duration = Duration::from_secs(u32::MAX as u64);
/// So long after its stream has ended a gateway that has moved may be looked for.
const MOVES: Duration = Duration::from_secs(2);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(100);
/// The gateway gives a sign of life every 10 s.
const SILENCE: Duration = Duration::from_secs(30);

pub fn run(whose: &Whose, json: bool, watch: bool) -> Result<ExitCode, String> {
    let running = Running::find(whose)?;
    block_on(async {
        if watch {
            return watch_on(whose, running, json).await;
        }
        if json {
            print_json(&running.ask("snapshot").await?)?;
        } else {
            print(&show(&running.ask("snapshot").await?))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Follows it also to where it moves: its stream ends there, and its control file says where it goes on.
async fn watch_on(whose: &Whose, mut running: Running, json: bool) -> Result<ExitCode, String> {
    loop {
        let why = match follow(&running, json).await {
            Ok(code) => return Ok(code),
            Err(why) => why,
        };
        let began = Instant::now();
        running = loop {
            match Running::find(whose) {
                Ok(now) if now.url() != running.url() => break now,
                _ if began.elapsed() > MOVES => return Err(why),
                _ => tokio::time::sleep(LOOK).await,
            }
        };
    }
}

/// Shows each snapshot as it comes: on a terminal in place, else one after the other. JSON is one line each.
async fn follow(running: &Running, json: bool) -> Result<ExitCode, String> {
    let answer = running.get("events").timeout(ENDLESS).send().await;
    let answer = answer.map_err(|error| running.silent(&error))?;
    running.is_good(&answer)?;
    let mut stream = answer.bytes_stream();
    let mut reader = crate::dialects::sse::Reader::default();
    let in_place = std::io::stdout().is_terminal();
    let ended = "Lamplighter has ended";
    let silent = |_| "Lamplighter has said nothing for 30 s, not even that it is alive".to_owned();
    while let Some(chunk) = timeout(SILENCE, stream.next()).await.map_err(silent)? {
        let chunk = chunk.map_err(|_| ended.to_owned())?;
        let mut snapshots: Vec<Vec<u8>> = Vec::new();
        let read = reader.push(&chunk, |event| snapshots.push(event.data.to_vec()));
        read.map_err(|_| "Lamplighter sent an event without an end".to_owned())?;
        for data in snapshots {
            if json {
                print(&format!("{}\n", harmless_json(&String::from_utf8_lossy(&data))))?;
                continue;
            }
            let snapshot =
                serde_json::from_slice(&data).map_err(|error| format!("cannot read a snapshot: {error}"))?;
            // Home, and clear what is below.
            let start = if in_place { "\x1b[H\x1b[J" } else { "" };
            print(&format!("{start}{}", show(&snapshot)))?;
        }
    }
    Err(ended.into())
}

fn show(snapshot: &Snapshot) -> String {
    let clock = local_clock(snapshot.at_ms);
    let routing = view::routing(&snapshot.gateway, clock).map(|said| format!("  {said}")).unwrap_or_default();
    let mut text = format!("{}  {}{routing}\n", snapshot.gateway.base_url, requests(snapshot));
    if snapshot.nodes.is_empty() {
        text.push_str(&format!("No machines yet: add one in {}\n", snapshot.gateway.config_path));
    }
    let rows: Vec<Vec<String>> = view::status(snapshot, clock)
        .into_iter()
        .map(|row| {
            let state =
                if row.detail.is_empty() { row.word.into() } else { format!("{}, {}", row.word, row.detail) };
            let models = match row.models {
                1 => "1 model".into(),
                n => format!("{n} models"),
            };
            let loaded = row.loaded.iter().map(|model| printable(model)).collect::<Vec<_>>().join(", ");
            let loaded = if loaded.is_empty() { String::new() } else { format!("loaded: {loaded}") };
            vec![format!("{} {}", row.glyph, row.name), printable(&state), models, loaded]
        })
        .collect();
    text.push_str(&table(&rows));
    for question in view::questions(snapshot) {
        text.push_str(&format!("? {}\n", printable(&question)));
    }
    for problem in &snapshot.problems {
        let mark = if problem.level == Level::Problem { "!" } else { "-" };
        text.push_str(&format!("{mark} {}\n", printable(&problem.message)));
        if let Some(hint) = &problem.hint {
            text.push_str(&format!("  {}\n", printable(hint)));
        }
    }
    text
}

fn requests(snapshot: &Snapshot) -> String {
    match snapshot.requests.len() {
        0 => "idle".into(),
        1 => "1 request".into(),
        n => format!("{n} requests"),
    }
}

/// Names and reasons come from nodes: nothing in them may steer a terminal, or turn the direction of a line around.
pub fn printable(text: &str) -> String {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().filter(|&c| !c.is_control() && !turns(c)).collect()
}

fn local_clock(now_ms: u64) -> view::Clock {
    let zone = jiff::tz::TimeZone::system();
    let offset =
        jiff::Timestamp::from_millisecond(now_ms as i64).map_or(0, |now| zone.to_offset(now).seconds() / 60);
    view::Clock { now_ms, utc_offset_min: offset }
}
