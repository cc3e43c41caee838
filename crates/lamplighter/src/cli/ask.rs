//! Asks the running gateway.

use crate::control_file::{self, ControlFile, Whose};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A name as one part of a path: whatever stands in it names nothing else.
pub fn segment(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    name.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The running gateway, and the way to ask it.
pub struct Running {
    file: ControlFile,
    http: Client,
}

impl Running {
    /// Finds it.
    ///
    /// # Errors
    /// When none runs, and how to start one.
    pub fn find(whose: &Whose) -> Result<Self, String> {
        let file = control_file::find(whose).ok_or_else(|| {
            let nobody = "no Lamplighter is running";
            match whose {
                Whose::Default => format!("{nobody}: start the app, or run `lamplighter serve`"),
                Whose::Config(path) => {
                    let path = path.display();
                    format!("{nobody} with {path}: run `lamplighter serve --config {path}`")
                }
                Whose::Demo => {
                    format!("{nobody} with the simulated fleet: run `lamplighter serve --demo`")
                }
            }
        })?;
        Ok(Self { file, http: crate::engines::http_client() })
    }

    /// A question to the control API.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.send(Method::GET, path)
    }

    /// Any request to the control API.
    pub fn send(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}/control/v1/{path}", self.file.url))
            .bearer_auth(&self.file.token)
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.file.url
    }

    /// Asks and reads the answer, within 5 s.
    ///
    /// # Errors
    /// In words.
    pub async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        self.read(self.get(path).timeout(Duration::from_secs(5))).await
    }

    /// Sends a question and reads the answer.
    ///
    /// # Errors
    /// In words.
    pub async fn read<T: DeserializeOwned>(&self, question: RequestBuilder) -> Result<T, String> {
        let answer = question.send().await.map_err(|error| self.silent(&error))?;
        self.is_good(&answer)?;
        answer.json().await.map_err(|error| format!("Lamplighter's answer cannot be read: {error}"))
    }

    /// An answer that is none.
    ///
    /// # Errors
    /// In words.
    pub fn is_good(&self, answer: &Response) -> Result<(), String> {
        if answer.status().is_success() {
            return Ok(());
        }
        Err(format!("Lamplighter at {} answered {}", self.file.url, answer.status()))
    }

    /// Why it does not answer.
    pub fn silent(&self, error: &reqwest::Error) -> String {
        format!("Lamplighter (process {}) does not answer at {}: {error}", self.file.pid, self.file.url)
    }
}

/// Runs one question to its end.
///
/// # Errors
/// The question's own.
pub fn block_on<T>(question: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("cannot start: {error}"))?.block_on(question)
}

/// Resolves when a person has had enough: Ctrl-C. From then on nothing else ends the process at that key.
pub async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
