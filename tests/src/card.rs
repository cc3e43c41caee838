//! A machine that sleeps on loopback: its network card hears packets, and its engine is a simulated node that the test starts.

use crate::house::Gateway;
use lamplighter_core::{node::State, snapshot::Snapshot};
use lamplighter_simnode::{Profile, SimModel, SimNode};
use reqwest::Method;
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};
use tokio::net::UdpSocket;

/// The hardware address that [`config`] writes down.
const MAC: [u8; 6] = [0xa8, 0xa1, 0x59, 0x0c, 0x1d, 0x2e];

/// The card of a sleeping machine: hears packets on loopback.
pub struct Card {
    socket: UdpSocket,
    port: u16,
}

impl Card {
    /// It listens from now on.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub async fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let port = socket.local_addr().expect("it has an address").port();
        Self { socket, port }
    }

    /// Waits for a packet for its machine, and checks every byte of it. Its length.
    ///
    /// # Panics
    /// When none comes within 10 s, or it is wrong.
    pub async fn hears(&self) -> usize {
        let mut packet = [0; 256];
        let length = tokio::time::timeout(Duration::from_secs(10), self.socket.recv(&mut packet))
            .await
            .expect("a packet within 10 s")
            .expect("the card can read");
        let expected: Vec<u8> = [0xff; 6].into_iter().chain(MAC.repeat(16)).collect();
        assert_eq!(packet[..102], expected[..]);
        length
    }

    /// How many packets have come that nobody has looked at; now they are.
    #[allow(clippy::must_use_candidate, reason = "they are also asked for to be forgotten")]
    pub fn more(&self) -> usize {
        std::iter::from_fn(|| self.socket.try_recv(&mut [0; 256]).ok()).count()
    }
}

/// An address at which nobody answers, as that of a machine that is off: a listener without room for anybody drops what comes
/// (Linux `net/ipv4/tcp_input.c`, `tcp_conn_request`).
#[derive(Debug)]
pub struct Silence(#[expect(dead_code, reason = "held open")] Vec<Socket>);

impl Silence {
    /// Nobody answers at that port of loopback until it is dropped.
    ///
    /// # Panics
    /// When somebody has the port.
    #[must_use]
    pub fn at(port: u16) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port)).into();
        let socket = || Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
        let listener = socket();
        listener.set_reuse_address(true).expect("a fresh socket");
        listener.bind(&address).expect("its port is free");
        listener.listen(0).expect("it is bound");
        let fillers = (0..3).map(|_| {
            let filler = socket();
            filler.set_nonblocking(true).expect("a fresh socket");
            // "In progress" is as good: it takes a place in the queue.
            let _ = filler.connect(&address);
            filler
        });
        let fillers: Vec<Socket> = fillers.collect();
        Self(std::iter::once(listener).chain(fillers).collect())
    }
}

/// A port that nobody listens on, and that nobody gets by chance: it lies below those that the kernel gives to whoever asks for any
/// (`net.ipv4.ip_local_port_range`, from 32768), which every connection of another test takes one of.
///
/// # Panics
/// When loopback has none.
#[must_use]
pub fn free_port() -> u16 {
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 18_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(97);
    let next = || FIRST + start.wrapping_add(NEXT.fetch_add(1, Relaxed)) % COUNT;
    let mut ports = (0..COUNT).filter_map(|_| u16::try_from(next()).ok());
    ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}

/// A gateway's configuration with the workstation, woken by packets to `card`.
#[must_use]
pub fn config(engine_port: u16, card: &Card) -> String {
    format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[[node]]\nname = \"workstation\"\nurl = \"http://127.0.0.1:{engine_port}\"\n\
         [node.wake]\nmac = \"a8:a1:59:0c:1d:2e\"\nbroadcast = [\"127.0.0.1:{}\"]\ntimeout = \"20s\"\n",
        card.port
    )
}

/// Is the first node believed asleep?
#[must_use]
pub fn asleep(snapshot: &Snapshot) -> bool {
    snapshot.nodes[0].state == State::Asleep
}

/// An order to the control API: status and body.
///
/// # Panics
/// When it does not answer.
pub async fn order(gateway: &Gateway, method: Method, path: &str) -> (u16, Value) {
    let url = format!("{}/control/v1/{path}", gateway.url);
    let request = gateway.http.request(method, url).bearer_auth(&gateway.token);
    let answer = request.send().await.expect("the control API answers");
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or_default())
}

/// What runs on the workstation when it is awake.
#[must_use]
pub fn profile(port: u16) -> Profile {
    Profile::ollama("workstation").model(SimModel::new("qwen3:8b")).port(port)
}

/// The workstation, awake.
///
/// # Panics
/// When somebody has its port.
pub async fn machine(port: u16) -> SimNode {
    SimNode::start(profile(port)).await.expect("its port is free")
}

/// Another machine that is up, with a model of its own.
///
/// # Panics
/// When loopback has no free port.
pub async fn nas() -> SimNode {
    let profile = Profile::ollama("nas").model(SimModel::new("llama3.2:3b"));
    SimNode::start(profile).await.expect("a free port")
}

/// A gateway that has seen the workstation and its model, in front of a nas; the workstation sleeps now.
///
/// # Panics
/// When it does not come to that.
pub async fn house(card: &Card, port: u16, nas: &SimNode, rest: &str) -> Gateway {
    let machine = machine(port).await;
    let text = format!(
        "{}[[node]]\nname = \"nas\"\nurl = \"{}\"\npresence = \"always-on\"\n{rest}",
        config(port, card),
        nas.url()
    );
    let gateway = Gateway::start(&text).await;
    gateway.until_up(2).await;
    falls_asleep(machine, &gateway).await;
    gateway
}

/// The workstation goes to sleep, and the gateway notices.
///
/// # Panics
/// When it does not.
pub async fn falls_asleep(machine: SimNode, gateway: &Gateway) {
    machine.kill().await;
    drop(machine);
    gateway.until(asleep).await;
}
