//! The kernel's neighbour table by `RTM_GETNEIGH` over netlink (rtnetlink(7); Linux `include/uapi/linux/neighbour.h`).

use super::Neighbour;
use lamplighter_core::mac::Mac;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io::{self, Read},
    net::IpAddr,
    time::Duration,
};

const AF_NETLINK: i32 = 16;
const NETLINK_ROUTE: i32 = 0;
const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`
const REQUEST_DUMP: u16 = 0x301;
/// Address, hardware address, ages.
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_CACHEINFO: u16 = 3;
/// `NUD_INCOMPLETE | NUD_FAILED | NUD_NOARP`: no neighbour has answered.
const NOT_ANSWERED: u16 = 0x01 | 0x20 | 0x40;
/// Ages are counted in `USER_HZ`, 100 a second on all machines but Alpha.
const MS_PER_TICK: u64 = 10;
/// The kernel answers at once; this only bounds the wait.
const PATIENCE: Duration = Duration::from_secs(1);
/// More entries than any house has.
const ENTRIES_MAX: usize = 4_096;

pub(super) fn table() -> io::Result<Vec<Neighbour>> {
    let mut socket = Socket::new(Domain::from(AF_NETLINK), Type::DGRAM, Some(Protocol::from(NETLINK_ROUTE)))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    // Header: length, type, flags, number, sender; then `struct ndmsg`: family 0 is all families.
    let mut request = Vec::with_capacity(28);
    request.extend(28u32.to_ne_bytes());
    request.extend(RTM_GETNEIGH.to_ne_bytes());
    request.extend(REQUEST_DUMP.to_ne_bytes());
    request.extend([0; 20]);
    socket.send(&request)?;
    let mut found = Vec::new();
    let mut buffer = vec![0; 32 * 1024];
    while found.len() < ENTRIES_MAX {
        let length = socket.read(&mut buffer)?;
        if !messages(&buffer[..length], &mut found)? {
            break;
        }
    }
    Ok(found)
}

/// Reads the messages of one answer; false when it was the last.
fn messages(mut bytes: &[u8], found: &mut Vec<Neighbour>) -> io::Result<bool> {
    while let (Some(length), Some(kind)) = (number::<4>(bytes, 0).map(u32::from_ne_bytes), u16_at(bytes, 4)) {
        let length = length as usize;
        let Some(message) = bytes.get(..length).filter(|message| message.len() >= 16) else { break };
        match kind {
            NLMSG_DONE => return Ok(false),
            NLMSG_ERROR => return Err(io::Error::other("the kernel does not tell its neighbours")),
            RTM_NEWNEIGH => found.extend(neighbour(&message[16..])),
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

/// `struct ndmsg` (12 bytes: the state stands at 8), then attributes.
fn neighbour(message: &[u8]) -> Option<Neighbour> {
    if u16_at(message, 8)? & NOT_ANSWERED != 0 {
        return None;
    }
    let (mut ip, mut mac, mut confirmed_ms) = (None, None, None);
    let mut rest = message.get(12..)?;
    while let (Some(length), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        let length = usize::from(length);
        let Some(value) = rest.get(4..length) else { break };
        match kind {
            NDA_DST => {
                ip = match value.len() {
                    4 => number::<4>(value, 0).map(IpAddr::from),
                    16 => number::<16>(value, 0).map(IpAddr::from),
                    _ => None,
                }
            }
            NDA_LLADDR => mac = value.try_into().ok().map(Mac),
            NDA_CACHEINFO => {
                confirmed_ms =
                    number::<4>(value, 0).map(|ticks| u64::from(u32::from_ne_bytes(ticks)) * MS_PER_TICK)
            }
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(Neighbour { ip: ip?, mac: mac?, confirmed_ms })
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    number::<2>(bytes, at).map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes
    }

    fn entry(state: u16, ip: &[u8]) -> Vec<u8> {
        let mut body = vec![0; 8];
        body.extend(state.to_ne_bytes());
        body.extend([0; 2]);
        body.extend(attribute(NDA_DST, ip));
        body.extend(attribute(NDA_LLADDR, &[1, 2, 3, 4, 5, 6]));
        body.extend(attribute(NDA_CACHEINFO, &[&250u32.to_ne_bytes()[..], &[0; 12]].concat()));
        message(RTM_NEWNEIGH, &body)
    }

    #[test]
    fn entries_of_both_families_and_the_end() {
        let mut v6 = [0; 16];
        v6[15] = 1;
        let bytes = [
            entry(0x04, &[192, 168, 1, 50]),
            entry(0x20, &[192, 168, 1, 51]),
            entry(0x02, &v6),
            message(NLMSG_DONE, &[0; 4]),
        ];
        let mut found = Vec::new();
        assert!(!messages(&bytes.concat(), &mut found).unwrap());
        let neighbour = |ip: &str| Neighbour {
            ip: ip.parse().unwrap(),
            mac: Mac([1, 2, 3, 4, 5, 6]),
            confirmed_ms: Some(2_500),
        };
        assert_eq!(found, [neighbour("192.168.1.50"), neighbour("::1")], "one had never answered");
        assert!(messages(&message(NLMSG_ERROR, &[0; 20]), &mut found).is_err());
    }

    #[test]
    fn this_computers_table_is_read() {
        table().unwrap();
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_stumble(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0..200usize) {
            let mut found = Vec::new();
            let _ = messages(&bytes, &mut found);
            let mut whole = entry(0x02, &[1, 2, 3, 4]);
            whole.truncate(cut);
            let _ = messages(&whole, &mut found);
            whole.extend(bytes);
            let _ = messages(&whole, &mut found);
        }
    }
}
