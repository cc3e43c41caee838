//! Turns a node's host name into addresses, and never into one that is no node: a cloud machine's metadata service.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Addresses that give out a cloud machine's credentials to whoever asks from it (AWS, Azure and Google use the first,
/// AWS the second, Alibaba the third). A name may point there only after it was looked at, so this is asked at connect.
#[must_use]
pub fn is_forbidden(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip == Ipv4Addr::new(169, 254, 169, 254) || ip == Ipv4Addr::new(100, 100, 100, 200),
        IpAddr::V6(ip) => ip == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    }
}

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
            let allowed: Vec<SocketAddr> = all.into_iter().filter(|at| !is_forbidden(at.ip())).collect();
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
    fn metadata_services_in_every_spelling() {
        for text in ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "100.100.100.200"] {
            assert!(is_forbidden(text.parse().unwrap()), "{text}");
        }
        for text in ["127.0.0.1", "192.168.1.50", "169.254.7.7", "fd00::1", "8.8.8.8"] {
            assert!(!is_forbidden(text.parse().unwrap()), "{text}");
        }
    }

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
