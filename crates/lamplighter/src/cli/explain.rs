//! `lamplighter explain MODEL`: which machine would answer, what each rule sees of every candidate, and why not the others.

use super::{
    ask::{Running, block_on},
    print, print_json,
    status::printable,
    table::table,
};
use crate::control_file::Whose;
use serde_json::Value;
use std::process::ExitCode;

pub fn run(whose: &Whose, model: &str, session: Option<&str>, json: bool) -> Result<ExitCode, String> {
    let running = Running::find(whose)?;
    let mut question = running.get("explain").query(&[("model", model)]);
    if let Some(session) = session {
        question = question.query(&[("session", session)]);
    }
    let answer: Value = block_on(running.read(question))?;
    if json {
        print_json(&answer)?
    } else {
        print(&show(&answer))?
    }
    let candidates = answer["candidates"].as_array().map_or(0, Vec::len);
    Ok(if candidates > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(answer: &Value) -> String {
    let mut out = String::new();
    if let Some(alias) = answer["alias"].as_str() {
        out.push_str(&format!("{} is an alias\n", printable(alias)));
    }
    let candidates = answer["candidates"].as_array().map_or(&[][..], Vec::as_slice);
    out.push_str(&table(&ranking(candidates)));
    if candidates.len() > 1 {
        out.push_str("what each rule sees, the strongest first:\n");
        out.push_str(&table(&rules(candidates)));
    }
    if let Some(refusal) = answer["refusal"].as_object() {
        out.push_str(&format!("{}\n", text(&refusal["message"])));
    }
    let passed = answer["passed_over"].as_array().map_or(&[][..], Vec::as_slice);
    let rows: Vec<Vec<String>> = passed
        .iter()
        .map(|over| vec![format!("   {}", text(&over["node"])), text(&over["model"]), text(&over["why"])])
        .collect();
    if !rows.is_empty() {
        out.push_str("passed over:\n");
        out.push_str(&table(&rows));
    }
    out
}

fn text(value: &Value) -> String {
    printable(value.as_str().unwrap_or_default())
}

/// The candidates in their order, each with what put it before the next one.
fn ranking(candidates: &[Value]) -> Vec<Vec<String>> {
    let row = |(at, candidate): (usize, &Value)| {
        let load = match candidate["slots"].as_u64() {
            Some(slots) if slots < u64::from(u32::MAX) => {
                format!("{} of {slots} places taken", candidate["running"])
            }
            _ => String::new(),
        };
        let [node, model, reason] = ["node", "node_model", "reason"].map(|field| text(&candidate[field]));
        vec![format!("{}.", at + 1), node, model, reason, load]
    };
    candidates.iter().enumerate().map(row).collect()
}

/// A row per candidate, a column per rule. The rule that put it before the next one is marked.
fn rules(candidates: &[Value]) -> Vec<Vec<String>> {
    let of = |candidate: &Value, field: &str| -> Vec<String> {
        candidate["rules"]
            .as_array()
            .map_or_else(Vec::new, |all| all.iter().map(|rule| text(&rule[field])).collect())
    };
    let mut head = vec!["  ".to_owned(), "node".to_owned()];
    head.extend(candidates.first().map(|first| of(first, "rule")).unwrap_or_default());
    let row = |(at, candidate): (usize, &Value)| {
        let decided = text(&candidate["rule"]);
        let mut row = vec![format!("{}.", at + 1), text(&candidate["node"])];
        row.extend(
            of(candidate, "rule")
                .into_iter()
                .zip(of(candidate, "value"))
                .map(|(rule, value)| if rule == decided { format!("{value} *") } else { value }),
        );
        row
    };
    std::iter::once(head).chain(candidates.iter().enumerate().map(row)).collect()
}
