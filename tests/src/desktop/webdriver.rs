//! The app's window through WebDriver: what its page shows, and clicks in it.

use super::{
    app::{built, free_port},
    screen::{Ended, Screen},
    wait_for,
};
use crate::house::http;
use serde_json::{Value, json};
use std::{
    fs::File,
    process::{Command, Stdio},
    time::Duration,
};

/// Longest that one question may take; the first one starts the app.
const ANSWER: Duration = Duration::from_secs(60);
/// Under which an answer names an element (W3C WebDriver, section 12).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// An app that is driven, and its driver. Both end when it is dropped.
pub struct Browser {
    http: reqwest::Client,
    session: String,
    driver: Ended,
    log: std::path::PathBuf,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked to end, the driver ends the app; killed, it would leave it behind.
        let _ = Command::new("kill").args(["-TERM", &self.driver.0.id().to_string()]).status();
        let _ = self.driver.0.wait();
        if std::thread::panicking() {
            eprintln!(
                "the driver and the app said:\n{}",
                std::fs::read_to_string(&self.log).unwrap_or_default()
            );
        }
    }
}

/// An element of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element(String);

impl Browser {
    /// Starts the app with these arguments, and waits until its window shows a page.
    ///
    /// # Errors
    /// When the driver is not installed or the app is not built.
    ///
    /// # Panics
    /// When the window does not come.
    pub async fn open(screen: &Screen, args: &[&str]) -> Result<Self, String> {
        let port = free_port();
        let log = screen.home().join("driver.log");
        let file = || File::create(&log).map_err(|why| why.to_string());
        let mut command = Command::new("WebKitWebDriver");
        command.args(["--host=127.0.0.1", &format!("--port={port}")]);
        screen.furnish(&mut command).map_err(|why| why.to_string())?;
        command.env("TAURI_AUTOMATION", "true").env("TAURI_WEBVIEW_AUTOMATION", "true");
        let log_file = file()?;
        let again = log_file.try_clone().map_err(|why| why.to_string())?;
        let child = command.stdin(Stdio::null()).stdout(log_file).stderr(again).spawn();
        let driver = Ended(child.map_err(|why| format!("WebKitWebDriver: {why}"))?);
        let (http, base) = (http(), format!("http://127.0.0.1:{port}"));
        wait_for("the driver", async || http.get(format!("{base}/status")).send().await.ok()).await;
        let options = json!({ "binary": built()?, "args": args });
        let wanted = json!({ "capabilities": { "alwaysMatch": { "webkitgtk:browserOptions": options } } });
        let mut browser = Self { http, session: format!("{base}/session"), driver, log };
        let answer = browser.post("", &wanted).await;
        let id = answer["sessionId"].as_str().expect("a session").to_owned();
        browser.session = format!("{}/{id}", browser.session);
        Ok(browser)
    }

    /// The address of the page.
    pub async fn url(&self) -> String {
        self.get("/url").await.as_str().unwrap_or_default().into()
    }

    /// The windows that can be driven.
    pub async fn windows(&self) -> usize {
        self.get("/window/handles").await.as_array().map_or(0, Vec::len)
    }

    /// Runs a script in the page; `return` gives its value.
    pub async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] })).await
    }

    /// Runs a script that gives its value to the function `done`.
    pub async fn run_until_done(&self, script: &str) -> Value {
        let script = format!("const done = arguments[arguments.length - 1]; {script}");
        self.post("/execute/async", &json!({ "script": script, "args": [] })).await
    }

    /// All text on the page, as drawn; a space that does not break is a space.
    pub async fn text(&self) -> String {
        let text = self.run("return document.body.innerText").await;
        text.as_str().unwrap_or_default().replace('\u{a0}', " ")
    }

    /// Waits until the page shows this text.
    ///
    /// # Panics
    /// When it does not; the message holds what it shows.
    pub async fn shows(&self, text: &str) {
        let mut last = String::new();
        let start = std::time::Instant::now();
        while !last.contains(text) {
            assert!(start.elapsed() < super::PATIENCE, "the page does not show {text:?}, but:\n{last}");
            last = self.text().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the page does not show this text any more.
    ///
    /// # Panics
    /// When it stays.
    pub async fn shows_no_more(&self, text: &str) {
        wait_for(&format!("{text:?} to go"), async || (!self.text().await.contains(text)).then_some(()))
            .await;
    }

    /// Waits for the element of a CSS selector.
    ///
    /// # Panics
    /// When there is none.
    pub async fn element(&self, selector: &str) -> Element {
        let wanted = json!({ "using": "css selector", "value": selector });
        wait_for(selector, async || {
            let found = self.ask("/element", &wanted).await.ok()?;
            Some(Element(found[ELEMENT].as_str()?.to_owned()))
        })
        .await
    }

    /// Clicks an element, as a mouse does.
    pub async fn click(&self, element: &Element) {
        self.post(&format!("/element/{}/click", element.0), &json!({})).await;
    }

    async fn get(&self, path: &str) -> Value {
        let asked = self.http.get(format!("{}{path}", self.session)).timeout(ANSWER).send().await;
        let answer: Value = asked.expect("the driver answers").json().await.expect("JSON");
        answer["value"].clone()
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        self.ask(path, body).await.unwrap_or_else(|why| panic!("WebDriver {path}: {why}"))
    }

    async fn ask(&self, path: &str, body: &Value) -> Result<Value, String> {
        let asked = self.http.post(format!("{}{path}", self.session)).timeout(ANSWER).json(body).send().await;
        let answer = asked.map_err(|why| why.to_string())?;
        let (good, mut body) =
            (answer.status().is_success(), answer.json::<Value>().await.map_err(|why| why.to_string())?);
        if good { Ok(body["value"].take()) } else { Err(body.to_string()) }
    }
}
