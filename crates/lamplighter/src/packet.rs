//! Magic packets: their bytes, where they go, and the sockets they leave by.
//!
//! A packet for each address goes to each place; a place that fails does not stop the others. By default the places are the
//! directed and the limited broadcast of the networks that hold the machine (of every suitable one when none does, or when its
//! wakeable card is another one than the one that answers), and its last known address, on ports 9 and 7 each. Each broadcast
//! leaves by a socket that is bound to its interface's address, because 255.255.255.255 would else leave by the default route
//! alone.

mod guard;

pub use guard::Guard;

use crate::interfaces::{self, Interface};
use lamplighter_core::{
    config::{SecureOn, Target},
    mac::Mac,
};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

/// Where a packet without a port goes: discard and echo, as every sender does.
const PORTS: [u16; 2] = [9, 7];

/// The bytes of a packet: 102, or 106 or 108 with a password.
#[must_use]
pub fn bytes(mac: Mac, secure_on: Option<&SecureOn>) -> Vec<u8> {
    let mut bytes = wake_on_lan::MagicPacket::new(&mac.0).magic_bytes().to_vec();
    bytes.extend_from_slice(secure_on.map_or(&[], SecureOn::bytes));
    bytes
}

/// Whom to call, and where.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// The machine's addresses.
    pub macs: Vec<Mac>,
    /// The password behind each packet.
    pub secure_on: Option<SecureOn>,
    /// When not empty, only these places.
    pub only: Vec<Target>,
    /// Where it was last seen.
    pub last_ip: Option<IpAddr>,
    /// Its wakeable card may be on another network than the one it answers on.
    pub everywhere: bool,
}

/// One place a packet goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The interface it must leave by; `None` leaves that to the routing table.
    pub by: Option<Interface>,
    /// The address and port.
    pub to: SocketAddr,
}

/// What became of one round.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Round {
    /// Packets that left.
    pub sent: u32,
    /// Every place that failed, in words.
    pub failed: Vec<String>,
}

/// Sends one round: every packet to every place. Never waits.
#[must_use]
pub fn send(call: &Call, guard: &Guard) -> Round {
    let mut round = Round::default();
    let interfaces = interfaces::suitable().unwrap_or_else(|error| {
        round.failed.push(format!("this computer's networks cannot be listed: {error}"));
        vec![]
    });
    let packets: Vec<Vec<u8>> = call.macs.iter().map(|&mac| bytes(mac, call.secure_on.as_ref())).collect();
    if packets.is_empty() {
        round.failed.push("its MAC address is not known".into());
        return round;
    }
    for place in places(call, &interfaces) {
        let sent = guard
            .allow(place.to.ip())
            .and_then(|()| send_to(&place, &packets).map_err(|error| error.to_string()));
        match sent {
            Ok(packets) => round.sent += packets,
            Err(why) => round.failed.push(match &place.by {
                Some(interface) => format!("{} by {}: {why}", place.to, interface.name),
                None => format!("{}: {why}", place.to),
            }),
        }
    }
    if round.sent == 0 && round.failed.is_empty() {
        round.failed.push("this computer is on no network that a wake packet could leave by".into());
    }
    round
}

/// Where the packets go.
#[must_use]
pub fn places(call: &Call, interfaces: &[Interface]) -> Vec<Place> {
    let mut places = Vec::new();
    let mut add = |by: Option<&Interface>, ip: IpAddr, port: Option<u16>| {
        for port in port.as_ref().map_or(&PORTS[..], std::slice::from_ref) {
            let place = Place { by: by.cloned(), to: SocketAddr::new(ip, *port) };
            if !places.contains(&place) {
                places.push(place);
            }
        }
    };
    if !call.only.is_empty() {
        for target in &call.only {
            if target.ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
                interfaces.iter().for_each(|interface| add(Some(interface), target.ip, target.port));
            } else {
                // One of our own networks' broadcasts leaves by that network, whatever the routing table says.
                let own = interfaces.iter().find(|own| own.broadcast().map(IpAddr::V4) == Some(target.ip));
                add(own, target.ip, target.port);
            }
        }
        return places;
    }
    let holds = |interface: &&Interface| matches!(call.last_ip, Some(IpAddr::V4(ip)) if interface.holds(ip));
    let any_holds = interfaces.iter().any(|interface| holds(&interface));
    // Broadcasts first: a packet for one address alone may wait for an answer to ARP that nobody gives.
    for interface in interfaces.iter().filter(|interface| call.everywhere || !any_holds || holds(interface)) {
        for ip in interface.broadcast().into_iter().chain([Ipv4Addr::BROADCAST]) {
            add(Some(interface), ip.into(), None);
        }
    }
    if let Some(ip) = call.last_ip {
        add(None, ip, None);
    }
    places
}

