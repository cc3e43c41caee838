//! A machine that only listens: it writes down every wake packet on its network, whoever it is for, and who is looked for there.

use super::{Lan, Space};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io::Read,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// A wake packet on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whom it names: `a8:a1:59:0c:1d:2e`.
    pub mac: String,
    /// Bytes of the datagram.
    pub length: usize,
    /// From where.
    pub from: Ipv4Addr,
    /// To where.
    pub to: Ipv4Addr,
    /// To which UDP port.
    pub port: u16,
    /// When.
    pub at: Instant,
}

/// What it has written down.
#[derive(Debug, Default)]
struct Book {
    packets: Vec<Seen>,
    looked_for: Vec<Ipv4Addr>,
}

/// The machine.
#[derive(Debug)]
pub struct Witness {
    book: Arc<Mutex<Book>>,
    stop: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
    _space: Space,
}

impl Witness {
    /// Puts one on a network. It hears from now on.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn on(lan: &Lan, network: &str) -> Self {
        let space = Space::new().expect("another namespace");
        lan.plug(&space, network, "eth0", "", "a8:a1:59:ff:ff:01");
        let (book, stop) = (Arc::<Mutex<Book>>::default(), Arc::<AtomicBool>::default());
        let socket = space.within(|| {
            // ETH_P_ALL, in network byte order (packet(7)).
            let all = i32::from(0x0003_u16.to_be());
            let socket =
                Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(all))).expect("root may listen");
            socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time-out can be set");
            socket
        });
        let (written, ended) = (book.clone(), stop.clone());
        let listening = std::thread::spawn(move || listen(socket, &written, &ended));
        Self { book, stop, listening: Some(listening), _space: space }
    }

    /// All that it has seen so far, in order.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        // What has been sent a moment ago is on its way through the switch.
        std::thread::sleep(Duration::from_millis(100));
        self.book.lock().unwrap_or_else(PoisonError::into_inner).packets.clone()
    }

    /// How often somebody has asked on this network who has that address (ARP): that comes before any packet to a machine that
    /// does not answer.
    #[must_use]
    pub fn looked_for(&self, ip: &str) -> usize {
        let ip: Ipv4Addr = ip.parse().expect("an address");
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.looked_for.iter().filter(|asked| **asked == ip).count()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.listening.take().map(JoinHandle::join);
    }
}

fn listen(mut socket: Socket, book: &Mutex<Book>, stop: &AtomicBool) {
    let mut frame = [0; 2_048];
    while !stop.load(Ordering::Relaxed) {
        let Ok(length) = socket.read(&mut frame) else { continue };
        if let Some(packet) = wake_packet(&frame[..length]) {
            book.lock().unwrap_or_else(PoisonError::into_inner).packets.push(packet);
        } else if let Some(ip) = arp_request(&frame[..length]) {
            book.lock().unwrap_or_else(PoisonError::into_inner).looked_for.push(ip);
        }
    }
}

/// Whom an ARP request asks for (RFC 826: the operation stands at 20, the target's address at 38).
fn arp_request(frame: &[u8]) -> Option<Ipv4Addr> {
    let is_request = frame.get(12..14)? == [0x08, 0x06] && frame.get(20..22)? == [0, 1];
    let ip: [u8; 4] = frame.get(38..42)?.try_into().ok()?;
    is_request.then(|| ip.into())
}

/// Any UDP datagram that holds six times 0xff and then sixteen times the same six bytes, wherever it goes.
fn wake_packet(frame: &[u8]) -> Option<Seen> {
    let ip = frame.get(14..).filter(|_| frame[12..14] == [0x08, 0x00])?;
    let udp = ip.get(usize::from(ip.first()? & 0x0f) * 4..).filter(|_| ip[9] == 17)?;
    let length = usize::from(u16::from_be_bytes([*udp.get(4)?, *udp.get(5)?])).checked_sub(8)?;
    let payload = udp.get(8..8 + length)?;
    let mac = payload.windows(102).find_map(super::sleeper::named)?;
    let address =
        |at: usize| ip.get(at..at + 4).map(|bytes| Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]));
    let mac: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(Seen {
        mac: mac.join(":"),
        length,
        from: address(12)?,
        to: address(16)?,
        port: u16::from_be_bytes([udp[2], udp[3]]),
        at: Instant::now(),
    })
}
