//! Sends one round of wake packets for a node, or has somebody else send them, and knows what is needed for that: the machine's
//! hardware addresses and its last IP address, learned while it is up.

mod relay;

use super::learning;
use crate::{hooks, neighbours, packet};
use lamplighter_core::{
    config::{Macs, Relay, WakeConfig},
    mac::Mac,
    node_url::NodeUrl,
};
use std::{
    collections::HashMap,
    net::IpAddr,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;

/// Networks and addresses remembered of one machine, at most.
const REMEMBERED: usize = 8;
/// A name that is not known after this long is not waited for.
const RESOLVE: Duration = Duration::from_secs(2);

/// What is known of a machine, apart from its engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Addresses of its cards, the one seen last first.
    pub macs: Vec<Mac>,
    /// Where it last answered.
    pub ip: Option<IpAddr>,
    /// The networks it was seen in: each the hardware address of that network's default gateway, the last one first.
    pub networks: Vec<Mac>,
}

/// A round to send.
#[derive(Debug, Clone)]
pub struct Call {
    /// The node's name.
    pub node: String,
    /// Its address.
    pub url: NodeUrl,
    /// How it is woken.
    pub config: WakeConfig,
}

/// Sends packets.
#[derive(Debug)]
pub struct Courier {
    guard: packet::Guard,
    http: reqwest::Client,
    /// Where keys in files are looked for.
    base_dir: PathBuf,
    /// By host: at another address it may be another machine, whose cards must not be called.
    known: Mutex<HashMap<String, Known>>,
    /// Something was learned that should be kept.
    learned: Notify,
    /// The network that we were on when that was last to be seen.
    network: Mutex<Option<Mac>>,
}

impl Courier {
    /// With what an earlier run has learned.
    #[must_use]
    pub fn new(http: reqwest::Client, base_dir: PathBuf, known: HashMap<String, Known>) -> Self {
        Self {
            guard: packet::Guard::from_env(),
            http,
            base_dir,
            known: Mutex::new(known),
            learned: Notify::new(),
            network: Mutex::default(),
        }
    }

    /// What is known of the machine at that address.
    #[must_use]
    pub fn known(&self, url: &NodeUrl) -> Known {
        self.lock().get(url.host()).cloned().unwrap_or_default()
    }

    /// Learns what it can of a node that answers just now. True when that was news.
    pub async fn learn(&self, node: &str, url: &NodeUrl) -> bool {
        let Some(ip) = resolve(url).await else { return false };
        let is_tailnet = learning::is_tailnet(ip);
        let (mac, gateway) = match is_tailnet {
            // Such a machine is the same from every network, and no neighbour in any.
            true => (Err("it is in a tailnet".into()), None),
            false => (neighbours::learn(ip).await, neighbours::gateway().await),
        };
        let mut known = self.lock();
        let known = known.entry(url.host().to_owned()).or_default();
        let before = known.clone();
        known.ip = Some(ip);
        match mac {
            Ok(mac) => put_first(&mut known.macs, mac),
            Err(why) => tracing::debug!(node, why, "no address to wake it by was learned"),
        }
        // The first network is its home; another one only by a person's word: a stranger there may have its address.
        if let Some(gateway) = gateway
            && known.networks.is_empty()
        {
            known.networks.push(gateway);
        }
        let is_news = *known != before;
        if is_news {
            self.learned.notify_one();
        }
        is_news
    }

    /// Has the machine's card answered on the network (ARP) within the last `within`, as the neighbour table tells?
    pub async fn hears_card(&self, url: &NodeUrl, within: Duration) -> bool {
        let Some(ip) = self.known(url).ip.or(learning::literal(url)).filter(|_| learning::is_local(url))
        else {
            return false;
        };
        let confirmed_ms = neighbours::find(ip).await.and_then(|neighbour| neighbour.confirmed_ms);
        confirmed_ms.is_some_and(|ms| Duration::from_millis(ms) < within)
    }

