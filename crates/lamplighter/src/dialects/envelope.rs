//! The envelope of a request: the model and the stream flag, found in the raw bytes without parsing the rest.
//!
//! The body is forwarded as it came; only the value of `model` is ever replaced. So the scan must see what every parser sees:
//! it is strict ([`super::json`]), keys are compared decoded, a second `model` or `stream` is refused (another parser may take
//! the other one), and anything after the object is refused. Strings, the bulk of a prompt, are skipped with `memchr`.

use super::{conversation::Marks, json::Cursor};
use bytes::Bytes;
use lamplighter_core::refusal::Refusal;
use std::{borrow::Cow, ops::Range};

/// Longest name of a model, in bytes: it stands in errors, logs and lists.
const MODEL_CAP: usize = 512;
/// Streams the answer; every dialect calls it so.
const STREAM: &str = "stream";

/// What routing needs to know of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The model as the client wrote it, decoded.
    pub model: String,
    /// Where its value stands in the body, with the quotes.
    pub model_at: Range<usize>,
    /// Where a second field of the operation names a model too.
    pub also_at: Option<Range<usize>>,
    /// The value of `stream`, when there is one.
    pub stream: Option<bool>,
    /// Where it says which conversation it belongs to.
    pub marks: Marks,
}

/// Reads the envelope of a JSON body, in which the model stands under one of `model_names`. Where an operation has two names for
/// it, the first that is set counts.
///
/// # Errors
/// `Refusal::BadBody` that says what is wrong and, where it helps, at which byte.
pub fn read(body: &[u8], model_names: &[&str]) -> Result<Envelope, Refusal> {
    scan(body, model_names).map_err(|what| Refusal::BadBody { what })
}

/// The body with another model in it; every other byte as it was.
#[must_use]
pub fn with_model(body: &Bytes, envelope: &Envelope, model: &str) -> Bytes {
    let Envelope { model: asked, model_at, also_at, .. } = envelope;
    let also_says_other = also_at.as_ref().is_some_and(|at| body[at.clone()] != body[model_at.clone()]);
    if model == asked && !also_says_other {
        return body.clone();
    }
    let value = serde_json::Value::from(model).to_string();
    let mut places: Vec<&Range<usize>> = also_at.iter().chain([model_at]).collect();
    places.sort_by_key(|at| at.start);
    let mut edited = Vec::with_capacity(body.len() + places.len() * value.len());
    let mut from = 0;
    for at in places {
        edited.extend_from_slice(&body[from..at.start]);
        edited.extend_from_slice(value.as_bytes());
        from = at.end;
    }
    edited.extend_from_slice(&body[from..]);
    edited.into()
}

/// A name, and where it stands.
type Name = (String, Range<usize>);

/// What a body says under the names of the model, which are two at most.
struct Named<'n> {
    names: &'n [&'n str],
    said: [Option<Name>; 2],
}

impl<'n> Named<'n> {
    /// Takes in a value; `raw` is what stands at `at`.
    fn take(&mut self, key: &str, raw: &[u8], at: Range<usize>) -> Result<(), String> {
        let Some(said) = self.names.iter().position(|name| *name == key).and_then(|i| self.said.get_mut(i))
        else {
            return Ok(());
        };
        if said.is_some() {
            return Err("it names the model twice".into());
        }
        // Go leaves a field as it is that is said to be null.
        let model = if self.names.len() > 1 && raw == b"null" { String::new() } else { text(raw)? };
        *said = Some((model, at));
        Ok(())
    }

    /// The model that counts; and where else one is named. What is empty names none.
    fn model(self) -> Result<(Name, Option<Range<usize>>), String> {
        let is_there = self.said.iter().any(Option::is_some);
        let mut set = self.said.into_iter().flatten().filter(|(model, _)| !model.is_empty());
        let Some((model, at)) = set.next() else {
            return Err(format!("\"model\" is {}", if is_there { "empty" } else { "missing" }));
        };
        if model.len() > MODEL_CAP {
            return Err(format!("\"model\" is longer than {MODEL_CAP} bytes"));
        }
        Ok(((model, at), set.next().map(|(_, at)| at)))
    }
}

fn scan(body: &[u8], model_names: &[&str]) -> Result<Envelope, String> {
    let mut at = Cursor::new(body);
    at.skip_space();
    match at.peek() {
        None => return Err("it is empty, and should be a JSON object with a \"model\"".into()),
        Some(0xEF) => return Err("it starts with a byte order mark".into()),
        Some(b'{') => drop(at.take()),
        Some(_) => return Err("it is not a JSON object".into()),
    }
    let mut named = Named { names: model_names, said: [None, None] };
    let mut stream: Option<Option<bool>> = None;
    let mut marks = Marks::default();
    at.skip_space();
    if at.peek() == Some(b'}') {
        at.take();
    } else {
        loop {
            at.skip_space();
            let key = at.string()?;
            at.skip_space();
            at.expect(b':')?;
            at.skip_space();
            let value = marks.value(&mut at, body, &body[key.clone()])?;
            let key = key_among(&body[key], model_names)?;
            if key == Some(STREAM) {
                if stream.is_some() {
                    return Err("it has \"stream\" twice".into());
                }
                stream = Some(match &body[value] {
                    b"true" => Some(true),
                    b"false" => Some(false),
                    b"null" => None,
                    _ => return Err("\"stream\" must be true or false".into()),
                });
            } else if let Some(key) = key {
                named.take(key, &body[value.clone()], value)?;
            }
            at.skip_space();
            match at.take() {
                Some(b',') => {}
                Some(b'}') => break,
                _ => return Err(at.wrong("a comma or } is missing")),
            }
        }
    }
    at.skip_space();
    if !at.is_at_end() {
        return Err(at.wrong("something follows the JSON object"));
    }
    let ((model, model_at), also_at) = named.model()?;
    Ok(Envelope { model, model_at, also_at, stream: stream.flatten(), marks })
}

