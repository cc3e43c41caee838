//! A `lamplighter serve` in a network of its own: no traffic leaves it, and what a machine has can be chosen.

use crate::{house, socket::Reply};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// A gateway there. Killed on drop; the network goes with it.
pub struct Apart {
    child: Child,
    /// Its address, as its ready line says.
    pub url: String,
    /// Its folder.
    pub home: TempDir,
}

/// Why no network of one's own can be made here; `None` when it can.
#[must_use]
pub fn impossible() -> Option<String> {
    let tried = unshare("true").output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

/// Runs a shell script as root of a new network. Files and processes are the usual ones, but what the script mounts over them is
/// seen by nobody else.
fn unshare(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount", "sh", "-ec", script]);
    command
}

/// Makes a network with `setup` (a shell script; loopback is up before it) and runs the command line there to its end.
///
/// # Panics
/// When it does not start.
#[must_use]
pub fn run(home: &std::path::Path, setup: &str, args: &[&str]) -> (i32, String, String) {
    let output = inside(home, setup, args).output().expect("unshare starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// The usual command, with the usual environment, behind `unshare`.
fn inside(home: &std::path::Path, setup: &str, args: &[&str]) -> Command {
    let plain = house::command(home, args);
    let mut command = unshare(&format!("ip link set lo up; {setup}\nexec \"$@\""));
    command.arg("sh").arg(plain.get_program()).args(plain.get_args()).stdin(Stdio::null());
    for (name, value) in plain.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command
}

impl Apart {
    /// Makes a network with `setup` and starts a gateway in it, in a folder that holds a `config.toml`.
    ///
    /// # Panics
    /// When it does not serve; the message holds what it said.
    #[must_use]
    pub fn start(home: TempDir, setup: &str) -> Self {
        let mut child = inside(home.path(), setup, &["serve"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("its output is piped");
        BufReader::new(out).read_line(&mut line).expect("its output can be read");
        let mut log = child.stderr.take().expect("its log is piped");
        let Ok(ready) = serde_json::from_str::<Value>(&line) else {
            let mut said = String::new();
            let _ = log.read_to_string(&mut said);
            panic!("lamplighter did not start: {said}");
        };
        // Its log must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let url = ready["url"].as_str().expect("the ready line has the address").to_owned();
        Self { child, url, home }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its port.
    ///
    /// # Panics
    /// When the address has none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("an address ends in a port")
    }

    /// Sends a request from inside that network, on a connection that the other side closes.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn ask(&self, ip: &str, request: &[u8]) -> Reply {
        let pid = self.child.id().to_string();
        let script = "exec 3<>\"/dev/tcp/$0/$1\"; cat >&3; exec cat <&3";
        let mut child = Command::new("nsenter")
            .args(["--user", "--net", "--preserve-credentials", "--target", &pid, "bash", "-ec", script])
            .args([ip, &self.port().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("nsenter starts");
        child.stdin.take().expect("piped").write_all(request).expect("the request is written");
        let output = child.wait_with_output().expect("its output can be read");
        Reply::read(&output.stdout).0
    }

    /// Runs the command line against it. Exit code, output, errors.
    #[must_use]
    pub fn cli(&self, args: &[&str]) -> (i32, String, String) {
        let plain = house::command(self.home.path(), args);
        let mut command = Command::new("nsenter");
        command.args(["--user", "--net", "--preserve-credentials", "--target", &self.child.id().to_string()]);
        command.arg(plain.get_program()).args(plain.get_args());
        for (name, value) in plain.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        let output = command.stdin(Stdio::null()).output().expect("nsenter starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
