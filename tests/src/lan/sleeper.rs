//! A machine that sleeps: it answers nothing, not even ARP, until its network card hears a wake packet for it.
//!
//! A stand-in for what a mainboard's controller does (a BMC): it listens on UDP 9 and 7, and then brings the network up and starts a
//! real program.

use super::{Lan, Space, enter};
use std::{
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    process::{Child, Command},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// How the machine wakes.
#[derive(Debug, Clone)]
pub struct Bmc {
    /// It hears nothing for so long after it was made or put to sleep: it is still shutting down.
    pub deaf: Duration,
    /// It wakes at all.
    pub heeds: bool,
    /// The password that it wants behind the packet.
    pub password: Vec<u8>,
    /// From the packet until it answers on the network.
    pub network_after: Duration,
    /// From then until its engine is started; `None`: never.
    pub engine_after: Option<Duration>,
}

impl Default for Bmc {
    fn default() -> Self {
        Self {
            deaf: Duration::ZERO,
            heeds: true,
            password: vec![],
            network_after: Duration::from_millis(200),
            engine_after: Some(Duration::from_millis(200)),
        }
    }
}

/// What the machine's controller has met.
#[derive(Debug, Default)]
struct Book {
    /// Datagrams that came, each with its port.
    heard: Vec<(u16, Vec<u8>)>,
    wakes: usize,
    awake: bool,
    /// Somebody presses its power button.
    pressed: bool,
    deaf_until: Option<Instant>,
    engine: Option<Child>,
}

/// The machine.
#[derive(Debug)]
pub struct Sleeper {
    /// Its network.
    pub space: Arc<Space>,
    /// Its address, without the prefix.
    pub ip: IpAddr,
    /// Its card's address.
    pub mac: String,
    bmc: Bmc,
    book: Arc<Mutex<Book>>,
    stop: Arc<AtomicBool>,
    controller: Option<JoinHandle<()>>,
}

impl Sleeper {
    /// Puts a sleeping machine on a network. `ip` is with its prefix; `engine` is what it starts when it wakes.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(
        lan: &Lan,
        network: &str,
        ip: &str,
        mac: &str,
        bmc: Bmc,
        engine: impl Fn() -> Command + Send + 'static,
    ) -> Self {
        let space = Arc::new(Space::new().expect("another namespace"));
        lan.plug(&space, network, "eth0", ip, mac);
        space.sh("ip link set eth0 arp off");
        let own: [u8; 6] = mac
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal"))
            .collect::<Vec<_>>()
            .try_into()
            .expect("six bytes");
        let book =
            Arc::new(Mutex::new(Book { deaf_until: Some(Instant::now() + bmc.deaf), ..Book::default() }));
        let stop = Arc::<AtomicBool>::default();
        let sockets = space.within(|| {
            [9, 7].map(|port| {
                let socket = UdpSocket::bind(("0.0.0.0", port)).expect("root may listen there");
                socket.set_read_timeout(Some(Duration::from_millis(10))).expect("a time-out can be set");
                (port, socket)
            })
        });
        let controller = {
            let (space, book, stop, bmc) = (space.clone(), book.clone(), stop.clone(), bmc.clone());
            std::thread::spawn(move || {
                // What is started from here is started on that machine.
                enter(space.pid());
                while !stop.load(Ordering::Relaxed) {
                    if pressed(&book) {
                        wake_up(&space, &book, &bmc, &engine);
                    }
                    for (port, socket) in &sockets {
                        let mut buffer = [0; 2_048];
                        let Ok(length) = socket.recv(&mut buffer) else { continue };
                        if hears(&book, &bmc, *port, &buffer[..length], own) {
                            wake_up(&space, &book, &bmc, &engine);
                        }
                    }
                }
            })
        };
        let ip = ip.split('/').next().and_then(|ip| ip.parse().ok()).expect("an address");
        Self { space, ip, mac: mac.to_owned(), bmc, book, stop, controller: Some(controller) }
    }

    fn book<T>(&self, read: impl FnOnce(&mut Book) -> T) -> T {
        read(&mut self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Its engine's address on this port.
    #[must_use]
    pub fn url(&self, port: u16) -> String {
        format!("http://{}", SocketAddr::new(self.ip, port))
    }

    /// How often it has woken.
    #[must_use]
    pub fn wakes(&self) -> usize {
        self.book(|book| book.wakes)
    }

    /// The datagrams that its card has heard, each with its port.
    #[must_use]
    pub fn heard(&self) -> Vec<(u16, Vec<u8>)> {
        self.book(|book| book.heard.clone())
    }

    /// Somebody presses its power button: it wakes without a packet.
    pub fn press_power(&self) {
        self.book(|book| book.pressed = true);
    }

    /// Puts it to sleep: its engine is gone in the middle of whatever it did, and it answers nothing.
    pub fn sleep(&self) {
        self.space.sh("ip link set eth0 arp off; ip neigh flush dev eth0");
        self.book(|book| {
            book.awake = false;
            book.deaf_until = Some(Instant::now() + self.bmc.deaf);
            end(book.engine.take());
        });
    }

    /// Waits until its engine takes connections on this port.
    ///
    /// # Panics
    /// When it does not within half a minute.
    pub fn until_open(&self, port: u16) {
        let began = Instant::now();
        let address = SocketAddr::new(self.ip, port);
        self.space.within(|| {
            while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
                assert!(began.elapsed() < Duration::from_secs(30), "{address} does not open");
                std::thread::sleep(Duration::from_millis(20));
            }
        });
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.controller.take().map(JoinHandle::join);
        end(self.book(|book| book.engine.take()));
    }
}

fn end(engine: Option<Child>) {
    if let Some(mut engine) = engine {
        let _ = engine.kill();
        let _ = engine.wait();
    }
}

/// Has somebody pressed its power button? Then it is awake from now on.
fn pressed(book: &Mutex<Book>) -> bool {
    let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
    let wakes = std::mem::take(&mut book.pressed) && !book.awake;
    book.awake |= wakes;
    wakes
}

/// Writes down what has come; true when it wakes the machine.
fn hears(book: &Mutex<Book>, bmc: &Bmc, port: u16, datagram: &[u8], own: [u8; 6]) -> bool {
    let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
    book.heard.push((port, datagram.to_vec()));
    let is_deaf = book.deaf_until.is_some_and(|until| Instant::now() < until);
    let is_for_us = datagram.get(..102).and_then(named) == Some(own) && datagram[102..] == bmc.password[..];
    let wakes = bmc.heeds && !book.awake && !is_deaf && is_for_us;
    if wakes {
        book.awake = true;
        book.wakes += 1;
    }
    wakes
}

fn wake_up(space: &Space, book: &Mutex<Book>, bmc: &Bmc, engine: &impl Fn() -> Command) {
    std::thread::sleep(bmc.network_after);
    space.sh("ip link set eth0 arp on");
    let Some(engine_after) = bmc.engine_after else { return };
    std::thread::sleep(engine_after);
    let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
    // It may have been put to sleep meanwhile.
    if book.awake {
        book.engine = Some(engine().spawn().expect("the engine starts"));
    }
}

/// Whom the 102 bytes of a wake packet name.
pub(super) fn named(packet: &[u8]) -> Option<[u8; 6]> {
    let mac: [u8; 6] = packet.get(6..12)?.try_into().ok()?;
    (packet.len() == 102 && packet[..6] == [0xff; 6] && packet[6..] == mac.repeat(16)).then_some(mac)
}