/// Which of the names that we look for the raw key (with its quotes) is. Escapes count decoded: `"mod\u0065l"` is `model`.
///
/// Go's parser, which is Ollama's, takes `Model` for `model` and `ſtream` for `stream` (encoding/json, "foldName"), others do
/// not: such a key means different things to different nodes.
fn key_among<'n>(raw: &[u8], names: &[&'n str]) -> Result<Option<&'n str>, String> {
    let inner = &raw[1..raw.len() - 1];
    let decoded: Cow<'_, str> = match memchr::memchr(b'\\', inner) {
        None => match std::str::from_utf8(inner) {
            Ok(key) => key.into(),
            Err(_) => return Ok(None),
        },
        // A lone surrogate makes a key that is none of ours.
        Some(_) => match serde_json::from_slice::<String>(raw) {
            Ok(key) => key.into(),
            Err(_) => return Ok(None),
        },
    };
    let mut wanted = names.iter().copied().chain([STREAM]);
    if let Some(name) = wanted.clone().find(|name| *name == decoded) {
        return Ok(Some(name));
    }
    match wanted.find(|name| decoded.chars().map(folded).eq(name.chars())) {
        Some(name) => Err(format!("it has {decoded:?}: write {name:?}")),
        None => Ok(None),
    }
}

/// A letter in its plain form, as Go compares keys.
fn folded(letter: char) -> char {
    match letter {
        'ſ' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    }
}

fn text(raw: &[u8]) -> Result<String, String> {
    if raw.first() != Some(&b'"') {
        return Err("\"model\" must be a text".into());
    }
    serde_json::from_slice(raw).map_err(|_| "\"model\" is not a valid JSON string".into())
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

    /// Ollama's own client always sends both names to `/api/show`, the unused one empty; the first that is set counts there
    /// (ollama `api/types.go`, `ShowRequest`; `server/routes.go`, `ShowHandler`).
    #[test]
    fn two_names_of_the_model_and_the_first_that_is_set_counts() {
        for (body, asked, edited) in [
            (r#"{"model":"a","name":""}"#, "a", r#"{"model":"real","name":""}"#),
            (
                r#"{"name":"a","model":"","verbose":true}"#,
                "a",
                r#"{"name":"real","model":"","verbose":true}"#,
            ),
            (r#"{"model":null,"name":"a"}"#, "a", r#"{"model":null,"name":"real"}"#),
            (r#"{"model":"a","name":"a"}"#, "a", r#"{"model":"real","name":"real"}"#),
            (r#"{"name":"b", "model": "a"}"#, "a", r#"{"name":"real", "model": "real"}"#),
        ] {
            let body = Bytes::from(body);
            let envelope = read(&body, &["model", "name"]).unwrap();
            assert_eq!(envelope.model, asked, "{body:?}");
            assert_eq!(with_model(&body, &envelope, "real"), edited);
        }
        let differing = Bytes::from(r#"{"model":"real","name":"ours"}"#);
        let envelope = read(&differing, &["model", "name"]).unwrap();
        assert_eq!(with_model(&differing, &envelope, "real"), r#"{"model":"real","name":"real"}"#);
        for (body, why) in [
            (r#"{"model":"a","name":"a","model":"a"}"#, "twice"),
            (r#"{"name":"a","name":"a"}"#, "twice"),
            (r#"{"name":"","model":""}"#, "empty"),
            (r#"{"name":7,"model":"a"}"#, "must be a text"),
        ] {
            let error = scan(body.as_bytes(), &["model", "name"]).unwrap_err();
            assert!(error.contains(why), "{body}: {error}");
        }
        assert!(read_model(r#"{"model":null}"#).is_err(), "where there is one name, it is to be a text");
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
            (r#"{"model":"a","x":[}]}"#, "value expected"),
            (r#"{"model":"a","x":[1}}"#, "brackets"),
            (r#"{"model":"a","x":"#, "a value is expected"),
            (r#"{"model":"a","x":[1}"#, "brackets"),
            (r#"{"model":"a","Model":"b"}"#, "write \"model\""),
            (r#"{"model":"a","MODEL":"b"}"#, "write \"model\""),
            (r#"{"Model":"a"}"#, "write \"model\""),
            (r#"{"model":"a","\u017ftream":true}"#, "write \"stream\""),
            (r#"{"model":"a","Stream":true}"#, "write \"stream\""),
            ("{\"model\":\"a\",\"x\":['\"',\"model\":\"b\"]}", "value expected"),
            (r#"{"model":"a",/*"model":"b",*/"x":1}"#, "quoted text"),
            (r#"{"model":"a","x":[1,/*"]}*/2]}"#, "value expected"),
            ("{\"model\":\"a\0\"}", "control character"),
            (r#"{"model":"a","x":"\ud83d"} x"#, "follows"),
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
