//! Looks at nodes: which engine answers there, which dialects it speaks, which models it has. It never translates.
//!
//! Every answer is a stranger's: time, size, counts and names are bounded, and a field may be missing, null or of the
//! wrong type without spoiling the rest.

mod identify;
mod lenient;
mod line;
mod llamacpp;
mod lmstudio;
mod loading;
mod ollama;
mod openai;
mod queue;
mod resolve;
#[cfg(test)]
mod tests;
mod token;
mod trouble;

pub use line::http_client;
pub use loading::{can_load, load, unload};
pub use token::one_token;

use lamplighter_core::fleet::Told;
use lamplighter_core::health::Report;
use lamplighter_core::model::Model;
use lamplighter_core::node::Engine;
use lamplighter_core::node_url::NodeUrl;
use lamplighter_core::operation::Dialects;
use line::Line;
use std::time::{Duration, Instant};

/// Time that one look may take with all its calls, in milliseconds. A known engine's pulse is one call of at most
/// [`lamplighter_core::health::PROBE_TIMEOUT_MS`]; only the first look at a slow machine comes near this.
pub const LOOK_TIMEOUT_MS: u64 = 20_000;

/// Who answers at a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its engine: found out, or the owner's word when the answers do not contradict it.
    pub engine: Engine,
    /// The engine's version as it tells it, at most 64 characters.
    pub version: Option<String>,
    /// What it speaks natively.
    pub dialects: Dialects,
    /// What the engine tells of itself.
    pub told: Told,
    /// llama.cpp only: what kind of server it is.
    flavour: llamacpp::Flavour,
}

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Is it alive? The engine's cheapest call, and where it tells: what is loaded.
    Pulse,
    /// And which models it has.
    Full,
}

/// What one look found.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// Whether it answered, and if not as it should, why.
    pub report: Report,
    /// The node's whole model list; `None` when it is as in the last look, or was not learned.
    pub listing: Option<Vec<Model>>,
    /// The engine's version, as far as known.
    pub version: Option<String>,
    /// What the engine tells of itself, as far as known.
    pub told: Told,
    /// Milliseconds until the look's first answer began, or until the look failed without one.
    pub took_ms: u32,
}

/// Asks one node, and remembers what it need not ask again.
pub struct Asker {
    line: Line,
    expected: Option<Engine>,
    identity: Option<Identity>,
    /// The list that the last look handed out.
    listing: Option<Vec<Model>>,
    ollama: ollama::Memory,
    /// Where it tells who waits there.
    queue: queue::Routes,
    /// Requests of ours are under way there.
    at_work: bool,
    /// A refusal may concern only some routes (llama-server's `/health` needs no key): then a pulse proves nothing.
    refused: bool,
}

/// Why an engine's look ended early.
#[derive(Debug, PartialEq)]
enum Stop {
    /// With this report.
    Report(Report),
    /// It does not answer as the engine that it was: ask who it is now.
    NotIt,
}

impl From<Report> for Stop {
    fn from(report: Report) -> Self {
        Self::Report(report)
    }
}

/// What an engine told in one look; `None` is "not asked" or "not told".
#[derive(Debug, Default)]
struct Found {
    models: Option<Vec<Model>>,
    version: Option<String>,
    told: Told,
}

impl Asker {
    /// For the node at `url`, with one [`http_client`] shared by all askers. `key` goes out as a bearer token and is
    /// never printed; `expected` is the engine that the owner wrote down, believed unless the answers contradict it.
    #[must_use]
    pub fn new(http: reqwest::Client, url: NodeUrl, key: Option<String>, expected: Option<Engine>) -> Self {
        Self {
            line: Line::new(http, url, key),
            expected,
            identity: None,
            listing: None,
            ollama: ollama::Memory::default(),
            queue: queue::Routes::default(),
            at_work: false,
            refused: false,
        }
    }

    /// An asker of the same node on connections of its own, which knows nothing of it yet.
    #[must_use]
    pub fn anew(&self, http: reqwest::Client) -> Self {
        Self {
            line: self.line.over(http),
            expected: self.expected,
            identity: None,
            listing: None,
            ollama: ollama::Memory::default(),
            queue: queue::Routes::default(),
            at_work: false,
            refused: false,
        }
    }

    /// From now on it asks by this client.
    pub fn ask_by(&mut self, http: reqwest::Client) {
        self.line = self.line.over(http);
    }

