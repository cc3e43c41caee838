//! Who is next to us on the network: the hardware address behind an IP address, when it was last confirmed, and the gateway's,
//! which tells one network from another.
//!
//! On Linux from the kernel's neighbour table over netlink, which needs no rights and also knows IPv6. Elsewhere the system's own
//! programs print it, for IPv4.

#[cfg(target_os = "linux")]
mod netlink;
#[cfg(any(test, not(target_os = "linux")))]
mod printed;

use lamplighter_core::mac::Mac;
use std::net::IpAddr;

/// An entry of the neighbour table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// Its IP address.
    pub ip: IpAddr,
    /// Its hardware address.
    pub mac: Mac,
    /// Milliseconds since it was last known to answer, where the system tells.
    pub confirmed_ms: Option<u64>,
}

/// Every neighbour with a known hardware address. Empty where the table cannot be read.
#[must_use]
pub async fn table() -> Vec<Neighbour> {
    #[cfg(target_os = "linux")]
    let table = std::future::ready(netlink::table()).await;
    #[cfg(not(target_os = "linux"))]
    let table = printed::table().await;
    table.unwrap_or_else(|error| {
        tracing::debug!(%error, "the neighbour table cannot be read");
        vec![]
    })
}

/// The neighbour with this address.
#[must_use]
pub async fn find(ip: IpAddr) -> Option<Neighbour> {
    let ip = ip.to_canonical();
    table().await.into_iter().find(|neighbour| neighbour.ip == ip)
}

/// The hardware address of the default gateway: the identity of the network that we are on. `None` when there is no gateway, or it
/// is not in the table just now.
#[must_use]
pub async fn gateway() -> Option<Mac> {
    #[cfg(target_os = "linux")]
    let gateway = default_gateway(&std::fs::read_to_string("/proc/thread-self/net/route").ok()?);
    #[cfg(not(target_os = "linux"))]
    let gateway = printed::gateway_ip().await;
    find(gateway?).await.map(|neighbour| neighbour.mac)
}

/// The gateway of the default route with the lowest metric, from `/proc/net/route` (Linux `net/ipv4/fib_trie.c`, `fib_route_seq_show`:
/// addresses as hexadecimal numbers in the byte order of the machine).
#[cfg(any(target_os = "linux", test))]
fn default_gateway(routes: &str) -> Option<IpAddr> {
    const UP_AND_GATEWAY: u32 = 0x3;
    let gateways = routes.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, destination, gateway, flags, _, _, metric, mask, ..] = fields[..] else { return None };
        let hex = |text| u32::from_str_radix(text, 16).ok();
        let is_default =
            hex(destination)? == 0 && hex(mask)? == 0 && hex(flags)? & UP_AND_GATEWAY == UP_AND_GATEWAY;
        is_default.then(|| Some((metric.parse::<u32>().ok()?, hex(gateway)?)))?
    });
    gateways.min_by_key(|(metric, _)| *metric).map(|(_, gateway)| IpAddr::from(gateway.to_ne_bytes()))
}

/// The hardware address to wake the machine at `ip` by, as seen now, while it answers.
///
/// # Errors
/// In words, when there is none, or it is one that will not wake anything.
pub async fn learn(ip: IpAddr) -> Result<Mac, String> {
    let neighbour = find(ip).await.ok_or(
        "it is not in this computer's neighbour table: it is on another network, or behind a router",
    )?;
    worth(neighbour.mac, gateway().await)
}

fn worth(mac: Mac, gateway: Option<Mac>) -> Result<Mac, String> {
    if gateway == Some(mac) {
        return Err(format!("{mac} is the router's: the machine is behind it"));
    }
    match mac.doubt() {
        Some(doubt) => Err(format!("{mac} {}", doubt.words())),
        None => Ok(mac),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn the_default_route_with_the_lowest_metric() {
        let routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
            eth0\t00000000\t0102A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t0002A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(default_gateway(routes), "192.168.2.1".parse().ok());
        assert_eq!(default_gateway("Iface\tDestination\n"), None);
        assert_eq!(default_gateway(""), None);
    }

    #[test]
    fn addresses_that_are_not_learned() {
        let mac = |text: &str| text.parse::<Mac>().unwrap();
        let card = mac("a8:a1:59:0c:1d:2e");
        assert_eq!(worth(card, None), Ok(card));
        assert_eq!(worth(card, Some(mac("a8:a1:59:0c:1d:2f"))), Ok(card));
        assert!(worth(card, Some(card)).unwrap_err().contains("router"));
        for refused in ["3e:22:fb:01:02:03", "01:00:5e:00:00:01", "02:42:ac:11:00:02", "00:00:00:00:00:00"] {
            assert!(worth(mac(refused), None).is_err(), "{refused}");
        }
    }
}
