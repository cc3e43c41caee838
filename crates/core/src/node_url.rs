//! A node's address in any form a person types, read once into the one form that is used.

use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Port that is meant when an address names neither scheme nor port: Ollama's.
pub const DEFAULT_PORT: u16 = 11434;

/// Scheme, host, port and base path of a node's engine. `/v1` and `/api` are not part of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct NodeUrl {
    tls: bool,
    /// Lower case; an IPv6 address without its brackets.
    host: String,
    port: u16,
    /// Empty, or starts with `/` and does not end with one.
    base: String,
}

impl NodeUrl {
    /// Reads `192.168.1.50`, `nas:11434`, `http://nas:8080/v1/`, `[fd00::1]:8000`, `https://openrouter.ai/api/v1`…
    ///
    /// Without a scheme it is plain http; without scheme and port, port 11434. One trailing `/v1` or `/api` and the
    /// paths of well-known routes are cut.
    ///
    /// # Errors
    /// Says what is wrong with the address. A user name or password in it is not repeated.
    pub fn parse(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err("the address is empty: write it like 192.168.1.50:11434".into());
        }
        let (scheme, rest) = match trimmed.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, trimmed),
        };
        let tls = match scheme.as_deref() {
            None | Some("http") => false,
            Some("https") => true,
            Some(other) => return Err(format!("{other}:// is not understood: use http:// or https://")),
        };
        let (authority, path) = rest.find(['/', '?', '#', '\\']).map_or((rest, ""), |i| rest.split_at(i));
        if authority.contains('@') {
            return Err("a user name or password does not belong in the address: use `api_key`".into());
        }
        if path.contains(['?', '#', '\\', '%']) || path.contains("..") || path.contains("//") {
            return Err(format!("{path:?} is not a base path: leave out everything after the host and port"));
        }
        let (host, port) = split_host_port(authority)?;
        let port = match (port, scheme.is_some(), tls) {
            (Some(port), ..) => port,
            (None, _, true) => 443,
            (None, true, false) => 80,
            (None, false, false) => DEFAULT_PORT,
        };
        Ok(Self { tls, host, port, base: base_path(path) })
    }

    /// Does it use TLS?
    #[must_use]
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// The host; an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path before `/v1` and `/api`: empty, or with a leading and without a trailing slash.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Host and port as they stand in a `Host` header: the port is left out when it is the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == if self.tls { 443 } else { 80 } { host } else { format!("{host}:{}", self.port) }
    }

    /// The URL of `path` (with its leading slash) on this node.
    #[must_use]
    pub fn join(&self, path: &str) -> String {
        format!("{self}{path}")
    }

    /// Is this the same server, as far as the address tells? `localhost`, 127.0.0.1 and ::1 are one.
    #[must_use]
    pub fn same_server(&self, other: &Self) -> bool {
        let place = |url: &Self| {
            let loopback = matches!(url.host.as_str(), "localhost" | "::1");
            (if loopback { "127.0.0.1".to_owned() } else { url.host.clone() }, url.port, url.base.clone())
        };
        place(self) == place(other)
    }

    /// Does it lead out of the house? An address or a name that only the internet knows does; a name without a dot, under a
    /// home's own endings, or in a tailnet does not.
    #[must_use]
    pub fn is_cloud(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) => {
                let carrier = ip.octets()[0] == 100 && (64..128).contains(&ip.octets()[1]);
                !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || carrier)
            }
            Ok(IpAddr::V6(ip)) => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()),
            Err(_) => is_public_name(&self.host),
        }
    }

    /// Does the address stay on this machine?
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        matches!(self.host.as_str(), "localhost" | "::1") || self.host.starts_with("127.")
    }
}

/// A name that only the internet knows.
fn is_public_name(host: &str) -> bool {
    let home = [".local", ".lan", ".home", ".internal", ".home.arpa", ".localdomain", ".ts.net", ".box"];
    host.contains('.') && !home.iter().any(|end| host.ends_with(end))
}

