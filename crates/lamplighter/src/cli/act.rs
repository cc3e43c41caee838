//! `lamplighter load | unload | route | pause | resume | open`: a person's choices, by the control API.

use super::{
    ask::{Running, block_on, interrupted, segment},
    print,
};
use crate::control_file::Whose;
use lamplighter_core::snapshot::Snapshot;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use std::{
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

/// A load may take minutes.
const PATIENCE: Duration = Duration::from_secs(11 * 60);

/// `load NODE MODEL`
pub fn load(whose: &Whose, node: &str, model: &str) -> Result<ExitCode, String> {
    let running = Running::find(whose)?;
    order(
        running.send(Method::POST, &format!("nodes/{}/load", segment(node))).json(&json!({ "model": model })),
        &running,
    )?;
    print(&format!("{model} is in memory on {node}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// `unload NODE [MODEL]`
pub fn unload(whose: &Whose, node: &str, model: Option<&str>) -> Result<ExitCode, String> {
    let running = Running::find(whose)?;
    let body = model.map_or_else(|| json!({}), |model| json!({ "model": model }));
    order(running.send(Method::POST, &format!("nodes/{}/unload", segment(node))).json(&body), &running)?;
    let what = model.map_or_else(|| "Every model".into(), str::to_owned);
    print(&format!("{what} is out of memory on {node}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// `route auto|local|no-wake`
pub fn route(whose: &Whose, mode: &str) -> Result<ExitCode, String> {
    let running = Running::find(whose)?;
    order(running.send(Method::PUT, "route").json(&json!({ "mode": mode })), &running)?;
    print(match mode {
        "local" => "Nothing leaves the house.\n",
        "no-wake" => "Only machines that are up answer.\n",
        _ => "Requests are routed as configured.\n",
    })?;
    Ok(ExitCode::SUCCESS)
}

/// `pause [1h]`
pub fn pause(whose: &Whose, duration: Option<&str>) -> Result<ExitCode, String> {
    let running = Running::find(whose)?;
    let mut body = json!({ "mode": "pause" });
    if let Some(duration) = duration {
        body["for"] = duration.into();
    }
    order(running.send(Method::PUT, "route").json(&body), &running)?;
    let until = duration.map_or_else(String::new, |duration| format!(" for {duration}"));
    print(&format!("Paused{until}; `lamplighter resume` ends it.\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// `resume`: what was chosen before the pause is in force again, so that nobody leaves "local only" by ending one.
pub fn resume(whose: &Whose) -> Result<ExitCode, String> {
    let running = Running::find(whose)?;
    order(running.send(Method::PUT, "route").json(&json!({ "mode": "resume" })), &running)?;
    let now: Snapshot = block_on(running.ask("snapshot"))?;
    let words = now.gateway.mode.words().map_or_else(String::new, |words| format!("; {words}"));
    print(&format!("Requests are answered again{words}.\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// `open`: the pages in a browser. Where none can be started, the address is printed: it is good once, for a minute.
pub fn open(whose: &Whose) -> Result<ExitCode, String> {
    let running = Running::find(whose)?;
    let answer = order(running.send(Method::POST, "once"), &running)?;
    let once = answer["once"].as_str().ok_or("Lamplighter gave no code")?;
    let address = format!("{}/ui/#once={once}", running.url());
    if !start_browser(&address) {
        print(&format!("{address}\n(good once, for a minute)\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn start_browser(address: &str) -> bool {
    #[cfg(target_os = "linux")]
    if std::env::var_os("DISPLAY").is_none() && std::env::var_os("WAYLAND_DISPLAY").is_none() {
        return false;
    }
    let (program, first): (&str, &[&str]) = if cfg!(target_os = "macos") {
        ("open", &[])
    } else if cfg!(windows) {
        ("rundll32", &["url.dll,FileProtocolHandler"])
    } else {
        ("xdg-open", &[])
    };
    let quiet = || Stdio::null();
    let mut command = Command::new(program);
    command.args(first).arg(address).stdin(quiet()).stdout(quiet()).stderr(quiet());
    command.status().is_ok_and(|status| status.success())
}

/// Sends an order. The answer's body, null when it has none.
pub(super) fn order(request: RequestBuilder, running: &Running) -> Result<Value, String> {
    block_on(async {
        let answer = tokio::select! {
            answer = request.timeout(PATIENCE).send() => answer.map_err(|error| running.silent(&error))?,
            () = interrupted() => return Err("interrupted: what was asked for may still be done".into()),
        };
        let good = answer.status().is_success();
        let body: Value = answer.json().await.unwrap_or_default();
        if good {
            return Ok(body);
        }
        let text = |field: &str| super::status::printable(body[field].as_str().unwrap_or_default());
        let hint = text("hint");
        Err(if hint.is_empty() { text("message") } else { format!("{}\n  {hint}", text("message")) })
    })
}