/// Sends the packets to one place; how many left.
fn send_to(place: &Place, packets: &[Vec<u8>]) -> io::Result<u32> {
    let socket = Socket::new(Domain::for_address(place.to), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if place.to.is_ipv4() {
        socket.set_broadcast(true)?;
    }
    if let Some(interface) = &place.by {
        bind_to_device(&socket, &interface.name);
        socket.bind(&SocketAddr::new(interface.ip.into(), 0).into())?;
    }
    for packet in packets {
        let sent = socket.send_to(packet, &place.to.into())?;
        if sent != packet.len() {
            return Err(io::Error::other("the packet was cut"));
        }
    }
    Ok(u32::try_from(packets.len()).unwrap_or(u32::MAX))
}

/// Where the system allows it the packet cannot leave by another interface. Where not, the source address chooses it: Linux
/// sends limited broadcasts by the interface that has the address (`net/ipv4/route.c`, `ip_route_output_key_hash_rcu`).
#[cfg(target_os = "linux")]
fn bind_to_device(socket: &Socket, name: &str) {
    if let Err(error) = socket.bind_device(Some(name.as_bytes())) {
        tracing::debug!(interface = name, %error, "packets are bound to the interface's address only");
    }
}

#[cfg(not(target_os = "linux"))]
fn bind_to_device(_socket: &Socket, _name: &str) {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{net::UdpSocket, time::Duration};

    fn interface(name: &str, ip: [u8; 4], prefix: u8) -> Interface {
        Interface { name: name.into(), ip: ip.into(), prefix }
    }

    fn said(call: &Call, interfaces: &[Interface]) -> Vec<String> {
        let by = |place: &Place| place.by.as_ref().map_or("-".into(), |interface| interface.name.clone());
        places(call, interfaces).iter().map(|place| format!("{} {}", by(place), place.to)).collect()
    }

    proptest! {
        #[test]
        fn six_times_ff_sixteen_times_the_address_and_the_password(mac: [u8; 6], password in prop_oneof![Just(None), "[ -~]{4}".prop_map(Some), "[ -~]{6}".prop_map(Some)]) {
            let secure_on = password.as_deref().map(|text| text.parse::<SecureOn>().unwrap());
            let bytes = bytes(Mac(mac), secure_on.as_ref());
            prop_assert_eq!(&bytes[..6], &[0xff; 6]);
            prop_assert_eq!(&bytes[6..102], &mac.repeat(16)[..]);
            prop_assert_eq!(&bytes[102..], password.as_deref().unwrap_or_default().as_bytes());
        }
    }

    #[test]
    fn r54_networks_that_hold_the_machine_else_all() {
        let lans = [interface("eth0", [10, 77, 1, 2], 25), interface("eth1", [10, 88, 0, 2], 24)];
        let call = |last_ip: Option<[u8; 4]>| Call { last_ip: last_ip.map(IpAddr::from), ..Call::default() };
        let eth0 =
            ["eth0 10.77.1.127:9", "eth0 10.77.1.127:7", "eth0 255.255.255.255:9", "eth0 255.255.255.255:7"];
        let eth1 =
            ["eth1 10.88.0.255:9", "eth1 10.88.0.255:7", "eth1 255.255.255.255:9", "eth1 255.255.255.255:7"];
        let unicast = |ip: &str| [format!("- {ip}:9"), format!("- {ip}:7")];
        let all = [eth0, eth1].concat();
        assert_eq!(
            said(&call(Some([10, 77, 1, 9])), &lans),
            [&eth0.map(String::from)[..], &unicast("10.77.1.9")].concat()
        );
        assert_eq!(said(&call(None), &lans), all);
        assert_eq!(said(&call(Some([192, 168, 5, 5])), &lans)[..8], all);
        let elsewhere = Call { everywhere: true, ..call(Some([10, 77, 1, 9])) };
        assert_eq!(said(&elsewhere, &lans).len(), 10);
        assert_eq!(said(&call(None), &[]), [""; 0]);
    }

    #[test]
    fn written_places_are_the_only_ones() {
        let lans = [interface("eth0", [10, 77, 1, 2], 24), interface("eth1", [10, 88, 0, 2], 24)];
        let call = |only: &[&str]| Call {
            only: only.iter().map(|text| text.parse().unwrap()).collect(),
            last_ip: Some([10, 77, 1, 9].into()),
            ..Call::default()
        };
        assert_eq!(said(&call(&["127.0.0.1:40009"]), &lans), ["- 127.0.0.1:40009"]);
        assert_eq!(
            said(&call(&["10.88.0.255:9", "10.88.0.255"]), &lans),
            ["eth1 10.88.0.255:9", "eth1 10.88.0.255:7"]
        );
        assert_eq!(
            said(&call(&["255.255.255.255:9"]), &lans),
            ["eth0 255.255.255.255:9", "eth1 255.255.255.255:9"]
        );
        assert_eq!(
            said(&call(&["192.168.9.255", "[fd00::1]:9"]), &[]),
            ["- 192.168.9.255:9", "- 192.168.9.255:7", "- [fd00::1]:9"]
        );
    }

    #[test]
    fn every_place_is_tried_and_the_failures_are_told() {
        let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
        listener.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mac: Mac = "a8:a1:59:0c:1d:2e".parse().unwrap();
        let targets = ["8.8.8.8:9".to_owned(), listener.local_addr().unwrap().to_string()];
        let call = Call {
            macs: vec![mac],
            secure_on: Some("beacon".parse().unwrap()),
            only: targets.iter().map(|text| text.parse().unwrap()).collect(),
            ..Call::default()
        };
        let round = send(&call, &Guard::loopback_only());
        assert_eq!((round.sent, round.failed.len()), (1, 1), "{round:?}");
        assert!(round.failed[0].starts_with("8.8.8.8:9: "), "{round:?}");
        let mut buffer = [0; 200];
        let (length, _) = listener.recv_from(&mut buffer).unwrap();
        assert_eq!((length, &buffer[102..108]), (108, &b"beacon"[..]));
        let nobody = send(&Call::default(), &Guard::loopback_only());
        assert_eq!(
            (nobody.sent, nobody.failed.as_slice()),
            (0, &["its MAC address is not known".to_owned()][..])
        );
    }
}
