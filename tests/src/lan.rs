//! A house of machines in network namespaces: each with a network card of its own, joined by switches, and no way out.
//!
//! It needs root. What runs [`Space::within`] a machine, sockets and started programs alike, is on that machine's network; files
//! and processes are the usual ones.

mod sleeper;
mod witness;

pub use sleeper::{Bmc, Sleeper};
pub use witness::{Seen, Witness};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{
    fs::File,
    os::fd::AsFd,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// A network namespace: one machine, as far as the network is concerned. It goes when this is dropped.
#[derive(Debug)]
pub struct Space {
    holder: Child,
}

impl Space {
    /// An empty one, with loopback only.
    ///
    /// # Errors
    /// Why none can be made here.
    pub fn new() -> Result<Self, String> {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-ec", "ip link set lo up; echo ready; exec sleep infinity"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut holder = command.spawn().map_err(|error| format!("unshare: {error}"))?;
        let mut ready = [0; 6];
        let out = holder.stdout.take().ok_or("its output is piped")?;
        if std::io::Read::read_exact(&mut std::io::BufReader::new(out), &mut ready).is_err() {
            let output = holder.wait_with_output().map_err(|error| error.to_string())?;
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Ok(Self { holder })
    }

    /// The process that holds it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// Runs a few lines of shell there, mostly `ip`.
    ///
    /// # Panics
    /// When they fail; the message holds what they said.
    pub fn sh(&self, script: &str) {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.pid().to_string(), "sh", "-ec", script]);
        let output = command.stdin(Stdio::null()).output().expect("nsenter starts");
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs this on a thread of that machine: its sockets and the programs it starts are there.
    ///
    /// # Panics
    /// As `f` does, and when the thread cannot enter.
    pub fn within<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                enter(self.pid());
                f()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The same for a future, on a runtime of its own.
    ///
    /// # Panics
    /// As the future does.
    pub fn live<T: Send>(&self, future: impl Future<Output = T> + Send) -> T {
        self.within(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(future)
        })
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Moves the calling thread into a machine's network, for good.
fn enter(pid: u32) {
    let network = File::open(format!("/proc/{pid}/ns/net")).expect("the holder lives");
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter");
}

/// The switches, and the machine that the gateway runs on.
#[derive(Debug)]
pub struct Lan {
    switches: Space,
    ports: AtomicU32,
    /// The gateway's machine: `eth0` on the network `home`, 10.77.0.1.
    pub desk: Space,
}

impl Lan {
    /// The network `home` with the gateway's machine on it; `None`, with the test written down as skipped, where that cannot be.
    #[must_use]
    pub fn or_skip(test: &str) -> Option<Self> {
        let made = Space::new().and_then(|switches| Ok((switches, Space::new()?)));
        match made {
            Ok((switches, desk)) => {
                let lan = Self { switches, ports: AtomicU32::new(0), desk };
                lan.plug(&lan.desk, "home", "eth0", "10.77.0.1/24", "a8:a1:59:00:00:01");
                Some(lan)
            }
            Err(why) => {
                crate::house::skip(test, &format!("no network namespaces, which need root: {why}"));
                None
            }
        }
    }

    /// Waits until the kernel has given up its farewells on connections to a machine that has gone: on the wire they look like
    /// somebody's looks.
    ///
    /// # Panics
    /// When it has not after half a minute.
    pub fn until_nothing_open_to(&self, ip: &str) {
        let began = Instant::now();
        let open = || {
            let output = Command::new("ss").args(["-Htan", "dst", ip]).output().expect("ss starts");
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        self.desk.within(|| {
            while !open().is_empty() {
                assert!(began.elapsed() < Duration::from_secs(30), "still open: {}", open());
                std::thread::sleep(Duration::from_millis(100));
            }
        });
    }

    /// Gives a machine a card on a network. An empty `ip` is a card without an address.
    ///
    /// # Panics
    /// When it cannot be done.
    pub fn plug(&self, machine: &Space, network: &str, card: &str, ip: &str, mac: &str) {
        let (port, pid) = (self.ports.fetch_add(1, Ordering::Relaxed), machine.pid());
        self.switches.sh(&format!(
            "ip link show sw-{network} >/dev/null 2>&1 || ip link add sw-{network} type bridge\n\
             ip link set sw-{network} up\n\
             ip link add port{port} type veth peer name {card} netns {pid}\n\
             ip link set port{port} master sw-{network} up"
        ));
        // Without IPv6 the only frames are those that a test is about.
        machine.sh(&format!(
            "echo 1 >/proc/sys/net/ipv6/conf/{card}/disable_ipv6 2>/dev/null || true\n\
             ip link set {card} address {mac}\nip link set {card} up"
        ));
        if !ip.is_empty() {
            machine.sh(&format!("ip addr add {ip} brd + dev {card}"));
        }
    }
}
