//! The desktop app: the gateway, its tray and its window in one process; without a display, the gateway alone.
#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

mod app;
mod attach;
mod clipboard;
mod clock;
mod control;
mod door;
mod face;
mod gateway;
mod headless;
mod host;
mod house;
mod menu;
mod notify;
mod quit;
mod signals;
mod webkit;
mod windows;

use clap::Parser;
use lamplighter::Options;
use std::{path::PathBuf, process::ExitCode};

/// One address for every model in the house, and a lamp in the tray that shows which machines are lit.
#[derive(Parser, Debug, Clone)]
#[command(name = "lamplighter-desktop", version)]
struct Args {
    /// Configuration file to use instead of the usual one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The simulated fleet, alone: nothing of yours is read, and nothing here is real.
    #[arg(long, conflicts_with = "config")]
    demo: bool,
    /// Open no window by itself: for starting with the session.
    #[arg(long)]
    hidden: bool,
    /// Run the gateway without tray and window.
    #[arg(long)]
    headless: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let options = Options { config: args.config, demo: args.demo, ..Options::default() };
    if args.headless {
        return headless::serve(options);
    }
    webkit::prepare();
    if !host::can_draw() {
        eprintln!(
            "lamplighter-desktop: no display can be reached: running without a tray, like `lamplighter serve`"
        );
        return headless::serve(options);
    }
    headless::log_to_stderr();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(why) => {
            eprintln!("lamplighter-desktop: could not start any threads: {why}");
            return ExitCode::FAILURE;
        }
    };
    let code = app::run(&runtime, options, args.hidden);
    // Its threads may wait for a desktop that no longer answers.
    runtime.shutdown_background();
    code
}
