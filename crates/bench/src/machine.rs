//! On what it was measured, and how quiet that was.

use crate::process::busy_ticks;
use std::{fs, path::Path, process::Command, time::Instant};

/// The machine and the programs, in lines for people.
pub fn describe(nginx: Option<&Path>, haproxy: Option<&Path>) -> Vec<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models: Vec<&str> =
        cpus.lines().filter_map(|line| line.strip_prefix("model name")?.split(": ").nth(1)).collect();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system =
        system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown system");
    vec![
        format!("{} × {}", models.len(), models.first().unwrap_or(&"unknown processor")),
        format!("{}, Linux {}", system.trim_matches('"'), kernel.trim()),
        version(nginx).unwrap_or_else(|| "no nginx: install `nginx-light` to compare".to_owned()),
        version(haproxy).unwrap_or_else(|| "no haproxy: install `haproxy` to compare with it too".to_owned()),
    ]
}

/// The first line in which a program tells its version: nginx on its error output, haproxy on the other.
fn version(program: Option<&Path>) -> Option<String> {
    let told = Command::new(program?).arg("-v").output().ok()?;
    let text = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
    let line = text.lines().next()?.replace("nginx version: ", "");
    Some(line.split(" - http").next().unwrap_or(&line).to_owned())
}

/// The system's load averages over 1, 5 and 15 minutes.
pub fn load_average() -> String {
    let told = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    told.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Watches how busy a core is, to tell what others used of it.
#[derive(Debug)]
pub struct Watch {
    core: usize,
    ticks: u64,
    since: Instant,
}

impl Watch {
    /// From now on.
    pub fn start(core: usize) -> Self {
        Self { core, ticks: busy_ticks(core), since: Instant::now() }
    }

    /// The share of the core, 0 to 1, that was used but not by `own_us` microseconds of our own.
    pub fn foreign_share(&self, own_us: f64) -> f64 {
        // USER_HZ is 100 on every Linux architecture we build for.
        let busy_us = (busy_ticks(self.core) - self.ticks) as f64 * 10_000.0;
        ((busy_us - own_us) / self.since.elapsed().as_micros() as f64).max(0.0)
    }
}
