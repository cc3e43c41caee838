//! Turns a node's host name into addresses, and never into one that is no node: a cloud machine's metadata service.

use lamplighter_core::node_url::may_lead_to;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Is this an address of the house: loopback, private, link-local, or of a private overlay such as Tailscale's?
pub(super) fn is_home(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            // 100.64.0.0/10 is carrier-grade NAT's range, which Tailscale and others number their machines from.
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Why a name leads nowhere.
#[derive(Debug)]
pub(super) enum NoAddress {
    /// Nobody knows it.
    Unknown,
    /// All its addresses are forbidden.
    Forbidden,
}

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "the name is not known",
            Self::Forbidden => "the name leads to an address that is no node",
        })
    }
}

impl std::error::Error for NoAddress {}

/// The system's resolver, without the forbidden addresses.
pub(super) struct Guarded;

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map_err(|_| NoAddress::Unknown)?;
            let all: Vec<SocketAddr> = found.collect();
            if all.is_empty() {
                return Err(NoAddress::Unknown.into());
            }
            let allowed: Vec<SocketAddr> =
                all.into_iter().filter(|at| may_lead_to(name.as_str(), at.ip())).collect();
            if allowed.is_empty() {
                return Err(NoAddress::Forbidden.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_and_the_world() {
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.9",
            "192.168.1.50",
            "100.101.1.1",
            "::1",
            "fd7a::1",
            "fe80::1",
        ] {
            assert!(is_home(text.parse().unwrap()), "{text}");
        }
        for text in ["8.8.8.8", "100.128.0.1", "172.32.0.1", "2606:4700::1"] {
            assert!(!is_home(text.parse().unwrap()), "{text}");
        }
    }
}
