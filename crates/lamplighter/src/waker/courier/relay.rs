//! Somebody else sends the packet, on the machine's own network: a Tailscale peer, or whatever a hook calls.

use crate::hooks;
use lamplighter_core::{config::Relay, mac::Mac};
use serde::Deserialize;
use std::{collections::BTreeMap, path::Path, process::Stdio, time::Duration};

/// Peers that are asked, at most.
const PEERS: usize = 8;
const LIMIT: Duration = Duration::from_secs(5);

/// Has one round sent. The answer is how many packets left.
///
/// # Errors
/// In words for a person.
pub(super) async fn send(
    http: &reqwest::Client,
    relay: &Relay,
    macs: &[Mac],
    base_dir: &Path,
) -> Result<u32, String> {
    let mut sent = 0;
    let mut why = Vec::new();
    for mac in macs {
        let relayed = match relay {
            Relay::Hook(hook) => hooks::call(http, hook, Some(&mac.to_string()), base_dir).await.map(|()| 1),
            Relay::Tailscale => tailscale(http, *mac).await,
        };
        match relayed {
            Ok(packets) => sent += packets,
            Err(error) if !why.contains(&error) => why.push(error),
            Err(_) => {}
        }
    }
    if sent > 0 { Ok(sent) } else { Err(why.join("; ")) }
}

/// What `tailscale status --json` tells of a peer (tailscale `ipn/ipnstate/ipnstate.go`, `PeerStatus`).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Peer {
    #[serde(default)]
    host_name: String,
    #[serde(default)]
    online: bool,
    #[serde(default, rename = "PeerAPIURL")]
    peer_api_url: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    #[serde(default)]
    peer: Option<BTreeMap<String, Peer>>,
}

/// What a peer answers (tailscale `feature/wakeonlan/wakeonlan.go`, `handlePeerAPIWakeOnLAN`).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    sent_to: Option<Vec<String>>,
    #[serde(default)]
    errors: Option<Vec<String>>,
}

/// Asks the peers that are online, each of which sends a broadcast from every interface of its own.
async fn tailscale(http: &reqwest::Client, mac: Mac) -> Result<u32, String> {
    let mut status = tokio::process::Command::new("tailscale");
    status.args(["status", "--json"]).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let told = match tokio::time::timeout(LIMIT, status.output()).await {
        Ok(Ok(told)) if told.status.success() => told.stdout,
        Ok(Ok(_)) | Err(_) => return Err("tailscale does not tell who its peers are".into()),
        Ok(Err(error)) => return Err(format!("tailscale cannot be started: {error}")),
    };
    let status: Status = serde_json::from_slice(&told)
        .map_err(|error| format!("tailscale's status cannot be read: {error}"))?;
    let peers: Vec<(String, String)> = status
        .peer
        .unwrap_or_default()
        .into_values()
        .filter(|peer| peer.online)
        .filter_map(|peer| Some((peer.host_name, peer.peer_api_url?.into_iter().next()?)))
        .take(PEERS)
        .collect();
    if peers.is_empty() {
        return Err("no Tailscale peer is online that could send the packet".into());
    }
    let asked = peers.iter().map(|(name, url)| async move { (name, ask(http, url, mac).await) });
    let (mut sent, mut why) = (0, Vec::new());
    for (name, answer) in futures::future::join_all(asked).await {
        match answer {
            Ok(packets) => sent += packets,
            Err(error) => why.push(format!("{name}: {error}")),
        }
    }
    if sent > 0 { Ok(sent) } else { Err(format!("no Tailscale peer sent the packet ({})", why.join("; "))) }
}

async fn ask(http: &reqwest::Client, url: &str, mac: Mac) -> Result<u32, String> {
    let answer = http
        .post(format!("{url}/v0/wol?mac={mac}"))
        .timeout(LIMIT)
        .send()
        .await
        .map_err(|error| error.without_url().to_string())?;
    if answer.status() == reqwest::StatusCode::FORBIDDEN {
        return Err("it does not let us wake machines (the tailnet policy's wake-on-lan grant)".into());
    }
    let answer: Answer = answer.json().await.map_err(|error| error.without_url().to_string())?;
    match answer.sent_to.map_or(0, |places| places.len()) {
        0 => Err(answer.errors.unwrap_or_default().join(", ")),
        places => Ok(u32::try_from(places).unwrap_or(u32::MAX)),
    }
}
