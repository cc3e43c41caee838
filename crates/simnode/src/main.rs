//! One simulated node as a process: prints a line of JSON when it serves, then serves until it is killed.

use clap::Parser;
use lamplighter_simnode::{Engine, FaultRule, Profile, SimModel, SimNode};
use std::process::ExitCode;

/// Simulated inference node.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Whose contract to speak.
    #[arg(long, value_enum, default_value = "ollama")]
    engine: Engine,
    /// Name of the node, spoken in its answers.
    #[arg(long, default_value = "simnode")]
    name: String,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    ip: std::net::IpAddr,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Port of the control server; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    control_port: u16,
    /// `NAME[=SIZE_BYTES][,loaded]` with a digest from the name; may be repeated.
    #[arg(long)]
    model: Vec<String>,
    /// Time to the first token, in ms.
    #[arg(long, default_value_t = 0)]
    ttft_ms: u64,
    /// Tokens per second; 0 is without limit.
    #[arg(long, default_value_t = 0.0)]
    tok_s: f64,
    /// Tokens of an answer.
    #[arg(long, default_value_t = 16)]
    tokens: usize,
    /// Exact text of every answer.
    #[arg(long)]
    text: Option<String>,
    /// Generations at once per loaded model.
    #[arg(long)]
    parallel: Option<usize>,
    /// Requests that may wait for a slot.
    #[arg(long)]
    max_queue: Option<usize>,
    /// Time to load a model, in ms.
    #[arg(long, default_value_t = 0)]
    load_ms: u64,
    /// VRAM in bytes.
    #[arg(long)]
    vram: Option<u64>,
    /// Loaded models at once (llama-server router).
    #[arg(long)]
    models_max: Option<usize>,
    /// Key a caller must show.
    #[arg(long)]
    api_key: Option<String>,
    /// Speak as an older version.
    #[arg(long)]
    old: bool,
    /// Serve embeddings where the engine must be told to.
    #[arg(long)]
    embeddings: bool,
    /// Have `/v1/responses` (engine openai).
    #[arg(long)]
    responses: bool,
    /// Have `/v1/messages` (engine openai).
    #[arg(long)]
    messages: bool,
    /// Time after the start in which llama-server still loads, in ms.
    #[arg(long, default_value_t = 0)]
    starting_ms: u64,
    /// A fault from the start, as the control port takes it: `{"kind":"gray"}`.
    #[arg(long)]
    fault: Option<String>,
    /// Keep no records, for benchmarks.
    #[arg(long)]
    no_record: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.to_string()),
    };
    match runtime.block_on(serve(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => failed(&message),
    }
}

fn failed(message: &str) -> ExitCode {
    eprintln!("lamplighter-simnode: {message}");
    ExitCode::from(2)
}

async fn serve(arguments: Arguments) -> Result<(), String> {
    let fault = arguments.fault.as_deref().map(|text| FaultRule::from_json(text.as_bytes()));
    let fault = fault.transpose().map_err(|error| format!("--fault: {error}"))?;
    let control_port = arguments.control_port;
    let node =
        SimNode::start(profile(arguments)?).await.map_err(|error| format!("cannot listen: {error}"))?;
    if let Some(fault) = fault {
        node.set_fault(fault);
    }
    let control =
        node.control(control_port).await.map_err(|error| format!("cannot open the control port: {error}"))?;
    let ready = serde_json::json!({
        "name": node.name(), "url": node.url(), "control": control.url(), "pid": std::process::id(),
    });
    println!("{ready}");
    // Until killed: there is nothing to save.
    std::future::pending().await
}

fn profile(arguments: Arguments) -> Result<Profile, String> {
    let mut profile = Profile::new(arguments.engine, arguments.name).old(arguments.old);
    for text in &arguments.model {
        profile.models.push(model(text)?);
    }
    profile.ip = arguments.ip;
    profile.port = arguments.port;
    profile.ttft_ms = arguments.ttft_ms;
    profile = profile.tok_s(arguments.tok_s);
    profile.tokens = arguments.tokens;
    profile.text = arguments.text;
    profile.parallel = arguments.parallel.unwrap_or(profile.parallel);
    profile.max_queue = arguments.max_queue.or(profile.max_queue);
    profile.load_ms = arguments.load_ms;
    profile.vram = arguments.vram;
    profile.models_max = arguments.models_max;
    profile.api_key = arguments.api_key;
    profile.embeddings |= arguments.embeddings;
    profile.responses = arguments.responses;
    profile.messages = arguments.messages;
    profile.starting_ms = arguments.starting_ms;
    profile.record = !arguments.no_record;
    Ok(profile)
}

/// `NAME[=SIZE][,loaded]`.
fn model(text: &str) -> Result<SimModel, String> {
    let mut words = text.split(',');
    let (name, size) = match words.next().unwrap_or_default().split_once('=') {
        Some((name, size)) => {
            (name, Some(size.parse().map_err(|_| format!("--model {text}: {size} is no size"))?))
        }
        None => (text.split(',').next().unwrap_or_default(), None),
    };
    let mut model = SimModel::new(name);
    if let Some(size) = size {
        model = model.size(size);
    }
    for word in words {
        match word {
            "loaded" => model.loaded = true,
            _ => return Err(format!("--model {text}: {word} is not known, only `loaded`")),
        }
    }
    Ok(model)
}
