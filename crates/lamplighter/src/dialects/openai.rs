//! OpenAI's shapes that we write ourselves: errors and model lists (OpenAI API reference, "Error codes" and "Models").

use super::shown::{Named, Shown};
use bytes::Bytes;
use lamplighter_core::{catalogue::Entry, fleet::Fleet, operation::Dialect, refusal::Refusal};
use serde_json::{Value, json};

/// `{"error": {"message", "type", "param", "code"}}`
pub fn error_body(refusal: &Refusal, text: &str) -> Bytes {
    let kind = match refusal.status() {
        400 | 404 | 405 | 413 | 415 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        _ => "server_error",
    };
    let param =
        matches!(refusal, Refusal::ModelUnknown { .. } | Refusal::PinFailed { .. }).then_some("model");
    json!({ "error": { "message": text, "type": kind, "param": param, "code": refusal.code() } })
        .to_string()
        .into()
}

/// An error inside a stream: the SDKs raise on any event with an `error` object. No `[DONE]` follows.
pub fn error_event(code: &str, text: &str) -> Bytes {
    let error = json!({ "error": { "message": text, "type": "server_error", "param": null, "code": code } });
    format!("data: {error}\n\n").into()
}

/// `GET /v1/models`: what nodes serve in OpenAI's dialect, and the aliases.
#[must_use]
pub fn models(shown: Shown<'_>) -> Value {
    let listed = shown.entries(Dialect::Openai).map(|entry| entry_value(shown.fleet, entry));
    let aliases = shown.aliases(Dialect::Openai).map(|(name, _)| alias_value(name));
    json!({ "object": "list", "data": aliases.chain(listed).collect::<Vec<_>>() })
}

/// `GET /v1/models/{id}`: one of them.
#[must_use]
pub fn model(shown: Shown<'_>, name: &str) -> Option<Value> {
    let named = shown.named(name, Dialect::Openai)?;
    let mut value = match &named {
        Named::Own(name) | Named::Alias(name) => alias_value(name),
        Named::Model(entry, _) => entry_value(shown.fleet, entry),
    };
    value["id"] = named.name().into();
    Some(value)
}

fn entry_value(fleet: &Fleet, entry: &Entry) -> Value {
    let offers = || {
        entry
            .offers
            .iter()
            .map(|offer| (&fleet.nodes[offer.node], &fleet.nodes[offer.node].models[offer.model]))
    };
    let created =
        offers().find_map(|(_, model)| model.modified_at.as_deref().and_then(unix_seconds)).unwrap_or(0);
    let context = offers().filter_map(|(_, model)| model.context_tokens).max();
    let owner = offers().next().and_then(|(node, _)| node.engine).map_or("unknown", |engine| engine.word());
    let mut value = json!({ "id": entry.name, "object": "model", "created": created, "owned_by": owner });
    if let Some(context) = context {
        value["context_length"] = context.into(); // as OpenRouter's list has it; clients that know it use it
    }
    value
}

fn alias_value(name: &str) -> Value {
    json!({ "id": name, "object": "model", "created": 0, "owned_by": "lamplighter" })
}

/// Seconds since 1970 of an RFC 3339 time. `None` when it is not one.
pub fn unix_seconds(rfc3339: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| rfc3339.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let zone = rfc3339.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset_min = match zone.as_bytes() {
        [] | [b'Z' | b'z', ..] => 0,
        [sign @ (b'+' | b'-'), ..] => {
            let minutes = zone.get(1..3)?.parse::<i64>().ok()? * 60 + zone.get(4..6)?.parse::<i64>().ok()?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    // Days from the civil calendar, Howard Hinnant's algorithm.
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let of_era = y - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * 86_400 + hour * 3_600 + (minute - offset_min) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(unix_seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(unix_seconds("2026-08-21T12:30:00.123456789+02:00"), Some(1_787_308_200));
        assert_eq!(unix_seconds("0001-01-01T00:00:00Z"), Some(-62_135_596_800));
        assert_eq!(unix_seconds(""), None);
    }

    #[test]
    fn the_error_has_openais_shape() {
        let refusal = Refusal::ModelUnknown { model: "x".into(), similar: vec![], no_node: None };
        let body: Value = serde_json::from_slice(&error_body(&refusal, "text")).unwrap();
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert_eq!(body["error"]["code"], "model_not_found");
        assert_eq!(body["error"]["param"], "model");
    }
}
