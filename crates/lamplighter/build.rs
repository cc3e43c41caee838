//! Builds the window's pages into the binary. Where they have not been built (no Node), a page that says so stands in.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

const PLACEHOLDER: &str = "<!doctype html><meta charset=utf-8><title>Lamplighter</title>\
    <p>These pages were not built into this gateway: build them with <code>npm ci && npm run build</code> in <code>ui/</code>.";

fn main() {
    let dist = Path::new("../../ui/dist");
    println!("cargo::rerun-if-changed=../../ui/dist");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut pages = Vec::new();
    collect(dist, dist, &mut pages);
    pages.sort();
    if !pages.iter().any(|(name, _)| name == "index.html") {
        let placeholder = out.join("placeholder.html");
        fs::write(&placeholder, PLACEHOLDER).expect("OUT_DIR can be written");
        pages = vec![("index.html".into(), placeholder)];
    }
    let entries: String = pages
        .iter()
        .map(|(name, path)| format!("    ({name:?}, include_bytes!({:?})),\n", path.display().to_string()))
        .collect();
    let table =
        format!("/// Name and contents of every file.\nstatic PAGES: &[(&str, &[u8])] = &[\n{entries}];\n");
    fs::write(out.join("pages.rs"), table).expect("OUT_DIR can be written");
}

fn collect(root: &Path, folder: &Path, pages: &mut Vec<(String, PathBuf)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(root, &path, pages);
        } else if let (Ok(name), Ok(full)) = (path.strip_prefix(root), path.canonicalize()) {
            let name = name
                .components()
                .map(|part| part.as_os_str().to_string_lossy())
                .collect::<Vec<_>>()
                .join("/");
            println!("cargo::rerun-if-changed={}", path.display());
            pages.push((name, full));
        }
    }
}
