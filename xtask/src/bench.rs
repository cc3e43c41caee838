//! `cargo xtask bench`: builds what people run and measures the gateway beside nginx and, where it is installed, haproxy, on loopback only.

use crate::child;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
/// Nodes and load stay on this core; the proxies are put on the next one.
const LOAD_CORE: &str = "0";
/// 1,000 streams are 2,000 sockets of a proxy.
const OPEN_FILES: &str = "8192";

/// Prints the table of docs/performance.md as measured now: at most five minutes, one with `quick`, besides the build.
pub fn bench(root: &Path, quick: bool) -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        return Err("the bench reads /proc and pins processes to cores: it runs on Linux only".to_owned());
    }
    if std::thread::available_parallelism().map_or(1, std::num::NonZero::get) < 2 {
        return Err("the bench needs two cores: one for the load, one for the proxy alone".to_owned());
    }
    let mut build = child::cargo(root);
    build.args(["build", "--release", "--package", "lamplighter", "--package", "lamplighter-bench"]);
    child::run(&mut build, 60 * MINUTE)?;
    let mut compare = Command::new("taskset");
    compare.current_dir(root).args(["--cpu-list", LOAD_CORE, "prlimit"]);
    for (name, _) in build.get_envs().filter(|(_, value)| value.is_none()) {
        compare.env_remove(name);
    }
    compare.arg(format!("--nofile={OPEN_FILES}"));
    compare.args(["cargo", "run", "--quiet", "--release", "--package", "lamplighter-bench"]);
    compare.args(["--", "compare"]).args(quick.then_some("--quick"));
    child::run(&mut compare, 8 * MINUTE)
}
