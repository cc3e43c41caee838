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
    net::IpAddr,
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
    let known = courier.known(url);
    is_local(url)
        && !known.ip.is_some_and(is_tailnet)
        && !known.networks.is_empty()
        && !known.networks.contains(&network)
}

/// Is it a machine of a local network, as far as its address says? This computer itself, tailnets and the internet are the same from
/// everywhere.
pub(super) fn is_local(url: &NodeUrl) -> bool {
    let is_tailnet = literal(url).map_or_else(|| url.host().ends_with(".ts.net"), is_tailnet);
    !url.is_loopback() && !url.is_cloud() && !is_tailnet
}

/// The address that stands in the URL, where no name does.
pub(super) fn literal(url: &NodeUrl) -> Option<IpAddr> {
    url.host().trim_matches(['[', ']']).parse().ok()
}

/// Is this an address of a Tailscale network? They are in carrier-grade NAT's range (RFC 6598) and in one of Tailscale's own
/// (tailscale `net/tsaddr/tsaddr.go`, `CGNATRange` and `TailscaleULARange`, fd7a:115c:a1e0::/48).
pub(super) fn is_tailnet(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 0x40,
        IpAddr::V6(ip) => ip.segments()[..3] == [0xfd7a, 0x115c, 0xa1e0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_from_everywhere() {
        let url = |text: &str| NodeUrl::parse(text).unwrap();
        for local in ["192.168.1.20", "tower", "tower.lan", "[fd12:3456::7]:11434", "100.128.0.1"] {
            let is_public = url(local).is_cloud();
            assert_eq!(is_local(&url(local)), !is_public, "{local}");
        }
        for everywhere in
            ["127.0.0.1", "100.101.102.103", "tower.tail1234.ts.net", "[fd7a:115c:a1e0::53]:11434", "8.8.8.8"]
        {
            assert!(!is_local(&url(everywhere)), "{everywhere}");
        }
    }
}
