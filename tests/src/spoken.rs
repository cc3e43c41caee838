//! A command that goes on speaking: `serve`, `status --watch`.

use crate::house::PATIENCE;
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A running command whose output is read as it comes. Killed on drop.
pub struct Spoken {
    /// Its process.
    pub child: Child,
    said: Arc<Mutex<String>>,
}

impl Spoken {
    /// Starts it.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let (out, said) = (child.stdout.take().expect("piped"), Arc::<Mutex<String>>::default());
        let keep = said.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                keep.lock().unwrap_or_else(PoisonError::into_inner).push_str(&(line + "\n"));
            }
        });
        Self { child, said }
    }

    /// What it has said so far.
    #[must_use]
    pub fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has said what is wanted.
    ///
    /// # Panics
    /// When that does not come.
    pub async fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        while !wanted(&self.said()) {
            assert!(began.elapsed() < PATIENCE, "{what} did not come: {}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.said()
    }

    /// Waits for its end. Exit code and errors.
    ///
    /// # Panics
    /// When it does not end.
    #[must_use]
    pub fn end(&mut self) -> (Option<i32>, String) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("its state can be asked") {
                let mut said = String::new();
                let log = self.child.stderr.take();
                log.expect("piped").read_to_string(&mut said).expect("it can be read");
                return (status.code(), said);
            }
            assert!(began.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// For a `serve`: its ready line.
    ///
    /// # Panics
    /// When there is none.
    pub async fn ready(&self) -> Value {
        let line = self.until("the ready line", |said| said.contains('\n')).await;
        serde_json::from_str(&line).expect("the ready line is JSON")
    }
}

impl Drop for Spoken {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
