//! The envelope of a request: the model and the stream flag, found in the raw bytes without parsing the rest.
//!
//! The body is forwarded as it came; only the value of `model` is ever replaced. So the scan must see what a strict JSON
//! parser sees: keys are compared decoded, a second `model` or `stream` is refused (another parser may take the other one),
//! and anything after the object is refused. Strings, the bulk of a prompt, are skipped with `memchr`.

use bytes::Bytes;
use lamplighter_core::refusal::Refusal;
use memchr::memchr2;
use std::ops::Range;

/// Deepest nesting of arrays and objects in a request.
pub const MAX_DEPTH: usize = 128;

/// What routing needs to know of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The model as the client wrote it, decoded.
    pub model: String,
    /// Where its value stands in the body, with the quotes.
    pub model_at: Range<usize>,
    /// The value of `stream`, when there is one.
    pub stream: Option<bool>,
}

/// Reads the envelope of a JSON body.
///
/// # Errors
/// `Refusal::BadBody` that says what is wrong and, where it helps, at which byte.
pub fn read(body: &[u8], model_names: &[&str]) -> Result<Envelope, Refusal> {
    scan(body, model_names).map_err(|what| Refusal::BadBody { what })
}

/// The body with another model in it; every other byte as it was.
#[must_use]
pub fn with_model(body: &Bytes, envelope: &Envelope, model: &str) -> Bytes {
    if model == envelope.model {
        return body.clone();
    }
    let value = serde_json::Value::from(model).to_string();
    let mut edited = Vec::with_capacity(body.len() + value.len());
    edited.extend_from_slice(&body[..envelope.model_at.start]);
    edited.extend_from_slice(value.as_bytes());
    edited.extend_from_slice(&body[envelope.model_at.end..]);
    edited.into()
}

fn scan(body: &[u8], model_names: &[&str]) -> Result<Envelope, String> {
    let mut at = Cursor { body, at: 0 };
    at.skip_space();
    match at.peek() {
        None => return Err("it is empty, and should be a JSON object with a \"model\"".into()),
        Some(0xEF) => return Err("it starts with a byte order mark".into()),
        Some(b'{') => at.at += 1,
        Some(_) => return Err("it is not a JSON object".into()),
    }
    let mut model: Option<(String, Range<usize>)> = None;
    let mut stream: Option<Option<bool>> = None;
    at.skip_space();
    if at.peek() == Some(b'}') {
        at.at += 1;
    } else {
        loop {
            at.skip_space();
            let key = at.string()?;
            at.skip_space();
            at.expect(b':')?;
            at.skip_space();
            let value = at.value()?;
            if is_key(&body[key.clone()], model_names) {
                if model.is_some() {
                    return Err("it names the model twice".into());
                }
                model = Some((text(&body[value.clone()])?, value));
            } else if is_key(&body[key], &["stream"]) {
                if stream.is_some() {
                    return Err("it has \"stream\" twice".into());
                }
                stream = Some(match &body[value] {
                    b"true" => Some(true),
                    b"false" => Some(false),
                    b"null" => None,
                    _ => return Err("\"stream\" must be true or false".into()),
                });
            }
            at.skip_space();
            match at.next() {
                Some(b',') => {}
                Some(b'}') => break,
                _ => return Err(at.wrong("a comma or } is missing")),
            }
        }
    }
    at.skip_space();
    if at.at < body.len() {
        return Err(at.wrong("something follows the JSON object"));
    }
    let Some((model, model_at)) = model else { return Err("\"model\" is missing".into()) };
    if model.is_empty() {
        return Err("\"model\" is empty".into());
    }
    Ok(Envelope { model, model_at, stream: stream.flatten() })
}

/// Is the raw key (with its quotes) one of `names`? Escapes count decoded: `"mod\u0065l"` is `model`.
fn is_key(raw: &[u8], names: &[&str]) -> bool {
    let inner = &raw[1..raw.len() - 1];
    if memchr::memchr(b'\\', inner).is_none() {
        return names.iter().any(|name| name.as_bytes() == inner);
    }
    serde_json::from_slice::<String>(raw).is_ok_and(|key| names.contains(&key.as_str()))
}

fn text(raw: &[u8]) -> Result<String, String> {
    if raw.first() != Some(&b'"') {
        return Err("\"model\" must be a text".into());
    }
    serde_json::from_slice(raw).map_err(|_| "\"model\" is not a valid JSON string".into())
}

