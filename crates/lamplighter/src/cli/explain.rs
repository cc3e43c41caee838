//! `lamplighter explain MODEL`: which machine would answer or be woken, what each rule sees of every candidate, and why not the
//! others.

use super::{
    ask::{Running, block_on},
    print, print_json,
    status::printable,
    table::table,
};
use crate::control_file::Whose;
use lamplighter_core::mode::Mode;
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
    Ok(if answer["refusal"].is_null() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(answer: &Value) -> String {
    let list = |field: &str| answer[field].as_array().map_or(&[][..], Vec::as_slice);
    let (candidates, asleep) = (list("candidates"), list("asleep"));
    let mut out = String::new();
    if let Some(alias) = answer["alias"].as_str() {
        out.push_str(&format!("{} is an alias\n", printable(alias)));
    }
    if let Some(words) = serde_json::from_value(answer["mode"].clone()).ok().and_then(Mode::words) {
        out.push_str(&format!("{words}\n"));
    }
    if let Some(refusal) = answer["refusal"].as_object() {
        out.push_str(&format!("{}\n", text(&refusal["message"])));
        if let Some(hint) = refusal["hint"].as_str() {
            out.push_str(&format!("  {}\n", printable(hint)));
        }
        if !candidates.is_empty() || asleep.iter().any(|it| it["done"] == "wait") {
            out.push_str("otherwise it would go to:\n");
        }
    }
    let (first, others): (Vec<_>, Vec<_>) = asleep.iter().partition(|it| it["done"] == "wait");
    out.push_str(&table(&ranking(&first, candidates)));
    if candidates.len() > 1 {
        out.push_str("what each rule sees, the strongest first:\n");
        out.push_str(&table(&rules(candidates, first.len())));
    }
    let is_asleep = |over: &&Value| asleep.iter().any(|it| same(it, over));
    let passed: Vec<&Value> = list("passed_over").iter().filter(|over| !is_asleep(over)).collect();
    out.push_str(&section("asleep:", &others, foretold));
    out.push_str(&section("passed over:", &passed, |over| text(&over["why"])));
    out
}

fn same(a: &Value, b: &Value) -> bool {
    ["node", "model"].iter().all(|field| a[field] == b[field])
}

/// Machines with their models and something to say of each, under a title; nothing when there are none.
fn section(title: &str, rows: &[&Value], say: impl Fn(&Value) -> String) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let row = |it: &&Value| vec![format!("   {}", text(&it["node"])), text(&it["model"]), say(it)];
    format!("{title}\n{}", table(&rows.iter().map(row).collect::<Vec<_>>()))
}

/// `is woken and waited for (usually 6 s)`
fn foretold(asleep: &Value) -> String {
    let words = text(&asleep["words"]);
    let is_waking = if asleep["waking"] == true { ", waking already" } else { "" };
    match asleep["usual_ms"].as_u64() {
        Some(ms) if asleep["done"] != "pass" => {
            format!("{words} (usually {} s{is_waking})", ms.div_ceil(1_000))
        }
        _ if is_waking.is_empty() => words,
        _ => format!("{words} (waking already)"),
    }
}

fn text(value: &Value) -> String {
    printable(value.as_str().unwrap_or_default())
}

/// Who is waited for, and the candidates in their order, each with what put it before the next one.
fn ranking(first: &[&Value], candidates: &[Value]) -> Vec<Vec<String>> {
    let woken = |(at, it): (usize, &&Value)| {
        vec![format!("{}.", at + 1), text(&it["node"]), text(&it["node_model"]), foretold(it)]
    };
    let row = |(at, candidate): (usize, &Value)| {
        let load = match candidate["slots"].as_u64() {
            Some(slots) if slots < u64::from(u32::MAX) => {
                format!("{} of {slots} places taken", candidate["running"])
            }
            _ => String::new(),
        };
        let [node, model, reason] = ["node", "node_model", "reason"].map(|field| text(&candidate[field]));
        vec![format!("{}.", first.len() + at + 1), node, model, reason, load]
    };
    first.iter().enumerate().map(woken).chain(candidates.iter().enumerate().map(row)).collect()
}

/// A row per candidate, a column per rule. The rule that put it before the next one is marked. Numbers go on behind `before`.
fn rules(candidates: &[Value], before: usize) -> Vec<Vec<String>> {
    let of = |candidate: &Value, field: &str| -> Vec<String> {
        candidate["rules"]
            .as_array()
            .map_or_else(Vec::new, |all| all.iter().map(|rule| text(&rule[field])).collect())
    };
    let mut head = vec!["  ".to_owned(), "node".to_owned()];
    head.extend(candidates.first().map(|first| of(first, "rule")).unwrap_or_default());
    let row = |(at, candidate): (usize, &Value)| {
        let decided = text(&candidate["rule"]);
        let mut row = vec![format!("{}.", before + at + 1), text(&candidate["node"])];
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn who_is_woken_comes_with_the_usual_time() {
        let said = |done: &str, usual_ms: Option<u64>, waking: bool| {
            foretold(&json!({ "done": done, "words": "W", "usual_ms": usual_ms, "waking": waking }))
        };
        assert_eq!(said("wait", Some(5_400), false), "W (usually 6 s)");
        assert_eq!(said("next", Some(41_000), true), "W (usually 41 s, waking already)");
        assert_eq!(said("wait", None, true), "W (waking already)");
        assert_eq!((said("wait", None, false), said("pass", Some(1), false)), ("W".into(), "W".into()));
    }
}
