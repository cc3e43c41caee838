//! `lamplighter models`: every model that can be reached, and where.

use super::{
    ask::{Running, block_on},
    print, print_json,
    status::printable,
    table::table,
};
use crate::control_file::Whose;
use lamplighter_core::snapshot::Snapshot;
use std::process::ExitCode;

pub fn run(whose: &Whose, json: bool) -> Result<ExitCode, String> {
    let running = Running::find(whose)?;
    let snapshot: Snapshot = block_on(running.ask("snapshot"))?;
    if json {
        let list = serde_json::json!({ "models": snapshot.models, "aliases": snapshot.aliases });
        print_json(&list)?;
        return Ok(ExitCode::SUCCESS);
    }
    let aliases = snapshot
        .aliases
        .iter()
        .map(|alias| vec![printable(&alias.name), printable(&format!("→ {}", alias.models.join(", ")))]);
    let models = snapshot.models.iter().map(|model| {
        let place = |node: &String| {
            if model.loaded_on.contains(node) { format!("{node} (loaded)") } else { node.clone() }
        };
        let asleep = model.asleep_on.iter().map(|node| format!("{node} (asleep)"));
        let places: Vec<String> = model.nodes.iter().map(place).chain(asleep).collect();
        let drift = if model.drift { "different contents under this name" } else { "" };
        vec![printable(&model.name), places.join(", "), drift.into()]
    });
    let rows: Vec<Vec<String>> = aliases.chain(models).collect();
    print(&if rows.is_empty() {
        "No models: no machine that is up lists one.\n".into()
    } else {
        table(&rows)
    })?;
    Ok(ExitCode::SUCCESS)
}
