//! `lamplighter wake NODE [--wait] [--load MODEL] [--cancel]` and `lamplighter sleep NODE`.

use super::{
    act::order,
    ask::{Running, block_on, interrupted, segment},
    print,
    status::printable,
};
use crate::control_file::Whose;
use lamplighter_core::{
    node::{Stage, State},
    snapshot::{Node, Snapshot, WakeFailure},
};
use reqwest::Method;
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

/// How often the wake is looked at.
const LOOK: Duration = Duration::from_millis(300);
/// A wake takes 15 minutes at most; beyond that somebody else keeps it going.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// `wake NODE [--wait] [--load MODEL]`; to load a model is to wait.
pub fn wake(whose: &Whose, node: &str, wait: bool, model: Option<&str>) -> Result<ExitCode, String> {
    let running = Running::find(whose)?;
    let answer = order(running.send(Method::POST, &format!("nodes/{}/wake", segment(node))), &running)?;
    if answer["waking"] == false {
        print(&format!("{node} is awake\n"))?;
    } else if wait || model.is_some() {
        let began = Instant::now();
        block_on(async {
            tokio::select! {
                ended = until_awake(&running, node) => ended,
                () = interrupted() => {
                    Err(format!("{node} goes on waking; `lamplighter wake {node} --cancel` ends it"))
                }
            }
        })?;
        print(&format!("{node} is awake after {} s\n", began.elapsed().as_secs()))?;
    } else {
        let how_far = "`lamplighter status --watch` shows how far it is";
        print(&format!("Waking {node}; {how_far}, `lamplighter wake {node} --cancel` ends it.\n"))?;
    }
    match model {
        Some(model) => super::act::load(whose, node, model),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// `wake NODE --cancel`
pub fn cancel(whose: &Whose, node: &str) -> Result<ExitCode, String> {
    let running = Running::find(whose)?;
    order(running.send(Method::DELETE, &format!("nodes/{}/wake", segment(node))), &running)?;
    print(&format!("{node} is not being woken any more.\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// `sleep NODE`
pub fn sleep(whose: &Whose, node: &str) -> Result<ExitCode, String> {
    let running = Running::find(whose)?;
    order(running.send(Method::POST, &format!("nodes/{}/sleep", segment(node))), &running)?;
    print(&format!("{node} was told to sleep.\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Waits for the end of the wake, and says each stage once.
async fn until_awake(running: &Running, name: &str) -> Result<(), String> {
    let began = Instant::now();
    let (mut said, mut started_ms) = (None, 0);
    while began.elapsed() < LIMIT {
        let snapshot: Snapshot = running.ask("snapshot").await?;
        let node = snapshot.nodes.iter().find(|node| node.name == name);
        let node = node.ok_or_else(|| format!("{name} is not configured any more"))?;
        if node.state.takes_requests() {
            return Ok(());
        }
        match (&node.sleep.waking, &node.sleep.failure) {
            (Some(waking), _) => {
                started_ms = waking.started_ms;
                if said.replace(waking.stage) != Some(waking.stage) {
                    print(&format!("  {}\n", progress(node, waking.stage)))?;
                }
            }
            // An older one says nothing of this wake.
            (None, Some(failure)) if failure.at_ms.is_none_or(|at_ms| at_ms >= started_ms) => {
                return Err(failed(name, failure));
            }
            (None, _) => return Err(format!("{name} is not being woken any more: somebody ended it")),
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(format!("{name} is still not awake"))
}

/// Why it did not wake, and what to check, a line each.
fn failed(name: &str, failure: &WakeFailure) -> String {
    let checks = failure.checklist.iter().map(|check| format!("\n  - {}: {}", check.what, check.how));
    format!("{name} {}{}", printable(&failure.words), checks.collect::<String>())
}

fn progress(node: &Node, stage: Stage) -> String {
    let word = match stage {
        Stage::Packet => "calling",
        Stage::Reachable => "on the network, its engine not yet",
        Stage::Api => "its engine answers",
        Stage::Loading => "loading its model",
    };
    match (node.sleep.usual_ms, stage, node.state) {
        (Some(usual_ms), Stage::Packet, State::Waking(_)) => {
            format!("{word} (it usually takes {} s)", usual_ms.div_ceil(1000))
        }
        _ => word.to_owned(),
    }
}
