//! What the webview needs in its environment before anything starts.

use std::{env, fs, path::Path};

/// Pages are painted through shared memory. Without it the window stays blank with NVIDIA's driver and on some Wayland
/// desktops.
const NO_DMABUF: &str = "WEBKIT_DISABLE_DMABUF_RENDERER";
/// Pages are drawn by the processor. Without a graphics card OpenGL is only imitated, and the first picture takes ten seconds
/// instead of one.
const NO_OPENGL: &str = "WEBKIT_SKIA_ENABLE_CPU_RENDERING";
/// Set in the second life, so that there is no third.
const SECOND_LIFE: &str = "LAMPLIGHTER_WEBKIT_ENV";

/// Starts this program again with the variables that are needed here: a running process cannot safely change its own
/// environment. Returns where none is needed. What somebody has set is left as it is.
pub fn prepare() {
    let is_set = |name| env::var_os(name).is_some();
    let here = Here {
        nvidia: ["/proc/driver/nvidia", "/sys/module/nvidia"].iter().any(|path| Path::new(path).exists()),
        graphics: fs::read_dir("/dev/dri").is_ok_and(|entries| {
            entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("renderD"))
        }),
        wayland: env::var_os("WAYLAND_DISPLAY").is_some_and(|value| !value.is_empty()),
        automated: is_set("TAURI_AUTOMATION") || is_set("TAURI_WEBVIEW_AUTOMATION"),
    };
    let missing: Vec<_> = here.needs().into_iter().filter(|name| !is_set(name)).collect();
    if !missing.is_empty() && !is_set(SECOND_LIFE) {
        again(&missing);
    }
}

/// The machine and the session, as far as they matter.
#[derive(Debug, Clone, Copy)]
struct Here {
    nvidia: bool,
    graphics: bool,
    wayland: bool,
    automated: bool,
}

impl Here {
    /// Under automation nothing: screenshots hang with these.
    fn needs(self) -> Vec<&'static str> {
        let wanted = [
            (self.nvidia || self.wayland, NO_DMABUF),
            (!self.graphics && !self.nvidia && cfg!(target_os = "linux"), NO_OPENGL),
        ];
        wanted.into_iter().filter(|(needed, _)| *needed && !self.automated).map(|(_, name)| name).collect()
    }
}

#[cfg(target_os = "linux")]
fn again(names: &[&str]) {
    use std::os::unix::process::CommandExt;
    let Ok(program) = env::current_exe() else { return };
    let mut command = std::process::Command::new(program);
    command.args(env::args_os().skip(1)).envs(names.iter().map(|name| (name, "1"))).env(SECOND_LIFE, "1");
    // Only returns when it failed; a window that may stay blank is better than none.
    let why = command.exec();
    eprintln!("lamplighter-desktop: could not start again with {}=1: {why}", names.join("=1 "));
}

#[cfg(not(target_os = "linux"))]
fn again(_names: &[&str]) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn each_machine_gets_what_it_needs() {
        let usual = Here { nvidia: false, graphics: true, wayland: false, automated: false };
        assert!(usual.needs().is_empty());
        assert_eq!(Here { nvidia: true, ..usual }.needs(), [NO_DMABUF]);
        assert_eq!(Here { nvidia: true, graphics: false, ..usual }.needs(), [NO_DMABUF]);
        assert_eq!(Here { wayland: true, ..usual }.needs(), [NO_DMABUF]);
        assert_eq!(Here { graphics: false, ..usual }.needs(), [NO_OPENGL]);
        assert_eq!(Here { graphics: false, wayland: true, ..usual }.needs(), [NO_DMABUF, NO_OPENGL]);
        let automated = Here { nvidia: true, graphics: false, wayland: true, automated: true };
        assert!(automated.needs().is_empty());
    }
}
