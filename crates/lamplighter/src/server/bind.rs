//! Opens the listeners. A family that this machine lacks is a warning, a taken port an error that names its holder.

use lamplighter_core::config::{Listen, ServerConfig};
use socket2::{Domain, Protocol, Socket, Type};
use std::{io, net::SocketAddr};
use tokio::net::TcpListener;

/// What was opened.
#[derive(Debug)]
pub struct Bound {
    /// The listeners.
    pub listeners: Vec<TcpListener>,
    /// Where they are; a port 0 has become a real one.
    pub addresses: Vec<SocketAddr>,
    /// What somebody should know although it works.
    pub warnings: Vec<String>,
}

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Opens every listener of the configuration.
///
/// # Errors
/// In words for a person: which address, why, and who holds it.
pub fn bind(server: &ServerConfig) -> Result<Bound, String> {
    let warnings = super::open_files::allow().into_iter().collect();
    let mut bound = Bound { listeners: vec![], addresses: vec![], warnings };
    // `localhost:0` and the two default listeners are one door: the second family takes the port that the first one got.
    let mut chosen_port = None;
    for listen in &server.listen {
        let docker = docker_bridge().map(|ip| SocketAddr::new(ip, server.port()));
        let addresses = listen.addresses(docker);
        if addresses.is_empty() {
            bound
                .warnings
                .push("listen = \"docker\": there is no Docker bridge (docker0) on this machine".into());
        }
        for mut address in addresses {
            if address.port() == 0 && address.ip().is_loopback() {
                address.set_port(chosen_port.unwrap_or(0));
            }
            match open(address) {
                Ok(listener) => {
                    let real = listener.local_addr().unwrap_or(address);
                    chosen_port = chosen_port.or(Some(real.port()));
                    bound.addresses.push(real);
                    bound.listeners.push(listener);
                }
                Err(error) if lacks_family(&error, address) => {
                    bound
                        .warnings
                        .push(format!("this machine has no {address}: not listening there ({error})"));
                }
                Err(error) => return Err(why(address, &error, *listen)),
            }
        }
    }
    if bound.listeners.is_empty() {
        let why = bound.warnings.join("; ");
        return Err(format!("there is nothing to listen on; change `listen` in [server]: {why}"));
    }
    Ok(bound)
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Each family has its own listener: a dual-stack socket would answer under addresses nobody configured.
        socket.set_only_v6(true)?;
    }
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn lacks_family(error: &io::Error, address: SocketAddr) -> bool {
    let no_such_address = error.kind() == io::ErrorKind::AddrNotAvailable;
    // EAFNOSUPPORT: the kernel was built or booted without the family.
    (no_such_address && address.ip().is_loopback())
        || error.raw_os_error() == Some(97)
        || error.kind() == io::ErrorKind::Unsupported
}

fn why(address: SocketAddr, error: &io::Error, listen: Listen) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let holder = holder_of(address).unwrap_or_else(|| "another program".into());
            format!("{address} is taken by {holder}: end it, or choose another port in `listen` of [server]")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{address} may not be opened by this user: ports below 1024 are reserved")
        }
        io::ErrorKind::AddrNotAvailable => format!("{listen} is no address of this machine"),
        _ => format!("{address} cannot be opened: {error}"),
    }
}

/// The address of Docker's default bridge.
fn docker_bridge() -> Option<std::net::IpAddr> {
    // The route to a bridge's own subnet is listed with its interface; the kernel picks our address on it.
    let routes = std::fs::read_to_string("/proc/net/route").ok()?;
    let line = routes.lines().find(|line| line.starts_with("docker0\t"))?;
    let destination = u32::from_str_radix(line.split('\t').nth(1)?, 16).ok()?.to_le_bytes();
    let [a, b, c, _] = destination;
    let probe = std::net::UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    probe.connect((std::net::Ipv4Addr::new(a, b, c, 254), 9)).ok()?;
    probe.local_addr().ok().map(|local| local.ip())
}

/// The program that listens on `address`, where the system tells (Linux: /proc).
fn holder_of(address: SocketAddr) -> Option<String> {
    let inode = listening_inode(address)?;
    let wanted = format!("socket:[{inode}]");
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    processes.filter(|p| p.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit())).find_map(
        |process| {
            let mut sockets = std::fs::read_dir(process.path().join("fd")).ok()?.flatten();
            let holds = sockets
                .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str()));
            let name = || std::fs::read_to_string(process.path().join("comm")).ok();
            holds
                .then(name)?
                // A program may call itself anything.
                .map(|name| {
                    format!(
                        "{} (process {})",
                        name.trim().escape_debug(),
                        process.file_name().to_string_lossy()
                    )
                })
        },
    )
}

fn listening_inode(address: SocketAddr) -> Option<String> {
    let table = if address.is_ipv6() { "/proc/net/tcp6" } else { "/proc/net/tcp" };
    let port = format!(":{:04X}", address.port());
    let table = std::fs::read_to_string(table).ok()?;
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Local address, state (0A is LISTEN) and inode: Documentation/networking/proc_net_tcp.rst.
        (fields.get(1)?.ends_with(&port) && *fields.get(3)? == "0A")
            .then(|| fields.get(9).map(|&inode| inode.to_owned()))?
    })
}
