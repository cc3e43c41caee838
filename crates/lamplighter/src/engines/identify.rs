//! Finds out by its answers, never by its port, which engine a node runs and which dialects it speaks.

use super::lenient::{self, Field};
use super::line::{Answer, LIST_BYTES, Line, SMALL_BYTES};
use super::llamacpp::{self, Flavour};
use super::{Identity, lmstudio, ollama, openai};
use lamplighter_core::fleet::Told;
use lamplighter_core::health::Report;
use lamplighter_core::node::Engine;
use lamplighter_core::operation::Dialects;

/// Asks who answers. The owner's word counts where the answers do not contradict it: `openai` is true of every engine,
/// and a server that shows only OpenAI's API may well be what the owner says.
pub(super) async fn identify(line: &Line, expected: Option<Engine>) -> Result<Identity, Report> {
    let found = find(line, expected).await.map_err(|report| match report {
        // "Busy" is a sign of life, but not of whose.
        Report::Answered => Report::Silent("it answers that it has too many requests (429)".into()),
        other => other,
    })?;
    let engine = expected.unwrap_or(found.engine);
    let contradicted = found.engine != engine && engine != Engine::Openai;
    if contradicted && (found.engine != Engine::Openai || engine == Engine::Ollama) {
        let seen = match found.engine {
            Engine::Openai => "an OpenAI-compatible server",
            other => other.title(),
        };
        let word = engine.word();
        return Err(Report::Refused(format!(
            "it answers as {seen}, but the configuration says engine = {word:?}"
        )));
    }
    let mut who = Identity {
        engine,
        version: None,
        dialects: Dialects::default(),
        told: Told::default(),
        flavour: Flavour::None,
    };
    match engine {
        Engine::Ollama => {
            who.version = found.version;
            who.dialects = ollama::dialects(line).await?;
        }
        Engine::Llamacpp => {
            let props = llamacpp::props(line).await?;
            who.flavour = match props.router {
                true => Flavour::Router,
                false => Flavour::Single { embeds: llamacpp::embeds(line).await? },
            };
            who.told = props.told();
            who.version = props.version;
            who.dialects = llamacpp::dialects(line).await?;
        }
        Engine::Vllm => {
            who.version = openai::version(line).await?;
            who.dialects = openai::dialects(line, &found.listing).await?;
        }
        Engine::Lmstudio | Engine::Openai => who.dialects = openai::dialects(line, &found.listing).await?,
    }
    Ok(who)
}

struct Seen {
    engine: Engine,
    /// Ollama's.
    version: Option<String>,
    /// The answer to `/v1/models`; of an Ollama, nothing.
    listing: Answer,
}

async fn find(line: &Line, expected: Option<Engine>) -> Result<Seen, Report> {
    let seen = |engine, listing| Ok(Seen { engine, version: None, listing });
    if expected != Some(Engine::Openai) {
        let answer = line.get("/api/version", SMALL_BYTES).await?;
        if let version @ Some(_) = ollama::version(&answer) {
            return Ok(Seen { engine: Engine::Ollama, version, listing: Answer::default() });
        }
    }
    let listing = line.get("/v1/models", LIST_BYTES).await?;
    if let Some(report) = line.verdict(&listing) {
        return Err(report);
    }
    let owners = lenient::entries(&listing.body, Field::Data, |entry| {
        Some(entry.get("owned_by").is_some_and(|owner| owner == "vllm"))
    });
    let Some(owners) = owners.filter(|_| listing.is_ok()) else {
        let why =
            format!("{} answers /v1/models with status {} and no list of models", line.url, listing.status);
        return Err(Report::Refused(why));
    };
    if expected == Some(Engine::Openai) {
        seen(Engine::Openai, listing)
    } else if llamacpp::is_it(&listing) {
        seen(Engine::Llamacpp, listing)
    } else if owners.contains(&true) {
        seen(Engine::Vllm, listing)
    } else if lmstudio::models(&line.get("/api/v0/models", LIST_BYTES).await?).is_some() {
        seen(Engine::Lmstudio, listing)
    } else {
        seen(Engine::Openai, listing)
    }
}
