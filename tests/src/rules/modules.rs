//! Which module of the gateway may name which.

use super::{Breach, Tree, files::File, names, tokens::tokens};

const RULE: &str = "modules";
pub(super) const SRC: &str = "crates/lamplighter/src/";

/// A module of the gateway, and the others that it may name.
#[derive(Debug)]
pub struct Row {
    /// The module, with all that is below it.
    pub module: &'static str,
    /// What it may name besides itself. `lib` is what stands in `lib.rs` itself.
    pub names: &'static [&'static str],
}

const fn row(module: &'static str, names: &'static [&'static str]) -> Row {
    Row { module, names }
}

/// The table. A row names only rows above it, so nothing goes in circles. `lib.rs` is the wiring and may name all.
pub const MODULES: &[Row] = &[
    row("clock", &[]),
    row("aside", &[]),
    row("config", &[]),
    row("secrets", &[]),
    // Wire formats know no node and no socket, engines know no wire format: they meet in `proxy`.
    row("dialects", &[]),
    row("engines", &[]),
    row("places", &["clock"]),
    // What stands in this computer's own network, for waking machines on it.
    row("interfaces", &[]),
    row("neighbours", &[]),
    row("packet", &["interfaces"]),
    // What is remembered from one request to the next.
    row("conversations", &["clock", "dialects"]),
    row("speeds", &["clock"]),
    // The one database.
    row("store", &["clock"]),
    // Who may come in by a browser, for how long.
    row("sessions", &["clock"]),
    // It stands in the state folder, which `config` knows.
    row("control_file", &["config"]),
    // The routing mode outlives the process, in a file written as `config` writes files.
    row("steering", &["clock", "config"]),
    // Counts the tokens that a judge has heard.
    row("live", &["clock", "dialects"]),
    row("upstream", &["clock"]),
    // The one writer of node state asks the engines, and says where to begin slowly.
    row("registry", &["clock", "engines", "places", "upstream"]),
    // Tells the registry that this computer has slept.
    // Calls that the file's owner has written down.
    row("hooks", &["secrets"]),
    row("waker", &["clock", "hooks", "neighbours", "packet", "places", "registry", "store"]),
    row("suspend", &["clock", "registry", "waker"]),
    // From the configuration to what the registry watches, with keys looked up.
    row("settings", &["config", "registry", "secrets"]),
    // What outlives the process: it follows the nodes and writes down.
    row("history", &["clock", "live", "registry", "store", "waker"]),
    row("discovery", &["engines", "settings"]),
    // Who holds our port, and a file in which that is a node.
    row("holder", &["config", "discovery", "engines"]),
    // Loads and unloads, by the way that a node's `upstream` knows.
    row("models", &["engines", "registry", "upstream"]),
    // The path of a request, in its order: an attempt opens, a meter lets it down, an answer dresses it.
    row("attempt", &["dialects", "upstream"]),
    row("vigil", &["clock", "engines", "hooks", "registry"]),
    row("meter", &["attempt", "clock", "dialects", "live", "places", "speeds", "upstream", "vigil"]),
    row("answer", &["dialects", "meter"]),
    row(
        "proxy",
        &[
            "answer",
            "aside",
            "attempt",
            "clock",
            "conversations",
            "dialects",
            "live",
            "meter",
            "places",
            "registry",
            "speeds",
            "steering",
            "upstream",
            "vigil",
            "waker",
        ],
    ),
    // For eyes: it reads all state, and writes none. It hands orders to those who carry them out.
    row(
        "control",
        &[
            "clock",
            "conversations",
            "engines",
            "history",
            "hooks",
            "live",
            "models",
            "places",
            "registry",
            "sessions",
            "settings",
            "speeds",
            "steering",
            "vigil",
            "waker",
        ],
    ),
    // From the file to the settings, and what there is to say of it to the eyes.
    row("reload", &["config", "control", "settings"]),
    // The door, and whoever hangs it as the file wants it. Lists come from `dialects`, so that it writes no wire format of its own. The control API's routes hand orders
    // on: to the settings, to the discovery, to `models`.
    row(
        "server",
        &[
            "answer",
            "aside",
            "clock",
            "config",
            "control",
            "control_file",
            "conversations",
            "dialects",
            "discovery",
            "holder",
            "history",
            "models",
            "proxy",
            "secrets",
            "settings",
            "steering",
            "waker",
        ],
    ),
    // Simulated machines, and a little traffic that comes in by the door as everybody's does.
    row("demo", &["clock", "engines", "registry"]),
    // A client of a gateway that runs, and the way to start one. It borrows the reader of events and the probes' client.
    row("cli", &["config", "control_file", "demo", "dialects", "engines", "lib"]),
];

pub(super) fn check(tree: &Tree, found: &mut Vec<Breach>) {
    let Some(lib) = tree.get(&format!("{SRC}lib.rs")) else { return };
    let declared = declared(&lib.text);
    for (line, name) in &declared {
        if MODULES.iter().all(|row| row.module != *name) {
            let what = format!("`{name}` has no row in the table of modules (tests/src/rules/modules.rs)");
            found.push(Breach::new(&lib.path, *line, RULE, what));
        }
    }
    for row in MODULES {
        if declared.iter().all(|(_, name)| *name != row.module) {
            let what = format!("the table of modules has a row for `{}`, which is gone", row.module);
            found.push(Breach::new(&lib.path, 1, RULE, what));
        }
    }
    for file in tree.under(SRC, ".rs") {
        // `lib.rs` and `main.rs` are the root: the one wires everything, the other calls one function.
        if let Some(row) = row_of(file) {
            check_file(file, row, &declared, found);
        }
    }
}

fn check_file(file: &File, row: &Row, declared: &[(usize, &str)], found: &mut Vec<Breach>) {
    for named in names::own(&tokens(&file.text), &module(&file.path)) {
        let first = named.path.first().map_or("", String::as_str);
        let target = if declared.iter().any(|(_, name)| *name == first) { first } else { "lib" };
        if target != row.module && !row.names.contains(&target) {
            let path = named.path.join("::");
            let what = format!("`{}` may not name `{target}` (`crate::{path}`)", row.module);
            found.push(Breach::new(&file.path, named.line, RULE, what));
        }
    }
}

/// The modules that `lib.rs` declares, each with its line.
fn declared(lib: &str) -> Vec<(usize, &str)> {
    let words = tokens(lib);
    let modules = words.windows(3).filter(|three| three[0].text == "mod" && three[2].text == ";");
    modules.map(|three| (three[1].line, three[1].text)).collect()
}

/// The row of the module that the file belongs to.
pub(super) fn row_of(file: &File) -> Option<&'static Row> {
    let module = module(&file.path);
    MODULES.iter().find(|row| module.first().is_some_and(|first| first == row.module))
}

/// Where a file stands in the crate: `server/openai.rs` is `server::openai`; `lib.rs` and `main.rs` are the root.
fn module(path: &str) -> Vec<String> {
    let inside = path.strip_prefix(SRC).unwrap_or(path).trim_end_matches(".rs");
    match inside {
        "lib" | "main" => Vec::new(),
        _ => inside.trim_end_matches("/mod").split('/').map(str::to_owned).collect(),
    }
}
