//! Asks the running gateway.

use crate::control_file::{self, ControlFile, Whose};
use reqwest::{Client, Method, RequestBuilder};
use serde::de::DeserializeOwned;
use std::time::Duration;

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
            let with = match whose {
                Whose::Default => String::new(),
                Whose::Config(path) => format!(" --config {}", path.display()),
                Whose::Demo => " --demo".into(),
            };
            format!("no Lamplighter is running{with}: start the app, or `lamplighter serve{with}`")
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
        let answer = self
            .get(path)
            .timeout(Duration::from_secs(5))
            .send()
            .await
            .map_err(|error| self.silent(&error))?;
        if !answer.status().is_success() {
            return Err(format!("Lamplighter at {} answered {}", self.file.url, answer.status()));
        }
        answer.json().await.map_err(|error| format!("Lamplighter's answer cannot be read: {error}"))
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
