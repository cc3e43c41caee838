//! Where packets may go. Under `LAMPLIGHTER_TEST=1` only to this computer's loopback, or anywhere within a network that the tests
//! have made: no test ever knocks at somebody's machine.

use std::{ffi::OsStr, net::IpAddr};

/// Where packets may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    loopback_only: bool,
}

/// The network namespace that a process is in, as Linux names it: `net:[4026531833]`.
#[cfg(target_os = "linux")]
fn own_network() -> Option<String> {
    std::fs::read_link("/proc/self/ns/net").ok().map(|link| link.to_string_lossy().into_owned())
}

#[cfg(not(target_os = "linux"))]
fn own_network() -> Option<String> {
    None
}

impl Guard {
    /// As the environment says. `LAMPLIGHTER_TEST=1` refuses all but loopback, unless this process is in another network namespace
    /// than the one that `LAMPLIGHTER_TEST_OUTSIDE` names: the one that the tests were started in.
    #[must_use]
    pub fn from_env() -> Self {
        let is_test =
            std::env::var_os("LAMPLIGHTER_TEST").is_some_and(|value| !value.is_empty() && value != "0");
        let outside = std::env::var_os("LAMPLIGHTER_TEST_OUTSIDE");
        Self::of(is_test, outside.as_deref(), own_network().as_deref())
    }

    /// Only to loopback.
    #[must_use]
    pub fn loopback_only() -> Self {
        Self { loopback_only: true }
    }

    fn of(is_test: bool, outside: Option<&OsStr>, own: Option<&str>) -> Self {
        let is_inside = match (outside.and_then(OsStr::to_str), own) {
            (Some(outside), Some(own)) => outside.starts_with("net:[") && outside != own,
            _ => false,
        };
        Self { loopback_only: is_test && !is_inside }
    }

    /// May a packet go there?
    ///
    /// # Errors
    /// Why not.
    pub fn allow(self, ip: IpAddr) -> Result<(), String> {
        if self.loopback_only && !ip.to_canonical().is_loopback() {
            return Err("under LAMPLIGHTER_TEST packets go only to loopback, or inside a network that the test has made".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_sends_only_to_loopback_or_inside_its_own_network() {
        let (outside, inside) = ("net:[1]", "net:[2]");
        let guard = |is_test, outside: Option<&str>, own| {
            Guard::of(is_test, outside.map(OsStr::new), own).loopback_only
        };
        assert!(!guard(false, None, Some(outside)), "no test: as configured");
        assert!(guard(true, None, Some(inside)), "nobody said what is outside");
        assert!(guard(true, Some(outside), Some(outside)), "the tests' own network");
        assert!(guard(true, Some(outside), None) && guard(true, Some(""), Some(inside)));
        assert!(!guard(true, Some(outside), Some(inside)));
        let loopback = Guard::loopback_only();
        for ip in ["127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(loopback.allow(ip.parse().unwrap()), Ok(()), "{ip}");
        }
        for ip in
            ["255.255.255.255", "192.168.1.255", "10.0.0.5", "8.8.8.8", "fe80::1", "ff02::1", "0.0.0.0", "::"]
        {
            assert!(loopback.allow(ip.parse().unwrap()).is_err(), "{ip}");
        }
    }
}
