//! One request as the engines read it: its route, its JSON and what it wants generated.

use bytes::Bytes;
use http::request::Parts;
use serde_json::Value;

/// A request, read to its end.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
    json: Result<Value, serde_json::Error>,
}

impl Ask {
    pub(crate) fn new(head: Parts, body: Bytes) -> Self {
        let json = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body) };
        Self { head, body, json }
    }

    pub(crate) fn method(&self) -> &str {
        self.head.method.as_str()
    }

    pub(crate) fn path(&self) -> &str {
        self.head.uri.path()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A value of the query string, not decoded.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        let pairs = self.head.uri.query()?.split('&');
        pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The body, when it is well-formed JSON.
    pub(crate) fn json(&self) -> Option<&Value> {
        self.json.as_ref().ok()
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.json()?.get(key)
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        self.get(key)?.as_bool()
    }

    /// The largest number of tokens asked for, under the first of these names that is there.
    pub(crate) fn limit(&self, keys: &[&str]) -> Option<usize> {
        let limit = keys.iter().find_map(|key| self.get(key)?.as_i64())?;
        // Negative means no limit in Ollama and llama.cpp.
        usize::try_from(limit).ok()
    }

    /// A list that is there and has entries.
    pub(crate) fn has_items(&self, key: &str) -> bool {
        self.get(key).and_then(Value::as_array).is_some_and(|items| !items.is_empty())
    }

    /// `keep_alive` in seconds: a number, or a Go duration such as `"10m"`; `None` when absent.
    pub(crate) fn keep_alive_s(&self) -> Option<i64> {
        match self.get("keep_alive")? {
            Value::Number(number) => number.as_f64().map(|seconds| seconds as i64),
            Value::String(text) => go_seconds(text),
            _ => None,
        }
    }

    /// The strings of `input`, which may be one or a list.
    pub(crate) fn inputs(&self, key: &str) -> Vec<String> {
        match self.get(key) {
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// A stable estimate of the prompt: its words, and three tokens of template for each message.
    pub(crate) fn prompt_tokens(&self) -> u64 {
        let Some(json) = self.json() else { return 0 };
        ["messages", "prompt", "input", "system", "content"]
            .iter()
            .filter_map(|key| json.get(key))
            .map(words)
            .sum()
    }

    /// A number that is the same for the same path and body.
    pub(crate) fn seed(&self) -> u64 {
        let parts = [self.path().as_bytes(), &self.body];
        parts.iter().flat_map(|part| part.iter()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }
}

fn words(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.split_whitespace().count() as u64,
        Value::Array(items) => items.iter().map(words).sum(),
        Value::Object(fields) => {
            let template = if fields.contains_key("role") { 3 } else { 0 };
            let inner: u64 = ["content", "text"].iter().filter_map(|key| fields.get(*key)).map(words).sum();
            template + inner
        }
        _ => 0,
    }
}

/// Seconds of a Go duration (`"1h30m"`, `"-1s"`, `"500ms"`), rounded down; also plain digits.
fn go_seconds(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text),
    };
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        total += number.parse::<f64>().ok()?
            * match unit {
                "h" => 3600.0,
                "m" => 60.0,
                "s" | "" => 1.0,
                "ms" => 0.001,
                _ => return None,
            };
        rest = tail;
    }
    Some((sign * total) as i64)
}

#[cfg(test)]
mod tests {
    use super::go_seconds;

    #[test]
    fn go_durations() {
        assert_eq!(go_seconds("10m"), Some(600));
        assert_eq!(go_seconds("1h30m"), Some(5400));
        assert_eq!(go_seconds("-1s"), Some(-1));
        assert_eq!(go_seconds("500ms"), Some(0));
        assert_eq!(go_seconds("soon"), None);
    }
}
