//! Calls that the owner of the configuration has written down: by HTTP, or a command over SSH. Nobody else can write one.

use crate::secrets;
use lamplighter_core::config::{HOOK_MAC, HeaderValue, Hook, Method, NodeCommand};
use std::{path::Path, process::Stdio, time::Duration};

/// A call that has no answer after this long has failed.
const LIMIT: Duration = Duration::from_secs(20);
/// What stands in a hook's address for the machine's MAC address.
pub const MAC: &str = HOOK_MAC;
/// As much of a failed command's words as a person reads.
const WORDS: usize = 300;

/// Gives a machine a command.
///
/// # Errors
/// In words for a person.
pub async fn run(http: &reqwest::Client, command: &NodeCommand, base_dir: &Path) -> Result<(), String> {
    match command {
        NodeCommand::Ssh { target, command } => ssh(target, command).await,
        NodeCommand::Hook(hook) => call(http, hook, None, base_dir).await,
    }
}

/// Makes the call. `{mac}` in its address stands for `mac`.
///
/// # Errors
/// In words for a person; no key and no header's value is in them.
pub async fn call(
    http: &reqwest::Client,
    hook: &Hook,
    mac: Option<&str>,
    base_dir: &Path,
) -> Result<(), String> {
    let method = match hook.method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
    };
    let url = hook.url.replace(MAC, mac.unwrap_or_default());
    let mut request = http.request(method, url).timeout(LIMIT);
    for (name, value) in &hook.headers {
        let value = match value {
            HeaderValue::Plain(value) => value.clone(),
            HeaderValue::Kept(secret) => secrets::resolve(secret, base_dir)
                .map(|key| key.expose().to_owned())
                .map_err(|why| format!("the header {name} cannot be read: {why}"))?,
        };
        request = request.header(name, value);
    }
    match request.send().await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(format!("the hook answered {}", answer.status())),
        Err(error) if error.is_timeout() => {
            Err(format!("the hook did not answer within {} s", LIMIT.as_secs()))
        }
        Err(error) => Err(format!("the hook cannot be called: {}", error.without_url())),
    }
}

/// Runs a command over SSH, without ever asking anything: keys and known hosts are as the user's own SSH knows them.
///
/// # Errors
/// In words for a person, with what the command said last. A connection that ends while the command runs is none: a machine that
/// goes to sleep hangs up.
async fn ssh(target: &str, command: &str) -> Result<(), String> {
    let mut ssh = tokio::process::Command::new("ssh");
    ssh.args([
        "-o",
        "BatchMode=yes",
        "-o",
        "ConnectTimeout=5",
        "-o",
        "ServerAliveInterval=2",
        "-o",
        "ServerAliveCountMax=3",
    ])
    .args(["--", target, command])
    .stdin(Stdio::null())
    .stdout(Stdio::null())
    .stderr(Stdio::piped())
    .kill_on_drop(true);
    let ran = match tokio::time::timeout(LIMIT, ssh.output()).await {
        Err(_) => return Err(format!("ssh {target} did not end within {} s", LIMIT.as_secs())),
        Ok(Err(error)) => return Err(format!("ssh cannot be started: {error}")),
        Ok(Ok(ran)) => ran,
    };
    let said = String::from_utf8_lossy(&ran.stderr);
    let hung_up = ran.status.code() == Some(255) && hung_up(&said);
    if ran.status.success() || hung_up {
        return Ok(());
    }
    let last: String = said
        .trim()
        .lines()
        .last()
        .unwrap_or("it said nothing")
        .chars()
        .filter(|c| !c.is_control())
        .take(WORDS)
        .collect();
    Err(format!("ssh {target} failed: {last}"))
}

/// Did the connection end after somebody had logged in, so that the command was running? ssh's own exit code, 255, says both that
/// it could not connect and that it was cut off (OpenSSH ssh(1), "EXIT STATUS"). Before the login there is no command: an sshd that
/// is not there yet, or turns us away, resets as well.
fn hung_up(said: &str) -> bool {
    let says = |words: &[&str]| words.iter().any(|words| said.contains(words));
    says(&["closed by remote", "Timeout, server", "Connection reset", "Broken pipe"])
        && !says(&["kex_exchange", "banner exchange"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_was_in_is_hung_up_on() {
        for said in [
            "Connection to pc closed by remote host.\r\n",
            "Timeout, server pc not responding.\r\n",
            "client_loop: send disconnect: Broken pipe\r\n",
            "Read from remote host pc: Connection reset by peer\r\n",
        ] {
            assert!(hung_up(said), "{said}");
        }
        for said in [
            "kex_exchange_identification: read: Connection reset by peer\r\nConnection reset by 10.0.0.5 port 22\r\n",
            "kex_exchange_identification: Connection closed by remote host\r\nConnection closed by 10.0.0.5 port 22\r\n",
            "banner exchange: Connection to 10.0.0.5 port 22: Connection reset by peer\r\n",
            "ssh: connect to host pc port 22: Connection refused\r\n",
            "me@pc: Permission denied (publickey).\r\n",
        ] {
            assert!(!hung_up(said), "{said}");
        }
    }
}
