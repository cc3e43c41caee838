//! What a process costs, as Linux tells it in `/proc`; and processes that end with us.

use std::{
    collections::HashMap,
    fs, io,
    process::{Child, Command, Stdio},
};

/// CPU time so far.
#[derive(Debug, Clone, Default)]
pub struct Cpu {
    /// Nanoseconds on a core, per thread (proc(5), `/proc/PID/task/TID/schedstat`).
    threads: HashMap<u32, u64>,
    /// Clock ticks in user mode and in the kernel (proc(5), `/proc/PID/stat`, fields 14 and 15).
    ticks: (u64, u64),
}

/// CPU time between two readings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    /// Microseconds on a core.
    pub us: f64,
    /// How much of it was the kernel's, 0 to 1; ticks are 10 ms, so this is a coarse figure.
    pub kernel_share: f64,
}

impl Cpu {
    /// Reads it now.
    pub fn of(pid: u32) -> io::Result<Self> {
        let mut threads = HashMap::new();
        for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
            let Some(tid) = task.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A thread may end in between.
            let told = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let ns = told.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
            threads.insert(tid, ns);
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name in parentheses may hold spaces.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let tick = |at: usize| fields.get(at).and_then(|t| t.parse().ok()).unwrap_or(0);
        Ok(Self { threads, ticks: (tick(11), tick(12)) })
    }

    /// What was spent since `before`.
    pub fn since(&self, before: &Self) -> Spent {
        let ns: u64 = self
            .threads
            .iter()
            .map(|(tid, ns)| ns.saturating_sub(before.threads.get(tid).copied().unwrap_or(0)))
            .sum();
        let (user, kernel) = (self.ticks.0 - before.ticks.0, self.ticks.1 - before.ticks.1);
        let kernel_share = kernel as f64 / (user + kernel).max(1) as f64;
        Spent { us: ns as f64 / 1e3, kernel_share }
    }
}

/// Memory in KiB (proc(5), `/proc/PID/smaps_rollup` and `/proc/PID/status`).
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Resident.
    pub rss_kb: f64,
    /// Resident, shared pages counted by share.
    pub pss_kb: f64,
    /// The most that was ever resident.
    pub peak_kb: f64,
}

impl Memory {
    /// Reads it now.
    pub fn of(pid: u32) -> io::Result<Self> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        Ok(Self { rss_kb: kb(&rollup, "Rss:"), pss_kb: kb(&rollup, "Pss:"), peak_kb: kb(&status, "VmHWM:") })
    }
}

fn kb(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}

/// Clock ticks during which a core was not idle (proc(5), `/proc/stat`), all programs together.
pub fn busy_ticks(core: usize) -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let name = format!("cpu{core} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(name.as_str())).unwrap_or_default();
    // user nice system idle iowait irq softirq steal; guest time is in user already.
    let times: Vec<u64> = line.split_whitespace().filter_map(|t| t.parse().ok()).collect();
    times.iter().take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, t)| t).sum()
}

/// A process that is ended when this is dropped.
#[derive(Debug)]
pub struct Running(pub Child);

impl Running {
    /// Starts it on one core, with its output where it is told.
    pub fn on_core(core: usize, command: &Command, out: Stdio, err: Stdio) -> Result<Self, String> {
        let mut pinned = Command::new("taskset");
        pinned.stdout(out).stderr(err);
        pinned.args(["--cpu-list", &core.to_string()]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => pinned.env(name, value),
                None => pinned.env_remove(name),
            };
        }
        Self::start(&mut pinned)
    }

    /// Starts it. Standard input is a pipe that closes with us.
    pub fn start(command: &mut Command) -> Result<Self, String> {
        let program = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::piped());
        command.spawn().map(Self).map_err(|error| format!("{program} cannot be started: {error}"))
    }

    /// Its process id. `taskset` becomes the program it starts, so this is the program's own.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
