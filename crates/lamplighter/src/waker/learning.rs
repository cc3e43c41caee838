//! Learns from nodes while they are up what is needed to wake them, and watches which network this computer is on: a machine of
//! another network is neither looked for nor called.

use super::Courier;
use crate::{
    clock,
    registry::{House, Registry, Watched},
};
use lamplighter_core::{fleet::NodeId, mac::Mac, node_url::NodeUrl};
use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    sync::Arc,
};
use tokio_util::sync::CancellationToken;

/// How often the network is looked at. A file and a kernel table: no packet leaves.
const EVERY_MS: u64 = 10_000;
/// A node that stays up is learned from anew this often: cards and addresses change.
const AGAIN_MS: u64 = 10 * 60 * 1000;

/// Learns until `stop`.
pub async fn run(registry: Registry, courier: Arc<Courier>, stop: CancellationToken) {
    let mut changes = registry.subscribe();
    let mut learned: HashMap<NodeId, u64> = HashMap::new();
    let mut tick = clock::ticks(EVERY_MS);
    loop {
        let house = changes.borrow_and_update().clone();
        let elsewhere = elsewhere(&house, &courier).await;
        if elsewhere != house.elsewhere {
            registry.elsewhere(elsewhere.clone());
        }
        for node in &house.fleet.nodes {
            let due = learned.get(&node.id).is_none_or(|at_ms| clock::mono_ms() >= at_ms + AGAIN_MS);
            if due
                && node.state.takes_requests()
                && is_local(&node.config.url)
                && !elsewhere.contains(&node.id)
            {
                learned.insert(node.id, clock::mono_ms());
                courier.learn(node.name(), &node.config.url).await;
            }
        }
        // A node that has been away is learned from as soon as it is back.
        learned.retain(|id, _| house.fleet.by_id(*id).is_some_and(|node| node.state.takes_requests()));
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
            _ = tick.tick() => {}
        }
    }
}

/// The nodes that belong to other networks than this one.
pub async fn elsewhere(house: &House, courier: &Courier) -> HashSet<NodeId> {
    let network = courier.network().await;
    let nodes = house.fleet.nodes.iter();
    nodes.filter(|it| is_elsewhere(courier, network, &it.config.url)).map(|it| it.id).collect()
}

/// The same before anybody is watched, by name.
pub async fn elsewhere_at_first(nodes: &[Watched], courier: &Courier) -> HashSet<String> {
    let network = courier.network().await;
    let nodes = nodes.iter().map(|watched| &watched.config);
    let nodes = nodes.filter(|it| is_elsewhere(courier, network, &it.url));
    nodes.map(|it| it.name.clone()).collect()
}

fn is_elsewhere(courier: &Courier, network: Option<Mac>, url: &NodeUrl) -> bool {
    let Some(network) = network else { return false };
    let homes = courier.known(url).networks;
    is_local(url) && !homes.is_empty() && !homes.contains(&network)
}

/// Is it a machine of a local network? This computer itself, tailnets and the internet are the same from everywhere.
fn is_local(url: &NodeUrl) -> bool {
    // Carrier-grade NAT's range, which Tailscale uses (RFC 6598).
    let is_tailnet =
        url.host().parse::<Ipv4Addr>().is_ok_and(|ip| ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 0x40)
            || url.host().ends_with(".ts.net");
    !url.is_loopback() && !url.is_cloud() && !is_tailnet
}
