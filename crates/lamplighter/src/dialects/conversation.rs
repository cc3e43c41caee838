//! Which conversation a body belongs to: what its client calls it, else how it begins.
//!
//! A conversation is known by its first user message. The bytes before it will not do: every session of a coding agent shares
//! the first kilobytes of its system prompt, and hashing those sends all of them to one node (sglang #26263). Nor will later
//! ones: they are other ones with every turn.

use super::json::Cursor;
use std::{hash::Hasher, ops::Range};

/// Longest part of a message that is looked at, in bytes.
const LOOK_BYTES: usize = 64 << 10;
/// Of a long text this much from its beginning and from its end is hashed, in bytes, and how long it is. Coding agents put their
/// standing instructions first, and what the person wrote last.
const HEAD_BYTES: usize = 512;
const TAIL_BYTES: usize = 1536;
/// A client's own name for a conversation is hashed up to here.
const NAME_BYTES: usize = 1024;

/// Where a body says which conversation it belongs to. Ranges of the raw body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marks {
    /// The first user message of `messages` or `input`, whole; or `input` itself, when it is a text.
    opening: Option<Range<usize>>,
    /// `prompt_cache_key`: requests with the same beginning (OpenAI API reference, chat and responses; Codex CLI sends its
    /// session there).
    cache_key: Option<Range<usize>>,
    /// `metadata`: Claude Code writes its session into `user_id` (Anthropic API reference, messages).
    metadata: Option<Range<usize>>,
    /// `previous_response_id` (OpenAI API reference, responses): the answer that this one goes on from, which only its own node
    /// knows.
    previous: Option<Range<usize>>,
}

/// What a body is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known<'a> {
    /// Its client's own name for the conversation, as raw JSON.
    Named(&'a [u8]),
    /// The first user message, as raw JSON.
    Opening(&'a [u8]),
}

impl Marks {
    /// Skips the value of the top-level key `key` (raw, with its quotes), and notes where it says something.
    ///
    /// # Errors
    /// As [`Cursor::value`]: noticing something makes nothing valid that was not.
    pub fn value(&mut self, at: &mut Cursor<'_>, body: &[u8], key: &[u8]) -> Result<Range<usize>, String> {
        if matches!(key, br#""messages""# | br#""input""#) && at.peek() == Some(b'[') {
            return self.messages(at, body);
        }
        let value = at.value()?;
        let mark = match key {
            br#""prompt_cache_key""# => &mut self.cache_key,
            br#""metadata""# => &mut self.metadata,
            br#""previous_response_id""# => &mut self.previous,
            br#""input""# if body[value.clone()].starts_with(b"\"") => &mut self.opening,
            _ => return Ok(value),
        };
        *mark = Some(value.clone());
        Ok(value)
    }

    /// Skips a list of messages one by one; the first of a user is noted.
    fn messages(&mut self, at: &mut Cursor<'_>, body: &[u8]) -> Result<Range<usize>, String> {
        at.expect(b'[')?;
        at.skip_space();
        let (mut start, mut end) = (None, 0);
        if at.peek() == Some(b']') {
            at.take();
            return Ok(0..0);
        }
        loop {
            at.skip_space();
            let message = at.value()?;
            start.get_or_insert(message.start);
            end = end.max(message.end);
            if self.opening.is_none() && is_of_user(&body[message.clone()]) {
                self.opening = Some(message);
            }
            at.skip_space();
            match at.take() {
                Some(b',') => {}
                Some(b']') => return Ok(start.unwrap_or(end)..end),
                Some(b'}') => return Err(at.wrong("brackets do not match")),
                Some(_) => return Err(at.wrong("a comma or a bracket is missing")),
                None => return Err("it is not valid JSON: it ends inside an array or object".into()),
            }
        }
    }

    /// What the body is known by, the surest first.
    #[must_use]
    pub fn known<'a>(&self, body: &'a [u8]) -> Option<Known<'a>> {
        let text = |range: &Option<Range<usize>>| {
            let raw = body.get(range.clone()?)?;
            // `null` and the empty text name nothing.
            (raw.starts_with(b"\"") && raw.len() > 2).then_some(raw)
        };
        let user = || user_with_session(body.get(self.metadata.clone()?)?);
        text(&self.previous)
            .or_else(|| text(&self.cache_key))
            .or_else(user)
            .map(Known::Named)
            .or_else(|| Some(Known::Opening(body.get(self.opening.clone()?)?)))
    }
}

