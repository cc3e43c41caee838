//! The rules of the house hold in the source as it is, and each of them finds a breach that is planted in a copy.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_tests::{
    project,
    rules::{self, Breach, MODULES},
};
use std::fs;

fn told(breaches: &[Breach]) -> String {
    breaches.iter().map(|breach| format!("\n{breach}")).collect()
}

#[test]
fn the_rules_of_the_house_hold() {
    let breaches = rules::check(&project());
    assert!(breaches.is_empty(), "{}", told(&breaches));
}

/// So nothing goes in circles, whoever adds what.
#[test]
fn a_row_of_the_table_names_only_rows_above_it() {
    for (at, row) in MODULES.iter().enumerate() {
        let above = |name: &&str| *name == "lib" || MODULES[..at].iter().any(|row| row.module == *name);
        let wrong: Vec<_> = row.names.iter().filter(|name| !above(name)).collect();
        assert!(wrong.is_empty(), "`{}` names {wrong:?}, which stand below it", row.module);
        assert!(!row.names.contains(&"server"), "nothing names the door but the wiring");
        assert!(!row.names.contains(&"lib") || row.module == "cli", "only the command line names the wiring");
    }
}

/// What is planted, and where the breach must be seen.
struct Plant {
    rule: &'static str,
    file: &'static str,
    /// After what is there, or instead of all of it.
    how: How,
    text: &'static str,
    /// The line of the breach within `text`.
    line: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum How {
    Behind,
    Instead,
}

const fn behind(rule: &'static str, file: &'static str, text: &'static str) -> Plant {
    Plant { rule, file, how: How::Behind, text, line: 1 }
}

const fn instead(rule: &'static str, file: &'static str, text: &'static str, line: usize) -> Plant {
    Plant { rule, file, how: How::Instead, text, line }
}

const CLOCK: &str = "crates/lamplighter/src/clock.rs";
const SSE: &str = "crates/lamplighter/src/dialects/sse.rs";

/// At least one for each rule; the texts are put together so that this file breaks none.
const PLANTS: &[Plant] = &[
    behind("modules", "crates/lamplighter/src/engines/ollama.rs", "use crate::dialects::sse;"),
    behind("modules", "crates/lamplighter/src/dialects/sse.rs", "use crate::{\n    engines::Asker,\n};")
        .at(2),
    behind("modules", "crates/lamplighter/src/dialects/openai.rs", "fn f() { super::super::proxy::serve() }"),
    behind("modules", "crates/lamplighter/src/proxy.rs", "mod t {\n    use super::super::server;\n}").at(2),
    behind("modules", "crates/lamplighter/src/places.rs", "fn f() -> crate::Handle { todo() }"),
    behind("modules", "crates/lamplighter/src/lib.rs", "mod newcomer;"),
    instead("modules", "crates/lamplighter/src/lib.rs", "//! Without its modules.", 1),
    behind("frameworks", "crates/lamplighter/src/registry.rs", "use axum::Router;"),
    behind("frameworks", "crates/lamplighter/src/attempt.rs", "fn f() { reqwest::get(1) }"),
    behind("frameworks", "crates/lamplighter/src/secrets.rs", "use ::tauri::App;"),
    behind("frameworks", "crates/lamplighter/src/control.rs", "type T = toml_edit::Document;"),
    behind("one writer", "crates/lamplighter/src/proxy.rs", "fn f(h: lamplighter_core::health::Health) {}"),
    behind("one writer", "crates/lamplighter/src/control.rs", "use lamplighter_core::catalogue::Catalogue;"),
    behind("demo", "crates/lamplighter/src/clock.rs", "use lamplighter_simnode::SimNode;"),
    behind("dialects", "crates/lamplighter/src/dialects/judge.rs", "async\nfn f() {}"),
    behind("dialects", "crates/lamplighter/src/dialects/envelope.rs", "fn f() { g().await }"),
    behind("dialects", "crates/lamplighter/src/dialects/ollama.rs", "use std::net::TcpStream;"),
    behind("dialects", "crates/lamplighter/src/dialects.rs", "use hyper::body::Incoming;"),
    behind("core is pure", "crates/core/src/route.rs", "fn f() -> std::time::Instant { now() }"),
    behind("core is pure", "crates/core/src/health.rs", "use std::{\n    fs,\n};").at(2),
    behind("core is pure", "crates/core/src/room.rs", "fn f() { std::env::var(1) }"),
    behind("core is pure", "crates/core/src/model.rs", "use serde_json::Value;"),
    behind("core is pure", "crates/core/src/node.rs", "use lamplighter_simnode::Profile;"),
    behind("core is pure", "crates/core/Cargo.toml", "[dependencies.tokio]"),
    behind("core is pure", "crates/core/Cargo.toml", "[dev-dependencies]\nlamplighter.workspace = true")
        .at(2),
    behind("core is pure", "crates/core/Cargo.toml", "[build-dependencies]\nx = { package = \"axum\" }")
        .at(2),
    behind("desktop", "crates/lamplighter/Cargo.toml", "[target.'cfg(unix)'.dependencies]\ntauri = \"2\"")
        .at(2),
    behind("desktop", "Cargo.toml", "[workspace.dependencies]\ntauri-build = \"2\"").at(2),
    instead("lints", "crates/simnode/Cargo.toml", "[package]\nname = \"x\"", 1),
    behind("locks", "Cargo.lock", "source = \"registry+https://example.org/index\""),
    behind("locks", ".gitignore", "/Cargo.lock"),
    behind("locks", "ui/package-lock.json", "  \"resolved\": \"https://example.org/x.tgz\","),
    instead("first line", "xtask/src/main.rs", "// Nothing is said.\nfn main() {}", 1),
    instead("first line", "crates/core/src/new.rs", "", 1),
    behind("unsafe", "xtask/src/main.rs", concat!("fn f() { un", "safe { g() } }")),
    behind("names", "crates/core/src/node.rs", "pub struct NodeManager;"),
    behind("names", "src-tauri/src/main.rs", "mod helpers {}"),
    behind("places", "README.md", concat!("Built in /ro", "ot/lamplighter.")),
    behind("places", "tests/tools/requirements.txt", concat!("--index", "-url https://example.org/simple")),
    behind("places", "ui/.npmrc", concat!("registry", "=https://example.org/")),
    behind("one voice", "ui/src/lib/words.ts", "const answer = await fetch('/x')"),
    behind("one voice", "ui/src/pages/Overview.svelte", "<script>\n  window.invoke<string>('x')\n</script>")
        .at(2),
    behind("one voice", "ui/src/lib/state.svelte.ts", "new EventSource('/x')"),
];

impl Plant {
    const fn at(mut self, line: usize) -> Self {
        self.line = line;
        self
    }
}

/// A folder of its own with the files of the project that matter: all of it takes a second to read.
fn plot(file: &str) -> tempfile::TempDir {
    let plot = tempfile::tempdir().unwrap();
    for file in [file, "crates/lamplighter/src/lib.rs", ".gitignore"] {
        let to = plot.path().join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        if project().join(file).is_file() {
            fs::copy(project().join(file), to).unwrap();
        }
    }
    plot
}

#[test]
fn each_rule_finds_a_planted_breach() {
    for plant in PLANTS {
        let plot = plot(plant.file);
        let before = rules::check(plot.path());
        let file = plot.path().join(plant.file);
        let was = fs::read_to_string(&file).unwrap_or_default();
        let kept = if plant.how == How::Behind { was.as_str() } else { "" };
        fs::write(&file, format!("{kept}{}\n", plant.text)).unwrap();
        let line = kept.lines().count() + plant.line;

        let found = rules::check(plot.path());
        let seen = |b: &Breach| (b.rule, b.file.as_str(), b.line) == (plant.rule, plant.file, line);
        let new: Vec<Breach> = found.into_iter().filter(|breach| !before.contains(breach)).collect();
        assert!(
            new.iter().any(seen),
            "{}:{line} {:?} was not seen, but:{}",
            plant.file,
            plant.text,
            told(&new)
        );
    }
}

#[test]
fn a_file_that_is_too_long_and_a_lock_that_is_missing_are_found() {
    let plot = plot(CLOCK);
    fs::write(plot.path().join(CLOCK), format!("//! Long.\n{}", "\n".repeat(500))).unwrap();
    let found = rules::check(plot.path());
    let is = |rule: &str, file: &str, line| {
        found.iter().any(|b| (b.rule, b.file.as_str(), b.line) == (rule, file, line))
    };
    assert!(is("length", CLOCK, 501), "{}", told(&found));
    assert!(is("locks", "Cargo.lock", 1), "{}", told(&found));
}

/// What looks like a breach and is none.
#[test]
fn comments_and_quotes_break_no_rule() {
    let plot = plot(SSE);
    let before = rules::check(plot.path());
    let harmless = "// use crate::server; unsafe\n/* tokio::spawn */\nconst X: &str = \"crate::proxy::serve axum::Router\";\n";
    let file = plot.path().join(SSE);
    fs::write(&file, format!("{}{harmless}", fs::read_to_string(&file).unwrap())).unwrap();
    assert_eq!(rules::check(plot.path()), before);
}
