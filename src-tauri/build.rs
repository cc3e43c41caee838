//! Lets Tauri check the configuration and embed the window's pages, and says so when these have not been built.

use std::path::Path;
use tauri_build::{AppManifest, Attributes};

fn main() {
    let page = Path::new("../ui/dist/index.html");
    println!("cargo::rerun-if-changed={}", page.display());
    if !page.exists() {
        // An empty folder would build too, and show a blank window.
        println!(
            "cargo::error=the window's pages are not built: use `cargo xtask run`, or `npm ci && npm run build` in ui/ \
             (Node 20 or newer)"
        );
        return;
    }
    // Named here, a command can only be called by windows whose capability allows it.
    let commands = AppManifest::new().commands(&["connection"]);
    if let Err(why) = tauri_build::try_build(Attributes::new().app_manifest(commands)) {
        println!("cargo::error=tauri: {why:#}");
    }
}
