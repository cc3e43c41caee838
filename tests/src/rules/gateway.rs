//! What only some modules of the gateway may know: frameworks, node state, and for wire formats nothing that waits.

use super::{
    Breach, Tree,
    files::File,
    modules::{SRC, row_of},
    names,
    tokens::tokens,
};

/// Crates that only these modules may name.
const KNOWN_TO: [(&str, &[&str]); 11] = [
    // `answer` makes the one kind of body that the router takes; `proxy` hands it on without naming it.
    ("axum", &["answer", "server"]),
    // A resolver for hyper's client is a `tower::Service`.
    ("tower", &["server", "upstream"]),
    ("tower_http", &["server"]),
    // Listeners; and what the standard library's sockets cannot: netlink, packets by one interface.
    ("socket2", &["demo", "neighbours", "packet", "server"]),
    ("clap", &["cli", "main"]),
    ("toml", &["config"]),
    ("toml_edit", &["config"]),
    ("hyper_rustls", &["upstream"]),
    // Never in the path of a request: that has a client of its own, which costs less.
    (
        "reqwest",
        &["cli", "control", "demo", "discovery", "engines", "hooks", "models", "registry", "vigil", "waker"],
    ),
    // Only `store` speaks SQL.
    ("sqlx", &["store"]),
    ("tauri", &[]),
];

/// Words by which node state is written: folding a report, merging the lists.
const STATE: [&str; 2] = ["Health", "Catalogue"];

/// What a wire format has no use for: it takes bytes and gives bytes.
const NOT_IN_DIALECTS: [&str; 8] =
    ["hyper", "hyper_util", "http_body_util", "reqwest", "axum", "tokio", "tokio_util", "futures"];
const SOCKETS: [&str; 6] = ["async", "await", "TcpStream", "TcpListener", "UdpSocket", "UnixStream"];

pub(super) fn check(tree: &Tree, found: &mut Vec<Breach>) {
    for file in tree.under(SRC, ".rs") {
        let root = if file.path.ends_with("/main.rs") { "main" } else { "lib" };
        let module = row_of(file).map_or(root, |row| row.module);
        frameworks(file, module, found);
        simulated(file, module, found);
        if module != "registry" {
            for token in tokens(&file.text).iter().filter(|token| STATE.contains(&token.text)) {
                let what = format!("only `registry` writes node state: `{module}` names `{}`", token.text);
                found.push(Breach::new(&file.path, token.line, "one writer", what));
            }
        }
        if module == "dialects" {
            dialect(file, found);
        }
    }
}

fn frameworks(file: &File, module: &str, found: &mut Vec<Breach>) {
    for (line, name) in names::heads(&tokens(&file.text)) {
        let Some((_, may)) = KNOWN_TO.iter().find(|(known, _)| *known == name) else { continue };
        if !may.contains(&module) {
            let what = format!("`{module}` may not name `{name}`; only {may:?} may");
            found.push(Breach::new(&file.path, line, "frameworks", what));
        }
    }
}

/// Real clients must never get simulated answers.
fn simulated(file: &File, module: &str, found: &mut Vec<Breach>) {
    if module == "demo" || file.path.contains("tests") {
        return;
    }
    // What is compiled for tests alone stands at the end of a file.
    let alone = file.text.find("#[cfg(test)]\nmod ").unwrap_or(file.text.len());
    for (line, _) in
        names::heads(&tokens(&file.text[..alone])).iter().filter(|(_, n)| *n == "lamplighter_simnode")
    {
        found.push(Breach::new(&file.path, *line, "demo", "only the demo knows simulated nodes"));
    }
}

fn dialect(file: &File, found: &mut Vec<Breach>) {
    let words = tokens(&file.text);
    let heads = names::heads(&words).into_iter().filter(|(_, name)| NOT_IN_DIALECTS.contains(name));
    let waits = words.iter().filter(|token| SOCKETS.contains(&token.text));
    for (line, name) in heads.chain(waits.map(|token| (token.line, token.text))) {
        let what = format!("dialects never wait and know no socket: `{name}`");
        found.push(Breach::new(&file.path, line, "dialects", what));
    }
}
