//! Which system this is, how it names packages, and which of them it has.

use crate::child;
use crate::packages::Package;
use std::process::Command;
use std::time::Duration;

/// Systems by how they name and list packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Debian,
    Ubuntu,
    Fedora,
    Arch,
    OtherLinux,
}

impl Family {
    /// `None` where nothing is needed from a package manager (macOS, Windows).
    pub fn here() -> Option<Self> {
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        cfg!(target_os = "linux").then(|| Self::of(&release))
    }

    /// From the text of `/etc/os-release`: its own `ID` first, then what it says it is like.
    fn of(release: &str) -> Self {
        let value = |key: &str| {
            let line = release.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
        };
        let ids = format!("{} {}", value("ID"), value("ID_LIKE"));
        let known = ids.split_whitespace().find_map(|id| match id {
            "ubuntu" => Some(Self::Ubuntu),
            "debian" => Some(Self::Debian),
            "fedora" | "rhel" => Some(Self::Fedora),
            "arch" => Some(Self::Arch),
            _ => None,
        });
        known.unwrap_or(Self::OtherLinux)
    }

    /// The names this system has for the packages that are `wanted`.
    pub fn names(self, wanted: &[&[Package]]) -> Vec<&'static str> {
        let name = |p: &Package| match self {
            Self::Ubuntu if p.debian == "chromium" => "",
            Self::Debian | Self::Ubuntu | Self::OtherLinux => p.debian,
            Self::Fedora => p.fedora,
            Self::Arch => p.arch,
        };
        wanted.iter().copied().flatten().map(name).filter(|n| !n.is_empty()).collect()
    }

    /// Those of `names` that are not installed.
    pub fn missing(self, names: &[&'static str]) -> Result<Vec<&'static str>, String> {
        let ask = |program: &str, args: &[&str]| {
            child::capture(Command::new(program).args(args), Duration::from_secs(60))
        };
        match self {
            Self::Debian | Self::Ubuntu => {
                let format = "-f=${db:Status-Status} ${Package} ${Provides}\n";
                let (_, listed) = ask("dpkg-query", &["-W", format])?;
                Ok(without_installed(names, &listed))
            }
            Self::Fedora => {
                let mut missing = Vec::new();
                for name in names {
                    if !ask("rpm", &["-q", "--whatprovides", name])?.0.success() {
                        missing.push(*name);
                    }
                }
                Ok(missing)
            }
            Self::Arch => {
                let (_, listed) = ask("pacman", &[&["-T"], names].concat())?;
                Ok(names.iter().copied().filter(|n| listed.lines().any(|l| l == *n)).collect())
            }
            // No list to look into: the build itself says what it misses.
            Self::OtherLinux => Ok(Vec::new()),
        }
    }
}

/// `listed` has one line per package: its status, its name, and what else it provides.
fn without_installed(names: &[&'static str], listed: &str) -> Vec<&'static str> {
    let there = |name: &&&str| {
        let mut lines = listed.lines().filter_map(|l| l.strip_prefix("installed "));
        lines.any(|l| l.split([' ', ',']).any(|word| word == **name))
    };
    names.iter().filter(|n| !there(n)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::{BROWSER, GATEWAY, TESTS};

    #[test]
    fn installed_means_installed_or_provided() {
        let listed = "installed gcc c-compiler, gcc-x86-64-linux-gnu (= 4:12.2)\n\
                      config-files xvfb \n\
                      installed pkgconf pkg-config (= 1.8)\n\
                      not-installed dbus \n";
        let names = ["gcc", "xvfb", "pkg-config", "dbus", "c-compiler", "installed", "pkg"];
        assert_eq!(without_installed(&names, listed), ["xvfb", "dbus", "installed", "pkg"]);
    }

    #[test]
    fn systems_are_known_by_their_id_then_by_what_they_are_like() {
        assert_eq!(Family::of("NAME=x\nID=debian\n"), Family::Debian);
        assert_eq!(Family::of("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"), Family::Ubuntu);
        assert_eq!(Family::of("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"), Family::Fedora);
        assert_eq!(Family::of("VERSION_ID=3\nID=nixos\n"), Family::OtherLinux);
        assert_eq!(Family::of(""), Family::OtherLinux);
    }

    #[test]
    fn packages_without_a_name_on_a_system_are_left_out() {
        assert_eq!(Family::Debian.names(&[GATEWAY, BROWSER]), ["build-essential", "chromium"]);
        assert_eq!(Family::Ubuntu.names(&[GATEWAY, BROWSER]), ["build-essential"]);
        assert!(Family::Arch.names(&[TESTS]).iter().all(|n| !n.is_empty()));
    }
}
