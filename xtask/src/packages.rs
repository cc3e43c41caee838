//! System packages: which are needed, which are missing, and how to get them.

use crate::child;
use crate::system::Family;
use std::io::{BufRead, IsTerminal, Write};
use std::process::Command;
use std::time::Duration;

/// One package under its name in each family of systems; empty where it has none to install.
pub struct Package {
    pub debian: &'static str,
    pub fedora: &'static str,
    pub arch: &'static str,
}

const fn package(debian: &'static str, fedora: &'static str, arch: &'static str) -> Package {
    Package { debian, fedora, arch }
}

/// To build the gateway.
pub const GATEWAY: &[Package] = &[package("build-essential", "gcc", "gcc")];
/// To build the desktop shell, besides `GATEWAY`.
pub const DESKTOP: &[Package] = &[
    package("pkg-config", "pkgconf-pkg-config", "pkgconf"),
    package("libwebkit2gtk-4.1-dev", "webkit2gtk4.1-devel", "webkit2gtk-4.1"),
];
/// To install from PyPI: Debian's `python3` alone cannot make virtual environments.
pub const PYTHON: &[Package] = &[package("python3-venv", "python3", "python")];
/// To run the tests: a screen and a session bus of their own, real engines, a network to cut.
pub const TESTS: &[Package] = &[
    package("xvfb", "xorg-x11-server-Xvfb", "xorg-server-xvfb"),
    package("xauth", "xorg-x11-xauth", "xorg-xauth"),
    package("dbus", "dbus-daemon", "dbus"),
    package("dbus-x11", "dbus-x11", ""),
    package("x11-utils", "", ""),
    package("xclip", "xclip", "xclip"),
    package("xdotool", "xdotool", "xdotool"),
    package("imagemagick", "ImageMagick", "imagemagick"),
    package("webkit2gtk-driver", "", ""),
    package("xfce4-panel", "xfce4-panel", "xfce4-panel"),
    package("openbox", "openbox", "openbox"),
    package("fonts-dejavu-core", "dejavu-sans-fonts", "ttf-dejavu"),
    package("iproute2", "iproute", "iproute2"),
    package("nftables", "nftables", "nftables"),
    package("curl", "curl", "curl"),
    package("libfaketime", "libfaketime", "libfaketime"),
];
/// To test the pages in a browser. Ubuntu's package is a snap, which cannot be used here.
pub const BROWSER: &[Package] = &[package("chromium", "chromium", "chromium")];

/// Makes sure that `wanted` is there, and says what was done.
///
/// Missing packages are named and installed after one question; none is asked with `yes`, in CI,
/// or as root without a terminal. Where it cannot install, the error is the command to type.
pub fn ensure(wanted: &[&[Package]], yes: bool) -> Result<String, String> {
    let Some(family) = Family::here() else {
        return Ok("nothing to check on this system".to_owned());
    };
    let names = family.names(wanted);
    let missing = family.missing(&names)?;
    if missing.is_empty() {
        return Ok(format!("all {} present", names.len()));
    }
    println!("missing system packages: {}", missing.join(" "));
    let asker = Asker::here(yes);
    match way(family, &asker, &missing) {
        Way::Tell(command) => Err(format!("to install them, type:\n\n    {command}\n")),
        Way::Ask(_) if !agreed()? => {
            let command = install_command(family, &asker, &missing);
            Err(format!("not installed; the command is:\n\n    {command}\n"))
        }
        Way::Ask(prefix) | Way::Install(prefix) => {
            apt_install(&prefix, &missing)?;
            match family.missing(&names)?.as_slice() {
                [] => Ok(format!("{} installed", missing.len())),
                still => Err(format!("still missing after installing: {}", still.join(" "))),
            }
        }
    }
}

/// Who is asking for packages, and from where.
struct Asker {
    root: bool,
    sudo: bool,
    terminal: bool,
    no_questions: bool,
}

impl Asker {
    fn here(yes: bool) -> Self {
        let id = child::capture(Command::new("id").arg("-u"), Duration::from_secs(10));
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self {
            root: id.is_ok_and(|(_, uid)| uid.trim() == "0"),
            sudo: std::env::split_paths(&path).any(|folder| folder.join("sudo").is_file()),
            terminal: std::io::stdin().is_terminal(),
            no_questions: yes || crate::in_ci(),
        }
    }
}

