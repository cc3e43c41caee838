//! Lets Tauri check the configuration and embed what it names.

fn main() {
    tauri_build::build();
}