    /// Looks once, in at most [`LOOK_TIMEOUT_MS`]. The first look finds out who it is and lists, whatever the depth.
    pub async fn look(&mut self, depth: Depth) -> Look {
        let began = Instant::now();
        self.line.first_ms = std::sync::OnceLock::new();
        self.line.is_kept = depth == Depth::Full || self.identity.is_none() || self.at_work;
        let limit = Duration::from_millis(LOOK_TIMEOUT_MS);
        let (report, models) = match tokio::time::timeout(limit, self.ask(depth)).await {
            Ok(Ok(models)) => (Report::Answered, models),
            Ok(Err(report)) => (report, None),
            Err(_) => {
                (Report::Silent(format!("it answers too slowly for one look in {} s", limit.as_secs())), None)
            }
        };
        self.refused = matches!(report, Report::Refused(_));
        let listing =
            models.filter(|models| !self.listing.as_ref().is_some_and(|known| is_same(known, models)));
        if listing.is_some() {
            self.listing.clone_from(&listing);
        }
        let took_ms = self.line.first_ms.get().copied().unwrap_or_else(|| line::ms_since(began));
        let (version, told) =
            self.identity.as_ref().map_or_else(Default::default, |who| (who.version.clone(), who.told));
        Look { report, listing, version, told, took_ms }
    }

    /// Who it was at the last look that found out.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Asks everything anew at the next look: after the node was gone it may come back upgraded, or as another engine.
    pub fn forget(&mut self) {
        self.identity = None;
        self.listing = None;
        self.ollama = ollama::Memory::default();
        self.queue = queue::Routes::default();
    }

    /// Are requests of ours under way there? Some engines must not be asked for more than a sign of life when they are idle.
    pub fn at_work(&mut self, at_work: bool) {
        self.at_work = at_work;
    }

    async fn ask(&mut self, depth: Depth) -> Result<Option<Vec<Model>>, Report> {
        if self.identity.is_some() {
            let depth = if self.refused { Depth::Full } else { depth };
            match self.ask_engine(depth).await {
                Ok(models) => return Ok(models),
                Err(Stop::Report(report)) => return Err(report),
                Err(Stop::NotIt) => self.forget(),
            }
        }
        self.identity = Some(identify::identify(&self.line, self.expected).await?);
        match self.ask_engine(Depth::Full).await {
            Ok(models) => Ok(models),
            Err(Stop::Report(report)) => Err(report),
            Err(Stop::NotIt) => {
                self.forget();
                Err(Report::Refused(format!("{} does not answer like a model server", self.line.url)))
            }
        }
    }

    /// Asks the engine that it is known to be. A new version is a new identity: it may speak more.
    async fn ask_engine(&mut self, depth: Depth) -> Result<Option<Vec<Model>>, Stop> {
        let Some(who) = &self.identity else { return Err(Stop::NotIt) };
        let line = &self.line;
        let mut found = match who.engine {
            Engine::Ollama => ollama::look(line, &mut self.ollama, depth).await?,
            Engine::Llamacpp => llamacpp::look(line, who.flavour, depth).await?,
            Engine::Lmstudio => lmstudio::look(line).await?,
            Engine::Vllm => openai::look_vllm(line, depth).await?,
            Engine::Openai => openai::look(line, depth).await?,
        };
        // Only after it has shown that it is well: these may fail as they like.
        found.told.queue = match who.engine {
            Engine::Vllm => queue::of_vllm(line, &mut self.queue).await,
            Engine::Llamacpp if who.flavour.is_single() && self.at_work => {
                queue::of_llamacpp(line, &mut self.queue).await
            }
            _ => None,
        };
        let upgraded = found.version.is_some() && found.version != who.version;
        // A single llama-server with another model was started anew, perhaps with other options.
        let restarted = who.flavour.is_single() && found.models.is_some() && self.listing.is_some() && {
            let name =
                |models: &Option<Vec<Model>>| models.iter().flatten().next().map(|model| model.name.clone());
            name(&found.models) != name(&self.listing)
        };
        if upgraded || restarted {
            return Err(Stop::NotIt);
        }
        if let Some(who) = &mut self.identity {
            let Told { slots, models_max, queue } = found.told;
            // A pulse tells no slots, and those of the last full look stand; a line that is not told now is not known.
            who.told = Told {
                slots: slots.or(who.told.slots),
                models_max: models_max.or(who.told.models_max),
                queue,
            };
        }
        Ok(found.models)
    }
}

/// Equal but for the fraction of a second in which the engine says that it will unload a model.
fn is_same(known: &[Model], models: &[Model]) -> bool {
    let second =
        |model: &Model| model.expires_at.as_deref().map(|at| at.chars().take(19).collect::<String>());
    known.len() == models.len()
        && known.iter().zip(models).all(|(a, b)| {
            a == b || second(a) == second(b) && Model { expires_at: b.expires_at.clone(), ..a.clone() } == *b
        })
}