struct Cursor<'a> {
    body: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn wrong(&self, what: &str) -> String {
        format!("it is not valid JSON: {what}, near byte {}", self.at)
    }

    fn expect(&mut self, byte: u8) -> Result<(), String> {
        if self.next() == Some(byte) {
            Ok(())
        } else {
            Err(self.wrong(&format!("{:?} expected", byte as char)))
        }
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Skips a string; its range with the quotes.
    fn string(&mut self) -> Result<Range<usize>, String> {
        let start = self.at;
        if self.next() != Some(b'"') {
            return Err(self.wrong("a quoted text expected"));
        }
        loop {
            match memchr2(b'"', b'\\', &self.body[self.at..]) {
                None => return Err("it is not valid JSON: it ends inside a text".into()),
                Some(found) if self.body[self.at + found] == b'"' => {
                    self.at += found + 1;
                    return Ok(start..self.at);
                }
                // A backslash: what follows it cannot end the string.
                Some(found) => self.at += found + 2,
            }
            if self.at > self.body.len() {
                return Err("it is not valid JSON: it ends inside a text".into());
            }
        }
    }

    /// Skips a value of any kind; its range.
    fn value(&mut self) -> Result<Range<usize>, String> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => return self.string(),
            Some(b'{' | b'[') => self.container()?,
            Some(b't' | b'f' | b'n' | b'-' | b'0'..=b'9') => {
                let end = |b: &u8| matches!(b, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
                self.at += self.body[self.at..].iter().position(end).unwrap_or(self.body.len() - self.at);
                if serde_json::from_slice::<serde::de::IgnoredAny>(&self.body[start..self.at]).is_err() {
                    return Err(self.wrong("a value expected"));
                }
            }
            _ => return Err(self.wrong("a value expected")),
        }
        Ok(start..self.at)
    }

    /// Skips an array or object: brackets are matched, strings skipped, the rest is the node's to judge.
    fn container(&mut self) -> Result<(), String> {
        // One bit per level: which bracket closes it.
        let mut open: Vec<u8> = Vec::with_capacity(8);
        while self.at < self.body.len() {
            match self.body[self.at] {
                b'"' => {
                    self.string()?;
                    continue;
                }
                byte @ (b'{' | b'[') => {
                    if open.len() == MAX_DEPTH {
                        return Err(format!("it is nested deeper than {MAX_DEPTH} levels"));
                    }
                    open.push(byte + 2); // `}` and `]` stand two after their openers in ASCII
                }
                byte @ (b'}' | b']') => {
                    if open.pop() != Some(byte) {
                        return Err(self.wrong("brackets do not match"));
                    }
                    if open.is_empty() {
                        self.at += 1;
                        return Ok(());
                    }
                }
                _ => {}
            }
            self.at += 1;
        }
        Err("it is not valid JSON: it ends inside an array or object".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn read_model(body: &str) -> Result<Envelope, String> {
        scan(body.as_bytes(), &["model"])
    }

    #[test]
    fn finds_the_model_wherever_it_stands() {
        for body in [
            r#"{"model":"a:b","stream":true}"#,
            r#" { "messages" : [{"role":"user","content":"say \"model\": \"evil\" \\"}] , "stream" : true , "model" : "a:b" } "#,
            r#"{"options":{"model":"inner"},"mod\u0065l":"a:b","stream":true}"#,
            r#"{"n":-1.5e3,"x":null,"y":[true,false,{"model":[]}],"model":"a\u003ab","stream":true}"#,
        ] {
            let envelope = read_model(body).unwrap();
            assert_eq!((envelope.model.as_str(), envelope.stream), ("a:b", Some(true)), "{body}");
        }
    }

    #[test]
    fn only_the_model_changes() {
        let body = Bytes::from(r#"{"messages":[ 1,2 ], "model" : "coder","think":"high"}"#);
        let envelope = read(&body, &["model"]).unwrap();
        let edited = with_model(&body, &envelope, "say \"hi\":7b");
        assert_eq!(edited, r#"{"messages":[ 1,2 ], "model" : "say \"hi\":7b","think":"high"}"#);
        assert_eq!(with_model(&body, &envelope, "coder"), body);
    }

    #[test]
    fn what_is_not_one_clear_object_is_refused() {
        for (body, why) in [
            ("", "empty"),
            ("  ", "empty"),
            ("\u{feff}{}", "byte order mark"),
            ("[]", "not a JSON object"),
            ("{}", "\"model\" is missing"),
            (r#"{"model":"a","model":"b"}"#, "twice"),
            (r#"{"model":"a","mod\u0065l":"b"}"#, "twice"),
            (r#"{"model":"a","stream":true,"stream":false}"#, "twice"),
            (r#"{"model":7}"#, "must be a text"),
            (r#"{"model":""}"#, "empty"),
            (r#"{"model":"a","stream":"yes"}"#, "true or false"),
            (r#"{"model":"a"} {}"#, "follows"),
            (r#"{"model":"a""#, "comma or }"),
            (r#"{"model":"a","x":NaN}"#, "value expected"),
            (r#"{"model":"a","x":[}]}"#, "brackets"),
            (r#"{"model":"a","x":"#, "value expected"),
            (r#"{"model":"a\"#, "ends inside a text"),
            (r#"{"model":"\ud800"}"#, "not a valid JSON string"),
        ] {
            let error = read_model(body).unwrap_err();
            assert!(error.contains(why), "{body}: {error}");
        }
        let deep = format!(r#"{{"model":"a","x":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        assert!(read_model(&deep).unwrap_err().contains("128"));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC*".prop_map(Value::from),
            r#"["\\{}\[\],:a]{0,12}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[a-z\"\\\\]{0,5}", inner, 0..4).prop_map(|map| Value::from_iter(
                    map.into_iter().filter(|(k, _)| k != "model" && k != "stream")
                )),
            ]
        })
    }

    proptest! {
        /// The scan sees what a real parser sees, and an edit changes nothing else.
        #[test]
        fn agrees_with_a_parser(before in any_json(), after in any_json(), model in "\\PC{1,20}", pretty: bool) {
            let value = json!({ "a": before, "model": model, "z": after, "stream": false });
            let body = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let body = Bytes::from(body);
            let envelope = read(&body, &["model"]).unwrap();
            prop_assert_eq!(&envelope.model, &model);
            prop_assert_eq!(envelope.stream, Some(false));
            let mut wanted = value;
            wanted["model"] = json!("other");
            let edited: Value = serde_json::from_slice(&with_model(&body, &envelope, "other")).unwrap();
            prop_assert_eq!(edited, wanted);
        }

        /// Any bytes: no panic; what is accepted and is JSON is seen as the parser sees it.
        #[test]
        fn survives_anything(body in r#"[{}\[\]",:\\ a-z0-9\n]{0,60}"#) {
            if let (Ok(envelope), Ok(value)) = (scan(body.as_bytes(), &["model"]), serde_json::from_str::<Value>(&body)) {
                prop_assert_eq!(Some(envelope.model.as_str()), value["model"].as_str());
            }
        }
    }
}
