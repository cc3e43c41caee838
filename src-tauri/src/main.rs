//! The desktop app: the gateway and its tray in one process; without a display, the gateway alone.
#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

mod app;
mod clipboard;
mod clock;
mod face;
mod gateway;
mod host;
mod menu;

use clap::Parser;
use std::{path::PathBuf, process::ExitCode};

/// One address for every model in the house, and a lamp in the tray that shows which machines are lit.
#[derive(Parser, Debug, Clone)]
#[command(name = "lamplighter-desktop", version)]
struct Args {
    /// Configuration file to use instead of the usual one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Run the gateway without a tray.
    #[arg(long)]
    headless: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.headless {
        return gateway::serve(args.config);
    }
    if !host::can_draw() {
        eprintln!(
            "lamplighter-desktop: no display can be reached: running without a tray, like `lamplighter serve`"
        );
        return gateway::serve(args.config);
    }
    gateway::log_to_stderr();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(why) => {
            eprintln!("lamplighter-desktop: could not start any threads: {why}");
            return ExitCode::FAILURE;
        }
    };
    let code = app::run(&runtime, args.config);
    // Its threads may wait for a desktop that no longer answers.
    runtime.shutdown_background();
    code
}
