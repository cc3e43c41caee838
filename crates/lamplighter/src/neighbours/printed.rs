//! The neighbour table and the way out as macOS's and Windows' own programs print them: their system calls want `unsafe`.
//!
//! Untested on those systems; the shapes are from the programs' sources and documentation: `arp -an` and `route -n get default`
//! (Apple `network_cmds`, `arp.tproj/arp.c` and `route.tproj/route.c`), `arp -a` and `route print` (Windows commands reference).
//! Windows translates their words, so that only the shapes of the columns count.

use super::Neighbour;
use lamplighter_core::mac::Mac;
use std::{
    ffi::OsStr,
    net::{IpAddr, Ipv4Addr},
    process::Stdio,
    time::Duration,
};
use tokio::process::Command;

/// They only print what the kernel has: this bounds the wait.
const PATIENCE: Duration = Duration::from_secs(2);
/// More is read of none of them, in bytes: some thousand neighbours.
const PRINTED_MAX: usize = 256 << 10;

#[cfg(not(target_os = "linux"))]
pub(super) async fn table() -> Result<Vec<Neighbour>, String> {
    let options = if cfg!(windows) { "-a" } else { "-an" };
    Ok(neighbours(&run("arp", [options]).await?))
}

#[cfg(windows)]
pub(super) async fn gateway_ip() -> Option<IpAddr> {
    windows_gateway(&run("route", ["print", "-4", "0.0.0.0"]).await.ok()?)
}

#[cfg(not(any(target_os = "linux", windows)))]
pub(super) async fn gateway_ip() -> Option<IpAddr> {
    macos_gateway(&run("route", ["-n", "get", "default"]).await.ok()?)
}

/// What a program prints.
async fn run<A: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    // `CREATE_NO_WINDOW` (Windows "Process Creation Flags"): no console flashes up.
    #[cfg(windows)]
    command.creation_flags(0x0800_0000);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.map_err(|_| format!("{program} took longer than {} s", PATIENCE.as_secs()))?;
    let printed = output.map_err(|error| format!("{program}: {error}"))?.stdout;
    Ok(String::from_utf8_lossy(&printed[..printed.len().min(PRINTED_MAX)]).into_owned())
}

/// Each line that has an address and, behind it, a hardware address. macOS writes the first in brackets, drops leading zeros and
/// says `(incomplete)` of who has not answered: `? (192.168.1.1) at 0:1b:21:a:b:c on en0 ifscope [ethernet]`. Windows:
/// `  192.168.1.1           00-1b-21-0a-0b-0c     dynamic`.
fn neighbours(printed: &str) -> Vec<Neighbour> {
    let neighbour = |line: &str| {
        let mut words = line.split_ascii_whitespace().map(|word| word.trim_matches(['(', ')']));
        let ip = words.find_map(|word| word.parse::<Ipv4Addr>().ok())?;
        let mac = words.find_map(|word| word.parse::<Mac>().ok())?;
        Some(Neighbour { ip: ip.into(), mac, confirmed_ms: None })
    };
    printed.lines().filter_map(neighbour).collect()
}

/// `    gateway: 192.168.1.1`
#[cfg(any(test, not(any(target_os = "linux", windows))))]
fn macos_gateway(printed: &str) -> Option<IpAddr> {
    printed.lines().find_map(|line| line.trim().strip_prefix("gateway:")?.trim().parse().ok())
}

/// The default route with the lowest metric: `0.0.0.0  0.0.0.0  192.168.1.1  192.168.1.50  25`. Those that are kept for the next
/// start have no address of ours in them.
#[cfg(any(test, windows))]
fn windows_gateway(printed: &str) -> Option<IpAddr> {
    let route = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let ["0.0.0.0", "0.0.0.0", gateway, ours, metric] = words[..] else { return None };
        ours.parse::<Ipv4Addr>().ok()?;
        Some((metric.parse::<u32>().ok()?, gateway.parse::<Ipv4Addr>().ok()?))
    };
    printed.lines().filter_map(route).min_by_key(|(metric, _)| *metric).map(|(_, gateway)| gateway.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(printed: &str) -> Vec<(String, String)> {
        neighbours(printed).into_iter().map(|it| (it.ip.to_string(), it.mac.to_string())).collect()
    }

    #[test]
    fn neighbours_as_macos_prints_them() {
        let printed = "? (192.168.1.1) at 0:1b:21:a:b:c on en0 ifscope [ethernet]\n\
            nas.lan (192.168.1.20) at a8:a1:59:c:1d:2e on en0 ifscope permanent [ethernet]\n\
            ? (192.168.1.50) at (incomplete) on en0 ifscope [ethernet]\n\
            ? (224.0.0.251) at 1:0:5e:0:0:fb on en0 ifscope permanent [ethernet]\n";
        let [router, nas, multicast] = &told(printed)[..] else { panic!("{printed}") };
        assert_eq!((&*router.0, &*router.1), ("192.168.1.1", "00:1b:21:0a:0b:0c"));
        assert_eq!((&*nas.0, &*nas.1), ("192.168.1.20", "a8:a1:59:0c:1d:2e"));
        assert_eq!(multicast.1, "01:00:5e:00:00:fb");
    }

    #[test]
    fn neighbours_as_windows_prints_them_in_any_language() {
        let printed = "\r\nSchnittstelle: 192.168.1.7 --- 0xb\r\n  Internetadresse       Physische Adresse     Typ\r\n  \
            192.168.1.1           00-1b-21-0a-0b-0c     dynamisch \r\n  255.255.255.255       ff-ff-ff-ff-ff-ff     statisch\r\n";
        let [router, everybody] = &told(printed)[..] else { panic!("{printed}") };
        assert_eq!((&*router.0, &*router.1), ("192.168.1.1", "00:1b:21:0a:0b:0c"));
        assert_eq!(everybody.1, "ff:ff:ff:ff:ff:ff");
    }

    #[test]
    fn the_way_out() {
        let macos = "   route to: default\ndestination: default\n       mask: default\n    gateway: 192.168.1.1\n  interface: en0\n";
        assert_eq!(macos_gateway(macos), "192.168.1.1".parse().ok());
        assert_eq!(macos_gateway("    gateway: index: 14\n"), None, "a VPN has none");
        let windows = "IPv4 Route Table\r\nNetwork Destination        Netmask          Gateway       Interface  Metric\r\n\
            \x20         0.0.0.0          0.0.0.0      192.168.1.1     192.168.1.7     50\r\n\
            \x20         0.0.0.0          0.0.0.0      192.168.2.1     192.168.2.7     25\r\n\
            Persistent Routes:\r\n          0.0.0.0          0.0.0.0      10.0.0.1  Default\r\n";
        assert_eq!(windows_gateway(windows), "192.168.2.1".parse().ok());
        assert_eq!(windows_gateway(""), None);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_program_that_fails_or_hangs_is_told() {
        assert_eq!(run("printf", ["a b"]).await.as_deref(), Ok("a b"));
        assert!(run("lamplighter-no-such-program", [""]).await.unwrap_err().contains("no-such-program"));
        assert!(run("sleep", ["30"]).await.unwrap_err().contains("longer than 2 s"));
    }
}
