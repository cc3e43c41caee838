//! Opens the listeners. A family that this machine lacks is a warning. A taken port is never fought over: the first one of the
//! configuration is needed to start, a further one is left out and told.

use lamplighter_core::config::{Listen, ServerConfig};
use socket2::{Domain, Protocol, Socket, Type};
use std::{io, net::SocketAddr};
use tokio::net::TcpListener;

/// What was opened.
#[derive(Debug, Default)]
pub struct Bound {
    /// The new listeners, and where they are; a port 0 has become a real one.
    pub opened: Vec<Open<TcpListener>>,
    /// Where we listen with them, in the order of the configuration: also by what was open already and is wanted still.
    pub addresses: Vec<SocketAddr>,
    /// Addresses that somebody else holds.
    pub taken: Vec<Taken>,
    /// What somebody should know although it works.
    pub warnings: Vec<String>,
}

/// A listener, with the entry of the configuration that it was opened for.
#[derive(Debug, Clone, Copy)]
pub struct Open<L> {
    /// The entry of `listen`.
    pub entry: Listen,
    /// Where it is.
    pub address: SocketAddr,
    /// The listener itself.
    pub listener: L,
}

/// An address that somebody else holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The address.
    pub address: SocketAddr,
    /// The program that holds it, where the system tells.
    pub program: Option<String>,
}

/// Why nothing was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unbound {
    /// Somebody holds the port that the configuration names first.
    Taken(Taken),
    /// Anything else, in words for a person.
    Otherwise(String),
}

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Opens every listener of the configuration but those that are `open` already. A port is one door: where one family of a
/// further port is taken, the other is left alone too.
///
/// # Errors
/// Which address, why, and who holds it. Nothing is open then that was not before.
pub fn bind(server: &ServerConfig, open: &[Open<()>]) -> Result<Bound, Unbound> {
    let mut bound = Bound { warnings: super::open_files::allow().into_iter().collect(), ..Bound::default() };
    // `localhost:0` and the two default listeners are one door: the second family takes the port that the first one got.
    let mut chosen_port = None;
    let wanted = wanted(server);
    for &entry in &server.listen {
        let addresses = addresses(entry, server);
        let same: Vec<SocketAddr> = open
            .iter()
            .filter(|open| open.entry == entry && stays(open, &addresses, &wanted))
            .map(|open| open.address)
            .collect();
        if !same.is_empty() {
            bound.addresses.extend(same);
            continue;
        }
        if addresses.is_empty() {
            let none = "listen = \"docker\": there is no Docker bridge (docker0) on this machine";
            bound.warnings.push(none.into());
        }
        for mut address in addresses {
            if address.port() == 0 && address.ip().is_loopback() {
                address.set_port(chosen_port.unwrap_or(0));
            }
            if covered(address, &wanted) || bound.addresses.contains(&address) {
                continue;
            }
            if open.iter().any(|open| open.address == address) {
                bound.addresses.push(address);
                continue;
            }
            match listen(address) {
                Ok(listener) => {
                    let address = listener.local_addr().unwrap_or(address);
                    chosen_port = chosen_port.or(Some(address.port()));
                    bound.addresses.push(address);
                    bound.opened.push(Open { entry, address, listener });
                }
                Err(error) if lacks_family(&error, address) => {
                    let lacks = format!("this machine has no {address}: not listening there ({error})");
                    bound.warnings.push(lacks);
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    let taken = Taken { address, program: holder_of(address) };
                    if address.port() == server.port() {
                        return Err(Unbound::Taken(taken));
                    }
                    bound.taken.push(taken);
                }
                Err(error) => return Err(Unbound::Otherwise(why(address, &error, entry))),
            }
        }
    }
    let taken = &bound.taken;
    let half = |port: u16| taken.iter().any(|taken| taken.address.port() == port);
    bound.opened.retain(|open| !half(open.address.port()));
    bound.addresses.retain(|at| !half(at.port()) || open.iter().any(|open| open.address == *at));
    if bound.addresses.is_empty() {
        let why = bound.warnings.join("; ");
        let nothing = format!("there is nothing to listen on; change `listen` in [server]: {why}");
        return Err(Unbound::Otherwise(nothing));
    }
    Ok(bound)
}

