//! A node that refuses us (401), or what is asked of it (403).

use super::{tries::Again, trip::Trip};
use crate::{dialects, upstream::Upstream};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use lamplighter_core::{fleet::Node, route::Candidate};
use memchr::memmem;

/// What is shorter than this is no key worth hiding, and stands in many a text.
const KEY_BYTES: usize = 4;

impl Trip {
    /// Notes what a refusal shows about the node; what it met in words, and whether it may be asked again.
    ///
    /// 401 is about our key, which no client can mend: nobody asks there for a while. 403 may be about this very request
    /// (moderation) or about its model (what the key may use), so the node stays, and the client gets its words.
    pub(super) fn refused(
        &mut self,
        candidate: &Candidate,
        node: &Node,
        upstream: &Upstream,
        response: Response<Bytes>,
    ) -> (String, Again) {
        let registry = &self.proxy.registry;
        let status = response.status();
        let response = response.map(|body| without_key(body, upstream.key()));
        // A model that the node itself gets from elsewhere is refused there: the node's other models are as before.
        let is_remote = node.models.iter().any(|m| m.name == *candidate.model && m.remote);
        if is_remote {
            let why = format!("cannot serve it: refused ({}) where it comes from", status.as_u16());
            registry.blocked(candidate.node, &candidate.model, why);
        }
        if status == StatusCode::FORBIDDEN {
            if !is_remote {
                registry.forbidden(candidate.node, upstream, &candidate.model);
            }
            let name = node.name().to_owned();
            self.last_error = Some((Box::new(response), name, candidate.model.clone()));
            return ("it refuses this request (403)".to_owned(), Again::No);
        }
        let words = format!("it refuses us ({}): check its api_key", status.as_u16());
        if !is_remote {
            registry.refused_at_work(candidate.node, upstream, words.clone());
        }
        match dialects::said(response.body()) {
            Some(said) => (format!("{words} (it says: {said})"), Again::Never),
            None => (words, Again::Never),
        }
    }
}

/// What a node says of our key may quote it.
fn without_key(body: Bytes, key: Option<&HeaderValue>) -> Bytes {
    let key = key.map(HeaderValue::as_bytes).and_then(|key| key.strip_prefix(b"Bearer "));
    let Some(key) = key.filter(|key| key.len() >= KEY_BYTES) else { return body };
    let (mut clean, mut from) = (Vec::new(), 0);
    for at in memmem::find_iter(&body, key) {
        clean.extend_from_slice(&body[from..at]);
        clean.extend_from_slice(b"***");
        from = at + key.len();
    }
    if from == 0 {
        return body;
    }
    clean.extend_from_slice(&body[from..]);
    clean.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_comes_down() {
        let key = HeaderValue::from_static("Bearer sk-1234");
        let clean = |body: &'static str| without_key(Bytes::from(body), Some(&key));
        assert_eq!(clean(r#"{"error":"bad key sk-1234, (sk-1234)"}"#), r#"{"error":"bad key ***, (***)"}"#);
        assert_eq!(clean(r#"{"error":"no"}"#), r#"{"error":"no"}"#);
    }
}
