//! The book of a fake node: what it sent on each stream and how each one ended, to be held beside what arrived.

use crate::events::now_ns;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It has not.
    Open,
    /// With its terminal marker.
    Whole,
    /// Its client went away.
    ClientGone,
}

/// One stream.
#[derive(Debug, Clone, Serialize)]
pub struct Sent {
    /// Events without the terminal marker.
    pub events: u64,
    /// Of the body, without its framing; set at the end.
    pub sha256: String,
    /// The end.
    pub end: End,
    /// When it ended, in nanoseconds since 1970.
    pub at_ns: u64,
}

/// All streams that carried an `x-request-id`, by it.
#[derive(Debug, Clone, Default)]
pub struct Book(Arc<Mutex<BTreeMap<String, Sent>>>);

impl Book {
    /// Opens the page of one stream. A second request of the same id begins it anew.
    pub fn open(&self, id: &str) -> Page {
        let sent = Sent { events: 0, sha256: String::new(), end: End::Open, at_ns: 0 };
        self.lock().insert(id.to_owned(), sent);
        Page { book: self.clone(), id: id.to_owned(), events: 0, hash: Some(Sha256::new()) }
    }

    /// Everything so far, as JSON.
    pub fn json(&self) -> String {
        serde_json::json!(*self.lock()).to_string()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Sent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The page of one stream. Dropped before its end, it says that the client went away.
#[derive(Debug)]
pub struct Page {
    book: Book,
    id: String,
    events: u64,
    hash: Option<Sha256>,
}

impl Page {
    /// Notes events that are handed to the connection.
    pub fn sent(&mut self, body: &[u8], events: u64) {
        self.events += events;
        if let Some(hash) = &mut self.hash {
            hash.update(body);
        }
    }

    /// Notes how it ended; the first word counts.
    pub fn ends(&mut self, end: End) {
        let Some(hash) = self.hash.take() else { return };
        if let Some(sent) = self.book.lock().get_mut(&self.id) {
            *sent = Sent { events: self.events, sha256: hex(&hash.finalize()), end, at_ns: now_ns() };
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.ends(End::ClientGone);
    }
}

/// Bytes as hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_dropped_says_that_the_client_went() {
        let book = Book::default();
        let mut whole = book.open("a");
        whole.sent(b"abc", 2);
        let cut = book.open("b");
        assert_eq!(book.lock()["b"].end, End::Open);
        whole.ends(End::Whole);
        drop((whole, cut));
        let lines = book.lock();
        assert_eq!((lines["a"].end, lines["a"].events), (End::Whole, 2));
        assert_eq!(
            lines["a"].sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-4, example "abc"
        );
        assert_eq!((lines["b"].end, lines["b"].events), (End::ClientGone, 0));
    }
}
