//! This computer's network interfaces, as far as wake packets can leave by them.
//!
//! Suitable is an interface that is up, has an IPv4 network with a broadcast address, and is not one of a VPN, a container's
//! host end, or a virtual machine: nobody who sleeps is behind those. Names decide, because the same name means the same thing in
//! every network namespace: a container's own `eth0` counts, the host's end of it, `veth…`, does not.

use std::{io, net::Ipv4Addr};

/// An interface with one of its IPv4 networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name: `eth0`.
    pub name: String,
    /// Our address there.
    pub ip: Ipv4Addr,
    /// Bits of the network's part of it.
    pub prefix: u8,
}

/// Interfaces that lead to no sleeping machine, by the beginnings of their names: containers and virtual machines (Docker, Podman,
/// LXC, libvirt, VMware, VirtualBox, Kubernetes), VPNs (`tun`, `wg`, Tailscale, ZeroTier, `ppp`), and Apple's own links.
const VIRTUAL: [&str; 31] = [
    "docker",
    "veth",
    "virbr",
    "lxcbr",
    "lxdbr",
    "incusbr",
    "podman",
    "cni",
    "flannel",
    "cali",
    "kube",
    "vnet",
    "vmnet",
    "vboxnet",
    "tun",
    "tap",
    "wg",
    "tailscale",
    "zt",
    "utun",
    "ppp",
    "ipsec",
    "nebula",
    "dummy",
    "ifb",
    "awdl",
    "llw",
    "anpi",
    "gif",
    "stf",
    "vEthernet",
];

/// Docker names the bridge of a user's network after the network's id: `br-` and twelve hexadecimal digits.
fn is_docker_bridge(name: &str) -> bool {
    name.strip_prefix("br-").is_some_and(|id| id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit()))
}

impl Interface {
    /// Is its name one of those that lead to no sleeping machine?
    #[must_use]
    pub fn is_virtual(&self) -> bool {
        VIRTUAL.iter().any(|prefix| self.name.starts_with(prefix)) || is_docker_bridge(&self.name)
    }

    /// The network's broadcast address; `None` where there is none (point to point).
    #[must_use]
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        (1..=30).contains(&self.prefix).then(|| Ipv4Addr::from_bits(self.ip.to_bits() | !self.mask()))
    }

    /// Is this an address of its network?
    #[must_use]
    pub fn holds(&self, ip: Ipv4Addr) -> bool {
        self.prefix > 0 && self.ip.to_bits() & self.mask() == ip.to_bits() & self.mask()
    }

    fn mask(&self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0)
    }
}

/// Every suitable interface, one entry for each of its networks.
///
/// # Errors
/// When the system does not tell.
pub fn suitable() -> io::Result<Vec<Interface>> {
    let all = if_addrs::get_if_addrs()?.into_iter();
    let up =
        all.filter(|interface| interface.is_oper_up() && !interface.is_p2p() && !interface.is_loopback());
    let ours = up.filter_map(|interface| match interface.addr {
        if_addrs::IfAddr::V4(v4) => Some(Interface { name: interface.name, ip: v4.ip, prefix: v4.prefixlen }),
        if_addrs::IfAddr::V6(_) => None,
    });
    Ok(ours.filter(|interface| interface.broadcast().is_some() && !interface.is_virtual()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, ip: [u8; 4], prefix: u8) -> Interface {
        Interface { name: name.into(), ip: ip.into(), prefix }
    }

    #[test]
    fn the_broadcast_comes_from_the_real_prefix() {
        let broadcast = |ip, prefix| interface("eth0", ip, prefix).broadcast().map(|ip| ip.octets());
        assert_eq!(broadcast([192, 168, 1, 50], 24), Some([192, 168, 1, 255]));
        assert_eq!(broadcast([192, 168, 1, 50], 26), Some([192, 168, 1, 63]));
        assert_eq!(broadcast([10, 77, 3, 1], 16), Some([10, 77, 255, 255]));
        assert_eq!([31, 32, 0].map(|prefix| broadcast([10, 0, 0, 1], prefix)), [None; 3]);
        let lan = interface("eth0", [192, 168, 1, 50], 26);
        assert!(lan.holds([192, 168, 1, 1].into()) && !lan.holds([192, 168, 1, 64].into()));
        assert!(!interface("x", [10, 0, 0, 1], 0).holds([8, 8, 8, 8].into()));
    }

    #[test]
    fn where_nobody_sleeps() {
        let is_virtual = |name| interface(name, [10, 0, 0, 1], 24).is_virtual();
        for name in [
            "docker0",
            "veth1a2b",
            "br-0123456789ab",
            "virbr0",
            "tun0",
            "wg0",
            "tailscale0",
            "utun3",
            "vEthernet (WSL)",
        ] {
            assert!(is_virtual(name), "{name}");
        }
        for name in ["eth0", "eno1", "enp3s0", "wlan0", "br0", "br-lan", "bond0", "en0", "Ethernet", "Wi-Fi"]
        {
            assert!(!is_virtual(name), "{name}");
        }
    }

    #[test]
    fn what_this_computer_has_is_read() {
        for interface in suitable().unwrap() {
            assert!(
                !interface.ip.is_loopback() && interface.holds(interface.broadcast().unwrap()),
                "{interface:?}"
            );
        }
    }
}
