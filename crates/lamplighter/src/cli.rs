//! The command line: `serve` runs the gateway, everything else asks a running one.

mod act;
mod ask;
mod explain;
mod models;
mod serve;
mod status;
mod table;
mod wake;

use crate::Options;
use clap::{Parser, Subcommand};
use std::{io::Write, path::PathBuf, process::ExitCode};

/// One address for every model in the house.
#[derive(Debug, Parser)]
#[command(name = "lamplighter", version, max_term_width = 100)]
pub struct Cli {
    /// The configuration file, and by that which running Lamplighter is meant; without it, your own
    /// (lamplighter/config.toml in your configuration folder).
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The simulated fleet, alone: nothing of yours is read, and nothing here is real.
    #[arg(long, global = true, conflicts_with = "config")]
    demo: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway without a window, until it is told to stop.
    Serve,
    /// Show every machine.
    Status {
        /// The whole snapshot, for programs.
        #[arg(long)]
        json: bool,
        /// Go on showing, as things change.
        #[arg(long)]
        watch: bool,
    },
    /// List every model that can be reached.
    Models {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Say which machine would answer for a model, and why; nothing is sent.
    Explain {
        /// The model or alias, perhaps with `@node`.
        model: String,
        /// A conversation, by the name that its client gives it in a header such as `x-session-id`.
        #[arg(long)]
        session: Option<String>,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Load a model into a machine's memory, and wait until it is there.
    Load {
        /// The machine.
        node: String,
        /// The model.
        model: String,
    },
    /// Take a model, or every model, out of a machine's memory: its GPU is free then.
    Unload {
        /// The machine.
        node: String,
        /// The model; all of them when none is named.
        model: Option<String>,
    },
    /// Wake a machine that sleeps, or end its wake.
    Wake {
        /// The machine.
        node: String,
        /// Wait until it is awake, and say how far it is.
        #[arg(long)]
        wait: bool,
        /// Then load this model, and wait until it is there.
        #[arg(long, value_name = "MODEL")]
        load: Option<String>,
        /// End its wake instead; requests that wait for it are answered elsewhere, or told.
        #[arg(long, conflicts_with_all = ["wait", "load"])]
        cancel: bool,
    },
    /// Put a machine to sleep, by the hook in the configuration file.
    Sleep {
        /// The machine.
        node: String,
    },
    /// Choose how requests are routed; that ends a pause, too.
    Route {
        /// As configured; nothing leaves the house; only machines that are up.
        #[arg(value_parser = ["auto", "local", "no-wake"])]
        mode: String,
    },
    /// Refuse requests for a while; lists still answer, and what runs may finish.
    Pause {
        /// For how long, like 1h or 30m; until you resume when left out.
        duration: Option<String>,
    },
    /// End a pause; requests are routed as before it.
    Resume,
    /// Open the pages in a browser.
    Open,
}

impl Cli {
    /// Does what was asked. The exit code is 0 when all went well, 1 when it did not, 2 when the configuration is broken.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let options = Options { config: self.config, demo: self.demo, ..Options::default() };
        let config = &options.whose();
        let done = match self.command {
            Command::Serve => return serve::run(options),
            Command::Status { json, watch } => status::run(config, json, watch),
            Command::Models { json } => models::run(config, json),
            Command::Explain { model, session, json } => {
                explain::run(config, &model, session.as_deref(), json)
            }
            Command::Load { node, model } => act::load(config, &node, &model),
            Command::Unload { node, model } => act::unload(config, &node, model.as_deref()),
            Command::Wake { node, cancel: true, .. } => wake::cancel(config, &node),
            Command::Wake { node, wait, load, cancel: false } => {
                wake::wake(config, &node, wait, load.as_deref())
            }
            Command::Sleep { node } => wake::sleep(config, &node),
            Command::Route { mode } => act::route(config, &mode),
            Command::Pause { duration } => act::pause(config, duration.as_deref()),
            Command::Resume => act::resume(config),
            Command::Open => act::open(config),
        };
        match done {
            Ok(code) => code,
            Err(why) => {
                // Nobody may be left to read it.
                let _ = writeln!(std::io::stderr(), "lamplighter: {why}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Ends like a program whose reader went away, instead of panicking: `lamplighter models | head`.
fn print(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.map_err(|error| format!("cannot write: {error}")),
    }
}

/// JSON for programs, which may also end up on a terminal.
fn print_json(value: &serde_json::Value) -> Result<(), String> {
    print(&format!("{}\n", harmless_json(&format!("{value:#}"))))
}

/// JSON escapes control characters up to U+001F; those above would still steer a terminal.
fn harmless_json(json: &str) -> String {
    let escaped =
        |c: char| if c >= '\u{7f}' && c.is_control() { format!("\\u{:04x}", c as u32) } else { c.into() };
    json.chars().map(escaped).collect()
}
