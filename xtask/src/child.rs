//! Child processes with a limit on their time: nothing here waits for ever.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// `cargo` as typed in `folder`: without the variables that `cargo run` set for this program,
/// which would make some build scripts (ring's) run again after each change of door.
pub fn cargo(folder: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(folder);
    let ours = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_NAME", "CARGO_BIN_NAME"];
    for (name, _) in std::env::vars_os() {
        if ours.iter().any(|start| name.to_string_lossy().starts_with(start)) {
            command.env_remove(name);
        }
    }
    command
}

/// `pip` of one virtual environment; it asks nothing.
pub fn pip(python: &Path) -> Command {
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "--disable-pip-version-check", "--no-input"]);
    pip
}

/// Runs with the terminal's own output and no input. `Err` says what failed.
pub fn run(command: &mut Command, limit: Duration) -> Result<(), String> {
    let shown = describe(command);
    let child = command.stdin(Stdio::null()).spawn().map_err(|e| cannot_start(&shown, &e))?;
    verdict(&shown, wait(child, limit, &mut || ()), limit)
}

/// Runs, shows each line of standard output at once, and returns the lines with the verdict.
pub fn tee(command: &mut Command, limit: Duration) -> (Vec<String>, Result<(), String>) {
    let shown = describe(command);
    let mut child = match command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(e) => return (Vec::new(), Err(cannot_start(&shown, &e))),
    };
    let (send, lines) = mpsc::channel();
    if let Some(out) = child.stdout.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                println!("{line}");
                if send.send(line).is_err() {
                    break;
                }
            }
        });
    }
    let mut verdict = verdict(&shown, wait(child, limit, &mut || ()), limit);
    let mut kept = Vec::new();
    // The pipe ends with its last holder; a process left behind by a test must not hold us.
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => kept.push(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let left = format!("`{shown}` ended, but a process it started still runs");
                verdict = verdict.and(Err(left));
                break;
            }
        }
    }
    (kept, verdict)
}

/// Runs silently and returns standard output, whatever the exit code.
pub fn capture(command: &mut Command, limit: Duration) -> Result<(ExitStatus, String), String> {
    let shown = describe(command);
    let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = piped.spawn().map_err(|e| cannot_start(&shown, &e))?;
    let (send, text) = mpsc::channel();
    if let Some(mut out) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = out.read_to_end(&mut bytes);
            let _ = send.send(String::from_utf8_lossy(&bytes).into_owned());
        });
    }
    let status = wait(child, limit, &mut || ()).ok_or_else(|| too_long(&shown, limit))?;
    Ok((status, text.recv_timeout(Duration::from_secs(5)).unwrap_or_default()))
}

/// Runs with all output in `log`, and calls `progress` with the log's last line every 30 s.
pub fn logged(
    command: &mut Command,
    limit: Duration,
    log: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<(), String> {
    let shown = describe(command);
    let open = || std::fs::OpenOptions::new().create(true).append(true).open(log);
    let (out, err) = match (open(), open()) {
        (Ok(out), Ok(err)) => (out, err),
        (Err(e), _) | (_, Err(e)) => return Err(format!("{}: {e}", log.display())),
    };
    let child =
        command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().map_err(|e| cannot_start(&shown, &e))?;
    let mut told = Instant::now();
    let mut tick = || {
        if told.elapsed() >= Duration::from_secs(30) {
            told = Instant::now();
            progress(last_lines(log, 1).trim());
        }
    };
    verdict(&shown, wait(child, limit, &mut tick), limit)
        .map_err(|why| format!("{why}; the end of {}:\n{}", log.display(), last_lines(log, 15)))
}

/// The command as one would type it.
pub fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn last_lines(log: &Path, count: usize) -> String {
    let text = std::fs::read(log).map(|b| String::from_utf8_lossy(&b).into_owned());
    let text = text.unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// `None` when the limit ran out; the child and all it started are ended then.
fn wait(mut child: Child, limit: Duration, tick: &mut dyn FnMut()) -> Option<ExitStatus> {
    let until = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            _ => {
                end_family(child.id());
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
        tick();
    }
}

/// Ends the children of `pid` first, so that none is left to hold a port or a pipe (Linux only).
fn end_family(pid: u32) {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    for child in listed.unwrap_or_default().split_whitespace().filter_map(|c| c.parse().ok()) {
        end_family(child);
        let _ = Command::new("kill").args(["-KILL", &child.to_string()]).status();
    }
}

fn verdict(shown: &str, ended: Option<ExitStatus>, limit: Duration) -> Result<(), String> {
    match ended {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("`{shown}` failed ({status})")),
        None => Err(too_long(shown, limit)),
    }
}

fn too_long(shown: &str, limit: Duration) -> String {
    format!("`{shown}` was ended: it took longer than {} s", limit.as_secs())
}

fn cannot_start(shown: &str, why: &std::io::Error) -> String {
    let program = shown.split(' ').next().unwrap_or(shown);
    match why.kind() {
        std::io::ErrorKind::NotFound => format!("`{program}` was not found on this machine"),
        _ => format!("`{shown}` could not start: {why}"),
    }
}
