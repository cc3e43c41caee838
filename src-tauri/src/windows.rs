//! The window: made when it is opened, gone when it is closed. A hidden webview would keep two hundred megabytes.

use serde_json::json;
use std::time::Instant;
use tauri::{
    AppHandle, LogicalPosition, LogicalSize, Manager, Theme, Url, WebviewUrl, WebviewWindowBuilder, Window,
    webview::{Color, NewWindowResponse, PageLoadEvent},
};
use tauri_plugin_store::StoreExt;

/// Its label; capabilities/main.json names it.
pub const MAIN: &str = "main";
/// What is kept of it, in the app's data folder. May be lost without harm.
const KEPT: &str = "window.json";
/// Width and height when nothing is kept, and at least.
const USUAL: (f64, f64) = (960.0, 640.0);
const LEAST: (f64, f64) = (720.0, 480.0);
/// More than any screen.
const MOST: f64 = 16_384.0;
/// The pages' backgrounds (ui/src/tokens.css), so that nothing flashes before they are there.
const LIGHT: Color = Color(0xfa, 0xf9, 0xf5, 0xff);
const DARK: Color = Color(0x19, 0x17, 0x15, 0xff);

/// Opens the window, or brings the open one forward. It is where it was last time; the demo's says that it is one, and keeps
/// nothing.
///
/// # Errors
/// When the desktop refuses.
pub fn open(app: &AppHandle, demo: bool) -> tauri::Result<()> {
    if let Some(window) = app.get_webview_window(MAIN) {
        // In this order, or the page stays frozen.
        window.unminimize()?;
        window.show()?;
        return window.set_focus();
    }
    let (last, began) = (if demo { Last::default() } else { Last::load(app) }, Instant::now());
    let mut window = WebviewWindowBuilder::new(app, MAIN, WebviewUrl::App("index.html".into()))
        .title(if demo { "Lamplighter (demo)" } else { "Lamplighter" })
        .inner_size(last.size.width, last.size.height)
        .min_inner_size(LEAST.0, LEAST.1)
        .background_color(if last.theme == Theme::Dark { DARK } else { LIGHT })
        .maximized(last.maximized)
        .disable_drag_drop_handler()
        .on_navigation(is_ours)
        .on_new_window(|_, _| NewWindowResponse::Deny)
        .on_download(|_, _| false)
        .on_page_load(move |_, page| {
            if page.event() == PageLoadEvent::Finished {
                tracing::info!(after_ms = began.elapsed().as_millis(), "the window's page is there");
            }
        });
    if let Some(position) = last.position.filter(|position| is_on_a_screen(app, *position)) {
        window = window.position(position.x, position.y);
    }
    window.build().map(drop)
}

/// Our own pages, and nothing else: a link must not put a foreign page where the key is handed out.
fn is_ours(url: &Url) -> bool {
    match (url.scheme(), url.host_str()) {
        ("tauri", Some("localhost")) => !cfg!(windows),
        ("http" | "https", Some("tauri.localhost")) => cfg!(windows) && url.port().is_none(),
        _ => false,
    }
}

/// Keeps where the window is, for the next time.
pub fn remember(window: &Window) {
    if let Err(why) = try_remember(window) {
        tracing::warn!("the window's place could not be kept: {why}");
    }
}

fn try_remember(window: &Window) -> Result<(), Box<dyn std::error::Error>> {
    let store = window.app_handle().store(KEPT)?;
    store.set("maximized", window.is_maximized()?);
    store.set("theme", window.theme()?.to_string());
    if !window.is_maximized()? && !window.is_minimized()? {
        let scale = window.scale_factor()?;
        let size: LogicalSize<f64> = window.inner_size()?.to_logical(scale);
        let position: LogicalPosition<f64> = window.outer_position()?.to_logical(scale);
        store.set("size", json!([size.width, size.height]));
        store.set("position", json!([position.x, position.y]));
    }
    Ok(store.save()?)
}

/// How the window was left.
struct Last {
    size: LogicalSize<f64>,
    position: Option<LogicalPosition<f64>>,
    maximized: bool,
    theme: Theme,
}

impl Default for Last {
    fn default() -> Self {
        let size = LogicalSize::new(USUAL.0, USUAL.1);
        Self { size, position: None, maximized: false, theme: Theme::Light }
    }
}

impl Last {
    fn load(app: &AppHandle) -> Self {
        let mut last = Self::default();
        let Ok(store) = app.store(KEPT) else { return last };
        let pair = |key: &str| {
            let value = store.get(key)?;
            Some((value.get(0)?.as_f64()?, value.get(1)?.as_f64()?))
        };
        if let Some((width, height)) = pair("size") {
            last.size = LogicalSize::new(width.clamp(LEAST.0, MOST), height.clamp(LEAST.1, MOST));
        }
        last.position = pair("position").map(|(x, y)| LogicalPosition::new(x, y));
        last.maximized = store.get("maximized").and_then(|value| value.as_bool()).unwrap_or(false);
        if store.get("theme").is_some_and(|theme| theme == "dark") {
            last.theme = Theme::Dark;
        }
        last
    }
}

/// Would its title bar be in reach? A screen may have been unplugged.
fn is_on_a_screen(app: &AppHandle, position: LogicalPosition<f64>) -> bool {
    let Ok(screens) = app.available_monitors() else { return false };
    screens.iter().any(|screen| {
        let scale = screen.scale_factor();
        let (from, size) =
            (screen.position().to_logical::<f64>(scale), screen.size().to_logical::<f64>(scale));
        let inside = |at: f64, from: f64, length: f64| (from - 8.0..from + length - 80.0).contains(&at);
        inside(position.x, from.x, size.width) && inside(position.y, from.y, size.height)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pages_are_shown() {
        let ours = |url: &str| is_ours(&url.parse().expect("an address"));
        assert!(cfg!(windows) || ours("tauri://localhost/index.html#/nodes"));
        for other in [
            "http://127.0.0.1:11400/ui/",
            "https://example.org/",
            "tauri://elsewhere/",
            "http://tauri.localhost:81/",
            "file:///etc/passwd",
            "data:text/html,<p>",
            "about:blank",
            "javascript:alert(1)",
        ] {
            assert!(!ours(other), "{other}");
        }
    }
}
