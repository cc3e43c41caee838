//! The words of `[server]`: where we listen, which names and which web pages may call.

use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// The port of a configuration that names none.
pub const LISTEN_PORT: u16 = 11400;

/// One entry of `listen`. Port 0 means any free one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Listen {
    /// `IP:PORT`; an IPv6 address stands in brackets.
    Address(SocketAddr),
    /// `localhost:PORT`: the loopback of both families.
    Localhost(u16),
    /// `docker`: the address of Docker's bridge on this machine, on [`super::ServerConfig::port`].
    Docker,
}

impl Listen {
    /// Can only programs on this machine, outside of containers, connect there?
    #[must_use]
    pub fn is_loopback(self) -> bool {
        match self {
            Self::Address(address) => address.ip().to_canonical().is_loopback(),
            Self::Localhost(_) => true,
            Self::Docker => false,
        }
    }

    /// The port, where the entry names one.
    #[must_use]
    pub fn port(self) -> Option<u16> {
        match self {
            Self::Address(address) => Some(address.port()),
            Self::Localhost(port) => Some(port),
            Self::Docker => None,
        }
    }

    /// The sockets to open. `docker` is where Docker's bridge is and with which port; without one there is none to open.
    #[must_use]
    pub fn addresses(self, docker: Option<SocketAddr>) -> Vec<SocketAddr> {
        match self {
            Self::Address(address) => vec![address],
            Self::Localhost(port) => loopback(port).to_vec(),
            Self::Docker => docker.into_iter().collect(),
        }
    }
}

/// The loopback addresses of both families.
pub(super) fn loopback(port: u16) -> [SocketAddr; 2] {
    [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("docker") {
            return Ok(Self::Docker);
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let wrong = |hint: &str| Err(format!("{text:?} is not an address to listen on: {hint}"));
        if text.contains("://") {
            return wrong("leave out the scheme: write it like \"127.0.0.1:11400\"");
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return wrong("an IPv6 address stands in brackets and has a port: \"[::1]:11400\"");
        }
        if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
            return wrong("a port alone does not say where: write it like \"127.0.0.1:11400\"");
        }
        match text.rsplit_once(':') {
            Some(("", _)) => {
                wrong("\"127.0.0.1:PORT\" is this machine alone, \"0.0.0.0:PORT\" the whole network")
            }
            Some((_, port)) if port.parse::<u16>().is_err() => {
                wrong("the port is a number from 1 to 65535, or 0 for any")
            }
            Some((host, port)) if host.eq_ignore_ascii_case("localhost") => {
                port.parse().map(Self::Localhost).map_err(|_| format!("{port:?} is not a port"))
            }
            None if text.parse::<Ipv4Addr>().is_ok() || text.eq_ignore_ascii_case("localhost") => {
                wrong(&format!("the port is missing: write \"{text}:11400\""))
            }
            _ => wrong(
                "write an IP address and a port like \"127.0.0.1:11400\", or \"localhost:11400\", or \"docker\"",
            ),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Localhost(port) => write!(f, "localhost:{port}"),
            Self::Docker => f.write_str("docker"),
        }
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.to_string()
    }
}

