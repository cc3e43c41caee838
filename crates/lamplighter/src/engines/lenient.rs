//! Reads lists of models as strangers write them: every field optional, every count and length bounded.

use lamplighter_core::model::Model;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::fmt;

/// Most models kept of one node; the rest of its list is skipped.
pub(super) const MAX_MODELS: usize = 10_000;
/// Longest model name, in bytes.
pub(super) const MAX_NAME_BYTES: usize = 256;
/// Longest entry of a list that is read at all, in bytes.
const MAX_ENTRY_BYTES: usize = 64 << 10;

/// The entries of the array `data` or `models` of a JSON object, read by `read`; a bad entry is skipped alone.
///
/// `null` is the empty list (Ollama's `/v1/models` without a model). `None`: no JSON object with such a field.
pub(super) fn entries<T>(body: &[u8], field: Field, read: impl FnMut(&Value) -> Option<T>) -> Option<Vec<T>> {
    #[derive(Deserialize)]
    struct Top<'a> {
        #[serde(borrow, default, deserialize_with = "even_null")]
        data: Option<&'a RawValue>,
        #[serde(borrow, default, deserialize_with = "even_null")]
        models: Option<&'a RawValue>,
    }
    let text = String::from_utf8_lossy(body);
    let top: Top<'_> = serde_json::from_str(&text).ok()?;
    let list = match field {
        Field::Data => top.data,
        Field::Models => top.models,
    }?;
    if list.get() == "null" {
        return Some(Vec::new());
    }
    serde_json::Deserializer::from_str(list.get()).deserialize_seq(Capped(read)).ok()
}

/// serde takes a `null` for an absent field; here it is one that is there.
fn even_null<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// Where a list stands.
#[derive(Clone, Copy)]
pub(super) enum Field {
    /// OpenAI's shape.
    Data,
    /// Ollama's shape.
    Models,
}

/// Each name once, at most [`MAX_MODELS`] of them, in the order of the node.
pub(super) fn unique(mut models: Vec<Model>) -> Vec<Model> {
    let mut seen = HashSet::new();
    models.retain(|model| seen.insert(model.name.clone()));
    models
}

/// A JSON object; `None` for anything else.
pub(super) fn object(body: &[u8]) -> Option<Value> {
    serde_json::from_slice::<Value>(body).ok().filter(Value::is_object)
}

/// The first of these fields that holds a usable model name.
pub(super) fn name(entry: &Value, fields: &[&str]) -> Option<String> {
    fields.iter().find_map(|field| entry.get(field)?.as_str().filter(|name| is_name(name)).map(str::to_owned))
}

/// Is this a name that can be listed, logged and shown?
pub(super) fn is_name(name: &str) -> bool {
    !name.trim().is_empty() && name.len() <= MAX_NAME_BYTES && !name.chars().any(char::is_control)
}

/// A short text that is not empty; longer than 128 characters or with control characters is none.
pub(super) fn text(entry: &Value, field: &str) -> Option<String> {
    let text = entry.get(field)?.as_str()?;
    let good = !text.is_empty() && text.len() <= 128 && !text.chars().any(char::is_control);
    good.then(|| text.to_owned())
}

/// A count of bytes; 0 means that the engine does not tell.
pub(super) fn bytes(entry: &Value, field: &str) -> Option<u64> {
    entry.get(field)?.as_u64().filter(|bytes| *bytes > 0)
}

/// A context length in tokens; 0 means that the engine does not tell.
pub(super) fn tokens(entry: &Value, field: &str) -> Option<u32> {
    entry.get(field)?.as_u64().and_then(|tokens| u32::try_from(tokens).ok()).filter(|tokens| *tokens > 0)
}

/// The words of an array; what is no text is left out.
pub(super) fn words<'a>(entry: &'a Value, field: &str) -> Vec<&'a str> {
    entry
        .get(field)
        .and_then(Value::as_array)
        .map_or_else(Vec::new, |all| all.iter().filter_map(Value::as_str).collect())
}

/// A version as the engine tells it.
pub(super) fn version(entry: &Value, field: &str) -> Option<String> {
    text(entry, field).filter(|version| version.len() <= 64)
}

struct Capped<F>(F);

impl<'de, T, F: FnMut(&Value) -> Option<T>> Visitor<'de> for Capped<F> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < MAX_MODELS {
            let Some(raw) = list.next_element::<&'de RawValue>()? else { return Ok(kept) };
            let entry =
                (raw.get().len() <= MAX_ENTRY_BYTES).then(|| serde_json::from_str(raw.get()).ok()).flatten();
            kept.extend(entry.and_then(|entry| (self.0)(&entry)));
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names(body: &str) -> Option<Vec<String>> {
        entries(body.as_bytes(), Field::Data, |entry| name(entry, &["id"]))
    }

    #[test]
    fn a_bad_entry_spoils_only_itself() {
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        let body = json!({"data": [{"id": "a"}, null, 7, {"id": 7}, {"id": ""}, {"id": long}, {"id": "b\u{7}"}, {"id": "c"}]});
        assert_eq!(names(&body.to_string()), Some(vec!["a".into(), "c".into()]));
    }

    #[test]
    fn what_is_no_list_is_none_and_null_is_empty() {
        assert_eq!(names(r#"{"object":"list","data":null}"#), Some(vec![]));
        assert_eq!(names(r#"{"data":[]}"#), Some(vec![]));
        for body in
            ["", "null", "[]", "{}", r#"{"error":"x"}"#, r#"{"data":{}}"#, r#"{"data":"x"}"#, "<html>"]
        {
            assert_eq!(names(body), None, "{body}");
        }
    }

    #[test]
    fn a_bomb_of_models_is_cut_and_deep_entries_are_skipped() {
        let many: Vec<String> = (0..200_000).map(|n| format!(r#"{{"id":"m{n}"}}"#)).collect();
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let body = format!(r#"{{"data":[{deep},{}]}}"#, many.join(","));
        let kept = names(&body).unwrap();
        assert_eq!((kept.len(), kept[0].as_str()), (MAX_MODELS, "m0"));
    }

    #[test]
    fn broken_utf8_in_one_name_leaves_the_others() {
        let body = b"{\"data\":[{\"id\":\"a\"},{\"id\":\"b\xff\"}]}";
        let kept = entries(body, Field::Data, |entry| name(entry, &["id"])).unwrap();
        assert_eq!(kept.len(), 2);
    }

    #[test]
    fn each_name_once() {
        let model = |name: &str| Model { name: name.into(), ..Model::default() };
        let kept = unique(vec![model("a"), model("b"), model("a")]);
        assert_eq!(kept.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }
}
