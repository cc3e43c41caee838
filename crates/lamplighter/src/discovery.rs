//! Looks for engines on this computer, while no node is configured.

use crate::{
    engines::{self, Asker, Depth},
    settings::Settings,
};
use futures::future::join_all;
use lamplighter_core::{config::NodeConfig, health::Report, node::Engine, node_url::NodeUrl};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Where engines listen by default: Ollama, llama.cpp, vLLM, LM Studio.
const PORTS: [u16; 4] = [11434, 8080, 8000, 1234];
/// An engine may be started at any time.
const AGAIN: Duration = Duration::from_secs(10);

/// The ports to look at: the environment variable `LAMPLIGHTER_LOOK` names others, or none when it is empty.
#[must_use]
pub fn ports() -> Vec<u16> {
    match std::env::var("LAMPLIGHTER_LOOK") {
        Ok(list) => list.split(',').filter_map(|port| port.trim().parse().ok()).collect(),
        Err(_) => PORTS.to_vec(),
    }
}

/// Looks again and again while no node is configured, and waits while one is. What was found once stays: it may come back.
/// Our own ports are passed over, also those that we come to listen on meanwhile.
pub async fn run(settings: Arc<Settings>, own_ports: impl Fn() -> Vec<u16>, stop: CancellationToken) {
    let ports = ports();
    let mut is_bare = settings.is_bare();
    let mut http = None;
    let mut found: Vec<NodeConfig> = Vec::new();
    loop {
        if !*is_bare.borrow_and_update() {
            (http, found) = (None, Vec::new());
            tokio::select! {
                () = stop.cancelled() => return,
                changed = is_bare.changed() => if changed.is_err() { return },
            }
            continue;
        }
        let http = http.get_or_insert_with(engines::http_client);
        let own = own_ports();
        found.retain(|node| !own.contains(&node.url.port()));
        let is_known = |port: u16| own.contains(&port) || found.iter().any(|node| node.url.port() == port);
        let missing = ports.iter().filter(|&&port| !is_known(port));
        let answers = join_all(missing.map(|&port| ask(http.clone(), port))).await;
        for (url, engine) in answers.into_iter().flatten() {
            let name = free_name(engine.word(), &found);
            found.push(NodeConfig::new(&name, url));
        }
        settings.found(found.clone()).await;
        tokio::select! {
            () = stop.cancelled() => return,
            changed = is_bare.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// What answers at an address, with the number of its models.
///
/// # Errors
/// The reason in words, when it is no model server that we may use.
pub async fn identify(http: reqwest::Client, url: NodeUrl) -> Result<(engines::Identity, usize), String> {
    let mut asker = Asker::new(http, url, None, None);
    let look = asker.look(Depth::Full).await;
    match (look.report, asker.identity()) {
        (Report::Answered | Report::Loading, Some(identity)) => {
            Ok((identity.clone(), look.listing.map_or(0, |models| models.len())))
        }
        (Report::Refused(why) | Report::Closed(why) | Report::Silent(why), _) => Err(why),
        (Report::Answered | Report::Loading, None) => Err("it answers, but not as a model server".into()),
    }
}

/// The engine that answers on a loopback port, if one does.
pub async fn ask(http: reqwest::Client, port: u16) -> Option<(NodeUrl, Engine)> {
    let url = NodeUrl::parse(&format!("127.0.0.1:{port}")).ok()?;
    let (identity, _) = identify(http, url.clone()).await.ok()?;
    Some((url, identity.engine))
}

/// `word`, or the first of `word-2`, `word-3` … that no node has.
#[must_use]
pub fn free_name(word: &str, taken: &[NodeConfig]) -> String {
    let is_free = |name: &String| taken.iter().all(|node| node.name != *name);
    let numbered = (2u32..).map(|n| format!("{word}-{n}"));
    std::iter::once(word.to_owned()).chain(numbered).find(is_free).unwrap_or_default()
}
