//! Streams that are no generation: the progress of a pull, push or create, line by line.

use super::{Spec, Wire};
use bytes::Bytes;

/// Lines that are already written; `spec` gives only the pace.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) spec: Spec,
    pub(crate) lines: Vec<Bytes>,
}

impl Wire for Lines {
    fn stream_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn opening(&self) -> Vec<Bytes> {
        Vec::new()
    }

    fn token(&self, index: usize, _text: &str) -> Bytes {
        self.lines.get(index).cloned().unwrap_or_default()
    }

    fn closing(&self) -> Vec<Bytes> {
        self.lines.last().cloned().into_iter().collect()
    }

    fn failure(&self, message: &str) -> Bytes {
        super::ndjson(crate::json::obj! { "error": message })
    }

    fn unfinished(&self) -> Bytes {
        Bytes::from_static(b"{\"status\":\"")
    }

    fn whole(&self) -> Bytes {
        self.lines.last().cloned().unwrap_or_default()
    }

    fn spec(&self) -> &Spec {
        &self.spec
    }
}