    /// Waits until something was learned that is not kept yet. For one listener; cancel-safe.
    pub async fn news(&self) {
        self.learned.notified().await;
    }

    /// The network that we are on. Without a gateway in the table it is the one that we knew last.
    pub async fn network(&self) -> Option<Mac> {
        let seen = neighbours::gateway().await;
        let mut network = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        *network = seen.or(*network);
        *network
    }

    /// A person says that the network we are on is a home of this node too. False when there is no telling which network it is.
    pub async fn is_home(&self, url: &NodeUrl) -> bool {
        let Some(gateway) = neighbours::gateway().await else { return false };
        put_first(&mut self.lock().entry(url.host().to_owned()).or_default().networks, gateway);
        self.learned.notify_one();
        true
    }

    /// Sends one round. The answer is how many packets left, or why none did.
    ///
    /// # Errors
    /// In words for a person: what each place answered.
    pub async fn send(&self, call: &Call) -> Result<u32, String> {
        let known = self.known(&call.url);
        let (macs, written) = match &call.config.mac {
            Macs::Written(macs) => (macs.clone(), true),
            Macs::Auto => (known.macs.iter().take(2).copied().collect(), false),
        };
        // A smart plug has no use for the address.
        if let Some(Relay::Hook(hook)) = &call.config.relay
            && !hook.url.contains(hooks::MAC)
        {
            return hooks::call(&self.http, hook, None, &self.base_dir).await.map(|()| 1);
        }
        if macs.is_empty() {
            return Err("its MAC address is not known: it is learned while the machine is up, or write it as `mac` in [node.wake]".into());
        }
        if let Some(relay) = &call.config.relay {
            return relay::send(&self.http, relay, &macs, &self.base_dir).await;
        }
        let literal = call.url.host().parse().ok();
        let call = packet::Call {
            // A card that is written may be another than the one that answers.
            everywhere: written && !macs.iter().any(|mac| known.macs.contains(mac)),
            macs,
            secure_on: call.config.secure_on.clone(),
            only: call.config.broadcast.clone(),
            last_ip: known.ip.or(literal),
        };
        let round = packet::send(&call, &self.guard);
        match round.sent {
            0 => Err(round.failed.join("; ")),
            sent => {
                if !round.failed.is_empty() {
                    tracing::debug!(failed = round.failed.join("; "), "some wake packets did not leave");
                }
                Ok(sent)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put_first<T: PartialEq>(list: &mut Vec<T>, item: T) {
    list.retain(|other| *other != item);
    list.insert(0, item);
    list.truncate(REMEMBERED);
}

/// The address of a node's host.
async fn resolve(url: &NodeUrl) -> Option<IpAddr> {
    if let Some(ip) = learning::literal(url) {
        return Some(ip);
    }
    let looked_up = tokio::net::lookup_host((url.host().to_owned(), url.port()));
    let mut found = tokio::time::timeout(RESOLVE, looked_up).await.ok()?.ok()?;
    found.next().map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_machine_at_another_address_is_not_called_by_the_cards_of_the_one_before() {
        let mac: Mac = "a8:a1:59:0c:1d:2e".parse().unwrap();
        let known = Known { macs: vec![mac], ip: "192.0.2.7".parse().ok(), networks: vec![mac] };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let courier = Courier::new(
            reqwest::Client::new(),
            PathBuf::new(),
            HashMap::from([("192.0.2.7".into(), known.clone())]),
        );
        let url = |text: &str| NodeUrl::parse(text).unwrap();
        assert_eq!(courier.known(&url("192.0.2.7:8080")), known, "another engine of the same machine");
        let call = Call { node: "tower".into(), url: url("192.0.2.8"), config: WakeConfig::default() };
        assert_eq!(courier.known(&call.url), Known::default());
        let why = courier.send(&call).await.unwrap_err();
        assert!(why.contains("MAC address is not known"), "{why}");
    }
}