/// May a connection for `host` go to `ip`? Asked whenever one is made: a name may lead elsewhere than when it was looked at.
///
/// Never to the addresses that give out a cloud machine's credentials to whoever asks from it (AWS, Azure and Google use the
/// first, Alibaba the second, AWS the third), nor to one that is nobody's. A public name never leads to a link-local address;
/// a name of the house may, on a cable between two machines (RFC 3927).
#[must_use]
pub fn may_lead_to(host: &str, ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    let (is_metadata, is_nobodys, is_link_local) = match ip {
        IpAddr::V4(v4) => (
            v4 == Ipv4Addr::new(169, 254, 169, 254) || v4 == Ipv4Addr::new(100, 100, 100, 200),
            v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast(),
            v4.is_link_local(),
        ),
        IpAddr::V6(v6) => (
            v6 == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
            v6.is_unspecified() || v6.is_multicast(),
            v6.is_unicast_link_local(),
        ),
    };
    let is_literal = host.parse::<IpAddr>().is_ok();
    !(is_metadata || is_nobodys || is_link_local && !is_literal && is_public_name(host))
}

impl fmt::Display for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.tls { "https" } else { "http" }, self.authority(), self.base)
    }
}

impl From<NodeUrl> for String {
    fn from(url: NodeUrl) -> Self {
        url.to_string()
    }
}

impl TryFrom<String> for NodeUrl {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

fn split_host_port(authority: &str) -> Result<(String, Option<u16>), String> {
    let wrong = |why: &str| Err(format!("{authority:?} is not an address: {why}"));
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let Some((host, after)) = rest.split_once(']') else { return wrong("the ] is missing") };
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return wrong("what stands in brackets is not an IPv6 address");
        }
        match after.strip_prefix(':') {
            None if after.is_empty() => (host, None),
            Some(port) => (host, Some(port)),
            None => return wrong("only a :port may follow the ]"),
        }
    } else if authority.parse::<std::net::Ipv6Addr>().is_ok() {
        (authority, None)
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    let host = if host.is_empty() && port.is_some() { "127.0.0.1" } else { host };
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if host.is_empty() || host.len() > 253 || !(host.contains(':') || host.bytes().all(is_name)) {
        return wrong("write it like 192.168.1.50:11434 or nas.local:11434");
    }
    let port = match port {
        None => None,
        Some(text) => match text.parse::<u16>() {
            Ok(port) if port > 0 && text.starts_with(|c: char| c.is_ascii_digit()) => Some(port),
            _ => return wrong("the port is a number from 1 to 65535"),
        },
    };
    // "Every interface" is where a server listens, never where one connects to.
    let host = match host {
        "0.0.0.0" => "127.0.0.1".into(),
        "::" => "::1".into(),
        other => other.to_ascii_lowercase(),
    };
    Ok((host, port))
}

/// What people paste after the host: the base URL of one dialect, or the route they had at hand.
const KNOWN_TAILS: [&str; 8] = [
    "/v1/chat/completions",
    "/v1/messages",
    "/v1/models",
    "/api/tags",
    "/api/chat",
    "/api/generate",
    "/api/version",
    "/v1",
];