/// Open listeners that the configuration does not want and that keep wanted ones from being opened: the wildcard address of a
/// port and a single one cannot be open together.
#[must_use]
pub fn in_the_way(server: &ServerConfig, open: &[Open<()>]) -> Vec<SocketAddr> {
    let wanted = wanted(server);
    let is_wanted = |entry: Listen, open: &Open<()>| {
        entry == open.entry && stays(open, &addresses(entry, server), &wanted)
    };
    let stays = |open: &Open<()>| {
        server.listen.iter().any(|&entry| is_wanted(entry, open))
            || wanted.contains(&open.address) && !covered(open.address, &wanted)
    };
    let clash = |a: &SocketAddr, b: &SocketAddr| {
        let one_is_all = a.ip().is_unspecified() || b.ip().is_unspecified();
        a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && a != b && one_is_all
    };
    let blocks = |open: &&Open<()>| !stays(open) && wanted.iter().any(|wanted| clash(wanted, &open.address));
    open.iter().filter(blocks).map(|open| open.address).collect()
}

/// Every address that is wanted, but for those whose port is still to be chosen.
fn wanted(server: &ServerConfig) -> Vec<SocketAddr> {
    server.listen.iter().flat_map(|&entry| addresses(entry, server)).filter(|a| a.port() != 0).collect()
}

/// Is a listener that was opened for an entry still what that entry means, now that it means `addresses`? Docker's has the port of
/// another entry, which may have changed; one without an address of its own at present stays as it is.
fn stays(open: &Open<()>, addresses: &[SocketAddr], wanted: &[SocketAddr]) -> bool {
    let is_its_own = |address: &SocketAddr| address.port() == 0 || *address == open.address;
    !covered(open.address, wanted) && (addresses.is_empty() || addresses.iter().any(is_its_own))
}

/// Does a listener on every address of that family and port answer there as well? The two cannot be open together.
fn covered(address: SocketAddr, wanted: &[SocketAddr]) -> bool {
    let covers = |all: &SocketAddr| all.ip().is_unspecified() && all.port() == address.port();
    !address.ip().is_unspecified()
        && wanted.iter().any(|all| covers(all) && all.is_ipv4() == address.is_ipv4())
}

fn addresses(entry: Listen, server: &ServerConfig) -> Vec<SocketAddr> {
    let docker = (entry == Listen::Docker).then(docker_bridge).flatten();
    entry.addresses(docker.map(|ip| SocketAddr::new(ip, server.port())))
}

/// Opens one listener.
///
/// # Errors
/// Those of the system.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
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

fn why(address: SocketAddr, error: &io::Error, entry: Listen) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("{address} may not be opened by this user: ports below 1024 are reserved")
        }
        io::ErrorKind::AddrNotAvailable => format!("{entry} is no address of this machine"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_listener_goes_along_with_the_port() {
        let open = |at: &str| Open { entry: Listen::Docker, address: at.parse().unwrap(), listener: () };
        let bridge: [SocketAddr; 1] = ["172.17.0.1:11500".parse().unwrap()];
        assert!(stays(&open("172.17.0.1:11500"), &bridge, &bridge));
        assert!(!stays(&open("172.17.0.1:11400"), &bridge, &bridge), "the port is another");
        assert!(stays(&open("172.17.0.1:11400"), &[], &[]), "the bridge is gone for a moment");
        let all: [SocketAddr; 1] = ["0.0.0.0:11500".parse().unwrap()];
        assert!(!stays(&open("172.17.0.1:11500"), &bridge, &all), "covered");
        assert!(!covered("[::1]:11500".parse().unwrap(), &all) && !covered(all[0], &all));
    }
}
