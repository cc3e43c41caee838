//! Ollama's door on loopback: which `Host` and `Origin` it lets in.

use crate::ask::Ask;
use std::net::IpAddr;

/// True when the `Host` header names this machine or its own network, as Ollama's guard has it.
pub(crate) fn host_allowed(host: &str) -> bool {
    let name = strip_port(host);
    if let Ok(ip) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
        return match ip {
            IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_unspecified(),
            // fc00::/7 is IPv6's private range.
            IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local(),
        };
    }
    let name = name.to_ascii_lowercase();
    name.is_empty()
        || name == "localhost"
        || [".localhost", ".local", ".internal"].iter().any(|suffix| name.ends_with(suffix))
}

/// True when a request with this `Origin` passes Ollama's CORS check.
pub(crate) fn origin_allowed(ask: &Ask) -> bool {
    let Some(origin) = ask.header("origin") else { return true };
    let Some((scheme, rest)) = origin.split_once("://") else { return false };
    match scheme {
        "app" | "file" | "tauri" | "vscode-webview" | "vscode-file" => true,
        "http" | "https" => {
            matches!(strip_port(rest), "localhost" | "127.0.0.1" | "0.0.0.0")
                || ask.header("host") == Some(rest)
        }
        _ => false,
    }
}

fn strip_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::host_allowed;

    #[test]
    fn hosts() {
        for host in [
            "127.0.0.1:11434",
            "localhost",
            "[::1]:80",
            "192.168.1.5:1",
            "nas.local",
            "",
            "host.docker.internal",
        ] {
            assert!(host_allowed(host), "{host}");
        }
        for host in ["evil.example", "8.8.8.8", "localhost.evil.example:80"] {
            assert!(!host_allowed(host), "{host}");
        }
    }
}
