//! `lamplighter explain MODEL`: which machine would answer, and why not the others.

use super::{
    ask::{Running, block_on},
    print, print_json,
    status::printable,
    table::table,
};
use crate::control_file::Whose;
use serde_json::Value;
use std::process::ExitCode;

pub fn run(whose: &Whose, model: &str, json: bool) -> Result<ExitCode, String> {
    let running = Running::find(whose)?;
    let question = running.get("explain").query(&[("model", model)]);
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
    let text = |value: &Value| printable(value.as_str().unwrap_or_default());
    let mut out = String::new();
    if let Some(alias) = answer["alias"].as_str() {
        out.push_str(&format!("{} is an alias\n", printable(alias)));
    }
    let candidates = answer["candidates"].as_array().cloned().unwrap_or_default();
    let rows: Vec<Vec<String>> = candidates
        .iter()
        .enumerate()
        .map(|(at, c)| {
            let load = match c["slots"].as_u64() {
                Some(slots) if slots < u64::from(u32::MAX) => {
                    format!("{} of {slots} places taken", c["running"])
                }
                _ => String::new(),
            };
            vec![format!("{}.", at + 1), text(&c["node"]), text(&c["node_model"]), text(&c["reason"]), load]
        })
        .collect();
    out.push_str(&table(&rows));
    if let Some(refusal) = answer["refusal"].as_object() {
        out.push_str(&format!("{}\n", text(&refusal["message"])));
    }
    let passed = answer["passed_over"].as_array().cloned().unwrap_or_default();
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
