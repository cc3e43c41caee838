//! A quick sign of life while requests are open: any HTTP answer will do, for the question is only whether the node is there.

use http::{HeaderValue, header::AUTHORIZATION};
use lamplighter_core::{
    health::{PROBE_TIMEOUT_MS, Report},
    node::Engine,
    node_url::NodeUrl,
};
use std::time::Duration;

/// Asks one node for a sign of life.
#[derive(Debug, Clone)]
pub struct Ping {
    http: reqwest::Client,
    url: NodeUrl,
    key: Option<HeaderValue>,
}

impl Ping {
    /// Asks the engine at `url`; `key` goes with it as it stands.
    #[must_use]
    pub fn new(http: reqwest::Client, url: NodeUrl, key: Option<HeaderValue>) -> Self {
        Self { http, url, key }
    }

    /// From now on it asks by this client.
    pub fn ask_by(&mut self, http: reqwest::Client) {
        self.http = http;
    }

    /// One ping. `None` when the answer proves neither life nor death: then the regular probe decides.
    pub async fn ask(self, engine: Option<Engine>) -> Option<Report> {
        let path = match engine {
            Some(Engine::Ollama) => "/api/version",
            Some(Engine::Llamacpp | Engine::Vllm) => "/health",
            Some(Engine::Lmstudio | Engine::Openai) | None => "/v1/models",
        };
        let mut request = self.http.get(self.url.join(path)).timeout(Duration::from_millis(PROBE_TIMEOUT_MS));
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key);
        }
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Some(Report::Answered),
            Ok(_) => None,
            Err(error) if error.is_timeout() => Some(Report::Silent("no answer in 2 s".into())),
            Err(error) if error.is_connect() => {
                Some(Report::Closed(format!("nothing answers at {}", self.url.authority())))
            }
            Err(_) => Some(Report::Silent("the connection broke".into())),
        }
    }
}
