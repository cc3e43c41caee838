//! The tray icon and its menu on the screen, drawn from the tray's plain data.
//!
//! An open menu survives changed texts and icons but closes, flickers or crashes its host when rows come or go. So that happens
//! at most once a second; everything else is shown at once.

#[cfg(not(target_os = "linux"))]
mod native;
#[cfg(target_os = "linux")]
mod notifier;

#[cfg(not(target_os = "linux"))]
pub use native::{Drawn, listen};
#[cfg(target_os = "linux")]
pub use notifier::Drawn;

use lamplighter_core::view::Lamp;
use std::time::Duration;
use tauri::{image::Image, include_image};

/// At least this long between two times that rows come or go.
const REBUILD_EVERY: Duration = Duration::from_secs(1);

/// 44 pixels: halved without loss for a panel of 22, and sharp on screens of double density.
fn picture(lamp: Lamp) -> Image<'static> {
    match lamp {
        Lamp::Alert => include_image!("../icons/png/tray/alert-44.png"),
        Lamp::Paused => include_image!("../icons/png/tray/paused-44.png"),
        Lamp::Waking => include_image!("../icons/png/tray/waking-44.png"),
        Lamp::Busy => include_image!("../icons/png/tray/busy-44.png"),
        Lamp::Lit => include_image!("../icons/png/tray/lit-44.png"),
        Lamp::Low => include_image!("../icons/png/tray/low-44.png"),
        Lamp::Dark => include_image!("../icons/png/tray/dark-44.png"),
    }
}
