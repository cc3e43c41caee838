//! An answer before it meets the connection: status, headers and a whole or streamed body.

use crate::script::Script;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Payload,
}

/// What follows the head.
#[derive(Debug)]
pub(crate) enum Payload {
    Whole(Bytes),
    Events(Box<Script>),
}

impl Answer {
    pub(crate) fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let answer = Self { status, headers: Vec::new(), body: Payload::Whole(body.into()) };
        if content_type.is_empty() { answer } else { answer.header("content-type", content_type) }
    }

    pub(crate) fn events(content_type: &'static str, script: Script) -> Self {
        let body = Payload::Events(Box::new(script));
        Self { status: StatusCode::OK, headers: Vec::new(), body }.header("content-type", content_type)
    }

    /// Adds a header; a value that no header may have is left out.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((HeaderName::from_static(name), value));
        }
        self
    }
}
