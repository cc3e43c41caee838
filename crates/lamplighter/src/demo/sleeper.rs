//! A simulated machine that sleeps: its network card hears a real magic packet on loopback, it wakes in some seconds, and it goes
//! back to sleep when nobody has asked anything for a minute.

use lamplighter_simnode::{Profile, SimNode};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::{net::UdpSocket, time::Instant};
use tokio_util::sync::CancellationToken;

/// The hardware address that its card answers to.
pub(super) const MAC: &str = "a8:a1:59:11:99:40";
const MAC_BYTES: [u8; 6] = [0xa8, 0xa1, 0x59, 0x11, 0x99, 0x40];
/// Where the card listens.
pub(super) const CARD_PORT: u16 = 40009;
/// From the packet until the machine is on the network, and from there until its engine answers.
const BOOTS: Duration = Duration::from_millis(3_500);
const STARTS: Duration = Duration::from_millis(2_500);
/// It sleeps again after so much time without a question.
const IDLE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_secs(1);

/// The machine.
#[derive(Debug)]
pub(super) struct Sleeper {
    card: UdpSocket,
    silence: Option<Silence>,
    address: SocketAddr,
    profile: Profile,
}

/// An address at which nobody answers, as that of a machine that is off: a listener that takes no connection and has no room for
/// any more. The kernel then drops what comes (Linux `net/ipv4/tcp_input.c`, `tcp_conn_request`); elsewhere it may refuse.
#[derive(Debug)]
struct Silence {
    _listener: Socket,
    _fillers: Vec<Socket>,
}

impl Silence {
    fn at(address: SocketAddr) -> io::Result<(Self, SocketAddr)> {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        listener.set_reuse_address(true)?;
        listener.bind(&address.into())?;
        listener.listen(0)?;
        let address = listener.local_addr()?.as_socket().unwrap_or(address);
        let mut fillers = Vec::new();
        for _ in 0..3 {
            let filler = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
            filler.set_nonblocking(true)?;
            // "In progress" is as good: it takes a place in the queue.
            let _ = filler.connect(&address.into());
            fillers.push(filler);
        }
        Ok((Self { _listener: listener, _fillers: fillers }, address))
    }
}

impl Sleeper {
    /// A machine that sleeps.
    pub(super) async fn new(profile: Profile) -> io::Result<Self> {
        let card = match UdpSocket::bind((Ipv4Addr::LOCALHOST, CARD_PORT)).await {
            Ok(card) => card,
            // Another demo has it.
            Err(_) => UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?,
        };
        let (silence, address) = Silence::at((Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(Self { card, silence: Some(silence), address, profile })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn card(&self) -> io::Result<SocketAddr> {
        self.card.local_addr()
    }

    /// Sleeps and wakes until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                heard = self.hears() => if heard.is_err() { return stop.cancelled().await },
            }
            let awake = tokio::select! {
                () = stop.cancelled() => return,
                awake = self.boots() => awake,
            };
            // Somebody has taken the port meanwhile: the machine stays off.
            let Ok(node) = awake else { return stop.cancelled().await };
            tokio::select! {
                () = stop.cancelled() => return,
                () = until_idle(&node) => {}
            }
            node.kill().await;
            drop(node);
            // Packets of the wake that is over start no other.
            while self.card.try_recv(&mut [0; 512]).is_ok() {}
            match Silence::at(self.address) {
                Ok((silence, _)) => self.silence = Some(silence),
                Err(_) => return stop.cancelled().await,
            }
        }
    }

    /// Waits for a magic packet with our address.
    async fn hears(&self) -> io::Result<()> {
        let wanted: Vec<u8> = [0xff; 6].into_iter().chain(MAC_BYTES.repeat(16)).collect();
        let mut packet = [0; 512];
        loop {
            let length = self.card.recv(&mut packet).await?;
            if packet[..length].windows(wanted.len()).any(|window| window == wanted) {
                return Ok(());
            }
        }
    }

    async fn boots(&mut self) -> io::Result<SimNode> {
        tokio::time::sleep(BOOTS).await;
        // From here on the port refuses: the machine is there, its engine not yet.
        self.silence = None;
        tokio::time::sleep(STARTS).await;
        SimNode::start(self.profile.clone().port(self.address.port())).await
    }
}

async fn until_idle(node: &SimNode) {
    let (mut questions, mut since) = (0, Instant::now());
    loop {
        tokio::time::sleep(LOOK).await;
        let stats = node.stats();
        let busy = stats.generations_started > stats.generations_finished + stats.generations_cancelled;
        if busy || stats.generations_started != questions {
            (questions, since) = (stats.generations_started, Instant::now());
        }
        if since.elapsed() >= IDLE {
            return;
        }
    }
}