/// Is it a user's message? Looked for in its first 64 KiB, and in its last field: a long message has its role at one end.
fn is_of_user(message: &[u8]) -> bool {
    let mut of_user = None;
    fields(message, |key, value| {
        if key == br#""role""# {
            of_user = Some(value == br#""user""#);
        }
        of_user.is_none()
    });
    of_user.unwrap_or_else(|| message.len() > LOOK_BYTES && ends_with_user(message))
}

/// `…,"role":"user"}`. Inside a text the quotes would be escaped.
fn ends_with_user(message: &[u8]) -> bool {
    let back = |rest: &'_ [u8], word: &[u8]| rest.trim_ascii_end().strip_suffix(word).map(<[u8]>::len);
    let words: [&[u8]; 4] = [b"}", br#""user""#, b":", br#""role""#];
    let left = words.iter().try_fold(message.len(), |end, word| back(&message[..end], word));
    left.is_some_and(|end| message[..end].trim_ascii_end().ends_with(b","))
}

/// `metadata.user_id`, when it says more than who asks: Claude Code writes `user_…_session_…`, or an object with a
/// `session_id`, into it.
fn user_with_session(metadata: &[u8]) -> Option<&[u8]> {
    let mut user = None;
    fields(metadata, |key, value| {
        if key == br#""user_id""# {
            user = Some(value);
        }
        user.is_none()
    });
    user.filter(|user| memchr::memmem::find(user, b"session").is_some())
}

/// Calls `see` with each key and value of an object until it says that it has seen enough.
fn fields<'a>(object: &'a [u8], mut see: impl FnMut(&[u8], &'a [u8]) -> bool) {
    let object = &object[..object.len().min(LOOK_BYTES)];
    let mut at = Cursor::new(object);
    if at.take() != Some(b'{') {
        return;
    }
    // The object is valid; where it was cut, reading it ends.
    let mut next = || -> Result<bool, String> {
        at.skip_space();
        let key = at.string()?;
        at.skip_space();
        at.expect(b':')?;
        at.skip_space();
        let value = at.value()?;
        let more = see(&object[key], &object[value]);
        at.skip_space();
        Ok(more && at.take() == Some(b','))
    };
    while next() == Ok(true) {}
}

impl Known<'_> {
    /// Hashes it. False when there is nothing in it to know it by.
    #[must_use]
    pub fn hash(self, hasher: &mut impl Hasher) -> bool {
        match self {
            Self::Named(raw) => {
                hasher.write(&raw[..raw.len().min(NAME_BYTES)]);
                true
            }
            Self::Opening(raw) => said(raw, hasher),
        }
    }
}

/// Hashes the texts of a message, whatever the form around them: a plain `content`, blocks with `text`, or a bare text. What
/// else stands there may change between two turns (`cache_control` moves on to the newest message).
fn said(message: &[u8], hasher: &mut impl Hasher) -> bool {
    let message = &message[..message.len().min(LOOK_BYTES)];
    let mut at = Cursor::new(message);
    if at.peek() == Some(b'"') {
        return at.string().is_ok_and(|text| write(&message[text], hasher));
    }
    let (mut anything, mut key_is_text) = (false, false);
    while let Some(byte) = at.peek() {
        if byte != b'"' {
            // Brackets, numbers and commas between texts: what a value's key was counts only for the value itself.
            key_is_text &= matches!(byte, b':' | b' ' | b'\t' | b'\n' | b'\r');
            at.take();
            continue;
        }
        let Ok(range) = at.string() else { break };
        let text = &message[range];
        at.skip_space();
        if at.peek() == Some(b':') {
            key_is_text = matches!(text, br#""content""# | br#""text""#);
        } else {
            anything |= std::mem::take(&mut key_is_text) && write(text, hasher);
        }
    }
    anything
}

/// Hashes a text with its quotes: all of a short one, beginning and end of a long one. False when it is empty.
fn write(text: &[u8], hasher: &mut impl Hasher) -> bool {
    hasher.write_usize(text.len());
    if text.len() <= HEAD_BYTES + TAIL_BYTES {
        hasher.write(text);
    } else {
        hasher.write(&text[..HEAD_BYTES]);
        hasher.write(&text[text.len() - TAIL_BYTES..]);
    }
    text.len() > 2
}

#[cfg(test)]
#[path = "conversation_tests.rs"]
mod tests;
