//! Does a node's error say that it lacks the model?

use serde_json::Value;

/// So much of a message is looked at: what comes later may be an echo of the prompt.
const HEAD_BYTES: usize = 200;

/// Does an error of that status say that the node lacks the model? Four shapes of it: Ollama 404 `model 'x' not found` (ollama
/// `server/routes.go`), vLLM 404 `The model `x` does not exist.` with type `NotFoundError`, llama.cpp's router 400 `model 'x' not
/// found` (llama.cpp `tools/server`), OpenAI 404 `model_not_found`.
///
/// Whoever is believed here loses the model for everybody. A 400 mostly is about something else and quotes what was sent, so
/// there the message must begin with the engine's own words.
#[must_use]
pub fn says_model_absent(status: u16, body: &[u8]) -> bool {
    let told: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = if told["error"].is_object() { &told["error"] } else { &told };
    if ["code", "type"].iter().any(|field| error[*field] == "model_not_found") {
        return true;
    }
    let message = [&told["error"], &error["message"]].into_iter().find_map(Value::as_str);
    let message = match message {
        Some(message) => message.as_bytes(),
        None if told.is_null() => body,
        None => return false,
    };
    let head = message.trim_ascii_start();
    let head = String::from_utf8_lossy(&head[..head.len().min(HEAD_BYTES)]).to_ascii_lowercase();
    match status {
        400 => begins_with_it(&head),
        404 => head.contains("model") && (head.contains("not found") || head.contains("does not exist")),
        _ => false,
    }
}

/// `model 'x' not found`, in quotes of any kind.
fn begins_with_it(head: &str) -> bool {
    let Some(name) = head.strip_prefix("model ") else { return false };
    let Some(quote) = name.chars().next().filter(|quote| matches!(quote, '\'' | '"' | '`')) else {
        return false;
    };
    name[1..].split_once(quote).is_some_and(|(_, rest)| rest.starts_with(" not found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_engines_say_it_each_in_its_way() {
        for (status, body) in [
            (404, r#"{"error":"model 'x' not found"}"#),
            (404, r#"{"error":"model \"x\" not found, try pulling it first"}"#),
            (
                404,
                r#"{"object":"error","message":"The model `x` does not exist.","type":"NotFoundError","code":404}"#,
            ),
            (
                404,
                r#"{"error":{"message":"The model `x` does not exist.","type":"NotFoundError","code":404}}"#,
            ),
            (400, r#"{"error":{"code":400,"message":"model 'x' not found","type":"invalid_request_error"}}"#),
            (
                404,
                r#"{"error":{"message":"No access to x","type":"invalid_request_error","code":"model_not_found"}}"#,
            ),
            (404, r#"{"type":"error","error":{"type":"not_found_error","message":"model 'x' not found"}}"#),
            (404, "model not found"),
        ] {
            assert!(says_model_absent(status, body.as_bytes()), "{status} {body}");
        }
    }

    #[test]
    fn what_is_about_something_else_and_quotes_it_does_not() {
        let far = format!(
            r#"{{"error":{{"message":"1 validation error: {}model 'x' not found"}}}}"#,
            "y".repeat(250)
        );
        for (status, body) in [
            (
                400,
                r#"{"error":{"message":"bad tools: got 'the model was not found, it does not exist'","code":400}}"#,
            ),
            (
                400,
                r#"{"error":{"message":"1 validation error, input: \"model 'x' not found\"","type":"BadRequestError"}}"#,
            ),
            (400, r#"{"error":"model is required"}"#),
            (400, r#"{"error":"model 'x' does not support chat; 'y' not found"}"#),
            (400, "input: model 'x' not found"),
            (404, &far),
            (404, r#"{"detail":"Not Found"}"#),
            (404, r#"{"error":{"message":"page not found"},"input":"which model"}"#),
            (500, r#"{"error":"model 'x' not found"}"#),
            (404, ""),
        ] {
            assert!(!says_model_absent(status, body.as_bytes()), "{status} {body}");
        }
    }
}