/// What to do about missing packages; the words in front of `apt-get` come with it.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    Install(Vec<&'static str>),
    Ask(Vec<&'static str>),
    Tell(String),
}

fn way(family: Family, asker: &Asker, missing: &[&str]) -> Way {
    let tell = || Way::Tell(install_command(family, asker, missing));
    if !matches!(family, Family::Debian | Family::Ubuntu) {
        return tell();
    }
    match asker {
        Asker { root: true, terminal: false, .. } | Asker { root: true, no_questions: true, .. } => {
            Way::Install(vec![])
        }
        Asker { root: true, .. } => Way::Ask(vec![]),
        Asker { sudo: false, .. } => tell(),
        Asker { terminal: true, no_questions: true, .. } => Way::Install(vec!["sudo"]),
        Asker { terminal: true, .. } => Way::Ask(vec!["sudo"]),
        // Without a terminal a password question would hang.
        Asker { no_questions: true, .. } => Way::Install(vec!["sudo", "-n"]),
        Asker { .. } => tell(),
    }
}

/// The command as one would type it.
fn install_command(family: Family, asker: &Asker, missing: &[&str]) -> String {
    let names = missing.join(" ");
    let commands = match family {
        Family::Fedora => vec![format!("dnf install {names}")],
        Family::Arch => vec![format!("pacman -S --needed {names}")],
        _ => vec!["apt-get update".to_owned(), format!("apt-get install --no-install-recommends {names}")],
    };
    match asker {
        Asker { root: true, .. } => commands.join(" && "),
        Asker { sudo: true, .. } => format!("sudo {}", commands.join(" && sudo ")),
        Asker { .. } => format!("su -c '{}'", commands.join(" && ")),
    }
}

fn agreed() -> Result<bool, String> {
    print!("Install them now with apt-get? [Y/n] ");
    std::io::stdout().flush().map_err(|e| e.to_string())?;
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line).map_err(|e| e.to_string())?;
    Ok(read > 0 && matches!(line.trim().to_lowercase().as_str(), "" | "y" | "yes"))
}

fn apt_install(prefix: &[&str], missing: &[&str]) -> Result<(), String> {
    let apt = |args: &[&str]| {
        let quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"];
        let lock = ["-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0"];
        let words = [prefix, &quiet, &lock, args].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command
    };
    child::run(&mut apt(&["update"]), Duration::from_secs(300))?;
    let install = [&["install", "-y", "--no-install-recommends"], missing].concat();
    child::run(&mut apt(&install), Duration::from_secs(1200))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISSING: &[&str] = &["xvfb", "dbus"];

    #[test]
    fn who_is_asked_and_who_is_told() {
        let ask = |root, sudo, terminal, no_questions| {
            way(Family::Debian, &Asker { root, sudo, terminal, no_questions }, MISSING)
        };
        assert_eq!(ask(true, false, false, false), Way::Install(vec![]));
        assert_eq!(ask(true, false, true, true), Way::Install(vec![]));
        assert_eq!(ask(true, false, true, false), Way::Ask(vec![]));
        assert_eq!(ask(false, true, true, false), Way::Ask(vec!["sudo"]));
        assert_eq!(ask(false, true, true, true), Way::Install(vec!["sudo"]));
        assert_eq!(ask(false, true, false, true), Way::Install(vec!["sudo", "-n"]));
        let sudo = "sudo apt-get update && sudo apt-get install --no-install-recommends xvfb dbus";
        assert_eq!(ask(false, true, false, false), Way::Tell(sudo.to_owned()));
        let su = "su -c 'apt-get update && apt-get install --no-install-recommends xvfb dbus'";
        assert_eq!(ask(false, false, true, true), Way::Tell(su.to_owned()));
    }

    #[test]
    fn other_systems_get_the_command_to_type() {
        let asker = Asker { root: true, sudo: false, terminal: false, no_questions: true };
        let told = |family| way(family, &asker, MISSING);
        assert_eq!(told(Family::Fedora), Way::Tell("dnf install xvfb dbus".to_owned()));
        assert_eq!(told(Family::Arch), Way::Tell("pacman -S --needed xvfb dbus".to_owned()));
    }
}
