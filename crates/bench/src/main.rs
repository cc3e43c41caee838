//! Measures the gateway beside nginx and haproxy. `cargo xtask bench` runs it; the parts can be used by hand too.

mod book;
mod compare;
mod crowd;
mod events;
mod fleet;
mod goals;
mod load;
mod machine;
mod node;
mod open_files;
mod process;
mod proxies;
mod rivals;
mod rounds;
mod spread;
mod streams;
mod wire;

use clap::{Parser, Subcommand};
use std::{net::SocketAddr, process::ExitCode, time::Duration};

/// Measures the gateway beside nginx, on loopback only.
#[derive(Debug, Parser)]
#[command(name = "lamplighter-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything, interleaved: directly, through nginx, through the gateway. Prints the table.
    Compare(compare::Asked),
    /// A fake node that costs next to nothing. Prints its addresses as one JSON line; ends with its standard input.
    Node {
        /// How many nodes: one port each.
        #[arg(long, default_value_t = 1)]
        count: usize,
        /// How many models each of them lists.
        #[arg(long, default_value_t = 1)]
        models: usize,
        /// Keep a book of every stream that carries an `x-request-id`: `GET /bench/book`.
        #[arg(long)]
        book: bool,
    },
    /// Many clients with a stream each; prints as one JSON line what each of them got.
    Crowd(crowd::Crowd),
    /// Loads one address and prints what came of it as JSON.
    Load {
        /// Where to, for example 127.0.0.1:11400.
        address: SocketAddr,
        #[arg(long, default_value_t = 16)]
        connections: usize,
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
        /// The process whose CPU time counts.
        #[arg(long)]
        pid: Option<u32>,
        /// Size of the request's body, about.
        #[arg(long, default_value_t = 300)]
        body_bytes: usize,
        /// Streams instead of answers in one piece: one per connection, 50 events a second each.
        #[arg(long)]
        stream: bool,
        /// Streams that are sent as fast as they can be.
        #[arg(long)]
        burst: bool,
    },
}

fn main() -> ExitCode {
    open_files::allow();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("lamplighter-bench: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match Cli::parse().command {
            Command::Compare(asked) => compare::run(asked).await,
            Command::Node { count, models, book } => {
                node::run(count, models, book).await.map_err(|error| error.to_string())
            }
            Command::Crowd(crowd) => crowd::run(crowd).await,
            Command::Load { address, connections, seconds, pid, body_bytes, stream, burst } => {
                let length = Duration::from_secs_f64(seconds.clamp(0.1, 600.0));
                let target = load::Target { address, pid };
                let measured = if burst {
                    streams::burst(target, connections, length).await.map(|m| serde_json::json!(m))
                } else if stream {
                    streams::steady(target, connections, length).await.map(|m| serde_json::json!(m))
                } else {
                    let request = load::chat(body_bytes);
                    load::closed_loop(target, &request, connections, length)
                        .await
                        .map(|m| serde_json::json!(m))
                };
                measured.map(|m| println!("{m}"))
            }
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("lamplighter-bench: {why}");
            ExitCode::FAILURE
        }
    }
}