impl TryFrom<String> for Listen {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Reads one entry of `allowed_hosts`: a name or an IP address alone. Lower case; IPv6 comes back in brackets, as it
/// stands in a `Host` header.
///
/// # Errors
/// Says what does not belong there.
pub fn host_name(text: &str) -> Result<String, String> {
    let text = text.trim();
    let wrong = |hint: &str| Err(format!("{text:?} is not a host name: {hint}"));
    if text.contains("://") {
        return wrong("leave out the scheme: write it like \"models.example\"");
    }
    if text.contains('*') {
        return wrong("a wildcard would let any web page in (DNS rebinding): list every name");
    }
    if text.contains(['/', '?', '#', '@']) {
        return wrong("only the name, without a path: write it like \"models.example\"");
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(if address.is_ipv6() { format!("[{address}]") } else { address.to_string() });
    }
    if let Some((name, _)) = text.split_once(':') {
        return wrong(&format!("leave out the port, every port is meant: write \"{name}\""));
    }
    if !text.is_ascii() {
        return wrong("write it as browsers send it, in ASCII (\"xn--…\")");
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        return wrong("write it like \"models.example\"");
    }
    Ok(name.to_ascii_lowercase())
}

/// Reads one entry of `allowed_origins`: `SCHEME://HOST[:PORT]`. Comes back as browsers send it: lower case, and
/// without the scheme's own port (RFC 6454, 6.2).
///
/// # Errors
/// Says what does not belong there, and why `*` and `null` are never allowed.
pub fn origin(text: &str) -> Result<String, String> {
    let text = text.trim();
    let wrong = |hint: &str| Err(format!("{text:?} is not a web page's origin: {hint}"));
    if text.eq_ignore_ascii_case("null") {
        return wrong("any page can take on the origin \"null\", so it says nothing");
    }
    if text.contains('*') {
        return wrong("a wildcard would let every page you visit use your models: list each one");
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return wrong("the scheme is missing: write it like \"https://chat.example\"");
    };
    let is_scheme_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(is_scheme_byte) {
        return wrong("write it like \"https://chat.example\"");
    }
    let scheme = scheme.to_ascii_lowercase();
    if scheme == "file" {
        return wrong("browsers send \"null\" for a page opened from a file; serve it over http instead");
    }
    let (place, path) = rest.find(['/', '?', '#']).map_or((rest, ""), |i| rest.split_at(i));
    if !path.is_empty() {
        return wrong(&format!("an origin ends before the path: write \"{scheme}://{place}\""));
    }
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (place, None),
    };
    let Ok(host) = host_name(host) else { return wrong("write it like \"https://chat.example\"") };
    match (scheme.as_str(), port.map(str::parse::<u16>)) {
        (_, None) | ("http", Some(Ok(80))) | ("https", Some(Ok(443))) => Ok(format!("{scheme}://{host}")),
        (_, Some(Ok(port))) if port > 0 => Ok(format!("{scheme}://{host}:{port}")),
        _ => wrong("the port is a number from 1 to 65535"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_in_the_forms_people_write() {
        for (typed, meant, loopback) in [
            ("127.0.0.1:11400", "127.0.0.1:11400", true),
            ("[::1]:0", "[::1]:0", true),
            ("[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.1]:80", true),
            ("localhost:8080", "localhost:8080", true),
            ("0.0.0.0:11400", "0.0.0.0:11400", false),
            ("[::]:11400", "[::]:11400", false),
            ("192.168.1.5:1", "192.168.1.5:1", false),
            (" Docker ", "docker", false),
        ] {
            let listen: Listen = typed.parse().unwrap();
            assert_eq!((listen.to_string().as_str(), listen.is_loopback()), (meant, loopback), "{typed}");
        }
        let docker: SocketAddr = ([172, 17, 0, 1], 11400).into();
        assert_eq!(Listen::Docker.addresses(Some(docker)), [docker]);
        assert_eq!(Listen::Docker.addresses(None), []);
        assert_eq!(Listen::Localhost(7).addresses(None), loopback(7));
    }

    #[test]
    fn a_listener_that_cannot_be_meant_is_refused_with_the_form_that_can() {
        for (typed, hint) in [
            ("http://127.0.0.1:11400", "leave out the scheme"),
            ("11400", "a port alone"),
            (":11400", "0.0.0.0:PORT"),
            ("127.0.0.1", "\"127.0.0.1:11400\""),
            ("localhost", "\"localhost:11400\""),
            ("::1", "in brackets"),
            ("127.0.0.1:65536", "from 1 to 65535"),
            ("127.0.0.1:-1", "from 1 to 65535"),
            ("nas:11400", "an IP address"),
            ("", "an IP address"),
        ] {
            let why = typed.parse::<Listen>().unwrap_err();
            assert!(why.contains(hint), "{typed}: {why}");
        }
    }

    #[test]
    fn host_names_stand_alone() {
        assert_eq!(host_name("Models.Example."), Ok("models.example".into()));
        assert_eq!(host_name("fd00::1"), Ok("[fd00::1]".into()));
        assert_eq!(host_name("[fd00::1]"), Ok("[fd00::1]".into()));
        assert_eq!(host_name("10.0.0.1"), Ok("10.0.0.1".into()));
        for (typed, hint) in [
            ("http://a.example", "leave out the scheme"),
            ("a.example:80", "write \"a.example\""),
            ("a.example/x", "without a path"),
            ("*.example", "DNS rebinding"),
            ("bücher.example", "ASCII"),
            ("", "write it like"),
            ("a..b", "write it like"),
            ("a b", "write it like"),
        ] {
            let why = host_name(typed).unwrap_err();
            assert!(why.contains(hint), "{typed}: {why}");
        }
    }

    #[test]
    fn origins_as_browsers_send_them() {
        assert_eq!(origin("HTTPS://Chat.example:443"), Ok("https://chat.example".into()));
        assert_eq!(origin("http://localhost:3000"), Ok("http://localhost:3000".into()));
        assert_eq!(origin("http://[::1]:3000"), Ok("http://[::1]:3000".into()));
        assert_eq!(origin("http://[::1]"), Ok("http://[::1]".into()));
        assert_eq!(origin("app://obsidian.md"), Ok("app://obsidian.md".into()));
        for (typed, hint) in [
            ("*", "every page you visit"),
            ("https://*.example", "every page you visit"),
            ("null", "any page can take on"),
            ("https://chat.example/", "write \"https://chat.example\""),
            ("https://chat.example/app", "ends before the path"),
            ("chat.example", "the scheme is missing"),
            ("file:///home/x.html", "opened from a file"),
            ("https://chat.example:0", "from 1 to 65535"),
            ("https://user@chat.example", "write it like"),
            ("https://", "write it like"),
        ] {
            let why = origin(typed).unwrap_err();
            assert!(why.contains(hint), "{typed}: {why}");
        }
    }
}
