//! What the webview needs in its environment before anything starts.

use std::{env, path::Path};

/// When set, pages are painted through shared memory. Without it the window stays blank with NVIDIA's driver and on some
/// Wayland desktops.
const NO_DMABUF: &str = "WEBKIT_DISABLE_DMABUF_RENDERER";
/// Set in the second life, so that there is no third.
const SECOND_LIFE: &str = "LAMPLIGHTER_WEBKIT_ENV";

/// Starts this program again with the variable set, where it is needed: a running process cannot safely change its own
/// environment. Returns where it is not, or when it was set by somebody who knows better.
pub fn prepare() {
    let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let nvidia = ["/proc/driver/nvidia", "/sys/module/nvidia"].iter().any(|path| Path::new(path).exists());
    if env::var_os(NO_DMABUF).is_some() || !is_needed(nvidia, &set) {
        return;
    }
    again();
}

/// Never under automation: screenshots hang with it.
fn is_needed(nvidia: bool, set: &impl Fn(&'static str) -> bool) -> bool {
    let automated = ["TAURI_AUTOMATION", "TAURI_WEBVIEW_AUTOMATION"].into_iter().any(set);
    (nvidia || set("WAYLAND_DISPLAY")) && !automated && !set(SECOND_LIFE)
}

#[cfg(target_os = "linux")]
fn again() {
    use std::os::unix::process::CommandExt;
    let Ok(program) = env::current_exe() else { return };
    let mut command = std::process::Command::new(program);
    command.args(env::args_os().skip(1)).env(NO_DMABUF, "1").env(SECOND_LIFE, "1");
    // Only returns when it failed; a window that may stay blank is better than none.
    let why = command.exec();
    eprintln!("lamplighter-desktop: could not start again with {NO_DMABUF}=1: {why}");
}

#[cfg(not(target_os = "linux"))]
fn again() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_for_nvidia_and_wayland_and_never_under_automation() {
        let needed = |nvidia, set: &[&str]| is_needed(nvidia, &|name| set.contains(&name));
        assert!(needed(true, &[]) && needed(false, &["WAYLAND_DISPLAY"]));
        assert!(!needed(false, &[]));
        assert!(!needed(true, &["TAURI_WEBVIEW_AUTOMATION"]) && !needed(true, &["TAURI_AUTOMATION"]));
        assert!(!needed(true, &["WAYLAND_DISPLAY", SECOND_LIFE]), "once is enough");
    }
}
