//! In the window's pages only one file talks: `ui/src/lib/api.ts`.

use super::{Breach, Tree, manifests::numbered};

const VOICE: &str = "ui/src/lib/api.ts";
/// Ways to reach the network or the shell.
const TALK: [&str; 2] = ["fetch", "invoke"];
const TALKERS: [&str; 4] = ["EventSource", "WebSocket", "XMLHttpRequest", "sendBeacon"];

pub(super) fn check(tree: &Tree, found: &mut Vec<Breach>) {
    let pages = tree.under("ui/src/", "").filter(|file| {
        // A test may put a false one in its place.
        file.path != VOICE
            && !file.path.ends_with(".test.ts")
            && [".ts", ".js", ".svelte"].iter().any(|ending| file.path.ends_with(ending))
    });
    for file in pages {
        for (line, text) in numbered(&file.text).filter(|(_, text)| !is_comment(text)) {
            let calls = TALK.into_iter().filter(|name| calls(text, name));
            let names = TALKERS.into_iter().filter(|name| text.contains(name));
            if let Some(name) = calls.chain(names).next() {
                let what = format!("only {VOICE} talks: `{name}`");
                found.push(Breach::new(&file.path, line, "one voice", what));
            }
        }
    }
}

fn is_comment(line: &str) -> bool {
    ["//", "*", "/*", "<!--"].iter().any(|start| line.trim_start().starts_with(start))
}

/// Is `name` called here? `prefetch(` is another name.
fn calls(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        !text[..at].ends_with(is_part) && text[at + name.len()..].trim_start().starts_with(['(', '<', '`'])
    })
}