fn base_path(path: &str) -> String {
    let path = path.trim_end_matches('/');
    match KNOWN_TAILS.iter().find_map(|tail| path.strip_suffix(tail)) {
        Some(base) => base.to_owned(),
        // Alone it is Ollama's prefix. Left over after a cut `/v1` (openrouter.ai/api/v1) it is the server's own base.
        None if path == "/api" => String::new(),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_form_a_person_types() {
        for (typed, meant) in [
            ("192.168.1.50", "http://192.168.1.50:11434"),
            ("192.168.1.50:8080", "http://192.168.1.50:8080"),
            (" nas:11434/ ", "http://nas:11434"),
            ("NAS.local", "http://nas.local:11434"),
            ("http://nas", "http://nas"),
            ("https://openrouter.ai/api/v1", "https://openrouter.ai/api"),
            ("https://openrouter.ai/api/v1/", "https://openrouter.ai/api"),
            ("http://nas:11434/api", "http://nas:11434"),
            ("http://nas:11434/api/", "http://nas:11434"),
            ("http://nas:11434/api/tags", "http://nas:11434"),
            ("http://nas:8080/v1/chat/completions", "http://nas:8080"),
            ("https://host/llm/v1", "https://host/llm"),
            ("[fd00::1]:8000", "http://[fd00::1]:8000"),
            ("fd00::1", "http://[fd00::1]:11434"),
            (":8080", "http://127.0.0.1:8080"),
            ("0.0.0.0:11434", "http://127.0.0.1:11434"),
            ("localhost", "http://localhost:11434"),
        ] {
            assert_eq!(NodeUrl::parse(typed).map(|url| url.to_string()).as_deref(), Ok(meant), "{typed}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_reason() {
        for typed in [
            "",
            "ftp://nas",
            "http://user:pw@nas",
            "nas:99999",
            "nas:0",
            "[fd00::1",
            "na s",
            "http://a\\b",
            "http://a@b",
            "http://127.0.0.1\\@evil.example",
            "http://nas:11434#@evil.example",
            "http://nas:80@evil.example:80",
            "http://nas\t.evil.example",
            "http://nas%2eevil.example",
            "http://ⓝas",
            "http://[::1]@evil.example",
            "file:///etc/passwd",
            "gopher://nas",
            "http:///nas",
            "http://nas:11434:80",
            "http://nas:+80",
            "http://nas/%2e%2e/x",
            "nas/../x",
            "nas?x=1",
            "http://",
        ] {
            let why = NodeUrl::parse(typed).unwrap_err();
            assert!(!why.is_empty() && !why.contains("pw"), "{typed}: {why}");
        }
    }

    #[test]
    fn what_leaves_the_house() {
        let cloud = |text| NodeUrl::parse(text).unwrap().is_cloud();
        for home in [
            "nas",
            "nas.local",
            "192.168.1.5",
            "127.0.0.1",
            "[fd00::1]",
            "box.tail1234.ts.net",
            "100.101.1.2",
        ] {
            assert!(!cloud(home), "{home}");
        }
        for away in ["https://openrouter.ai/api/v1", "8.8.8.8", "[2001:db8::1]:80"] {
            assert!(cloud(away), "{away}");
        }
    }

    #[test]
    fn t40_where_a_name_may_not_lead() {
        for (host, ip) in [
            ("169.254.169.254", "169.254.169.254"),
            ("nas.lan", "169.254.169.254"),
            ("nas", "::ffff:169.254.169.254"),
            ("::ffff:169.254.169.254", "::ffff:169.254.169.254"),
            ("fd00:ec2::254", "fd00:ec2::254"),
            ("metadata.example.com", "100.100.100.200"),
            ("api.example.com", "169.254.7.7"),
            ("api.example.com", "fe80::1"),
            ("api.example.com", "0.0.0.0"),
            ("nas.lan", "224.0.0.251"),
        ] {
            assert!(!may_lead_to(host, ip.parse().unwrap()), "{host} {ip}");
        }
        for (host, ip) in [
            ("127.0.0.1", "127.0.0.1"),
            ("169.254.7.7", "169.254.7.7"),
            ("nas.local", "169.254.7.7"),
            ("nas", "fe80::1"),
            ("nas.example.com", "192.168.1.5"),
            ("api.example.com", "8.8.8.8"),
            ("fd00::1", "fd00::1"),
        ] {
            assert!(may_lead_to(host, ip.parse().unwrap()), "{host} {ip}");
        }
    }

    #[test]
    fn the_same_server_in_two_forms() {
        let url = |text| NodeUrl::parse(text).unwrap();
        assert!(url("localhost:11434").same_server(&url("http://127.0.0.1:11434/v1")));
        assert!(url("NAS").same_server(&url("nas:11434/api")));
        assert!(!url("nas:11434").same_server(&url("nas:8080")));
        assert!(
            !url("127.0.0.20").same_server(&url("127.0.0.50")),
            "a loopback address of its own is a server of its own"
        );
    }
}
