//! Anthropic's routes.

use super::{House, openai::inference};
use axum::{
    Router,
    routing::{get, post},
};
use http::StatusCode;
use lamplighter_core::operation::Operation;

/// `/v1/messages…`
pub fn routes() -> Router<House> {
    Router::new()
        .route("/v1/messages", post(async |s, r| inference(Operation::Messages, s, r).await))
        .route("/v1/messages/count_tokens", post(async |s, r| inference(Operation::CountTokens, s, r).await))
        // Claude Code asks this before anything else (Claude Code documentation, "LLM gateway").
        .route("/api/hello", get(async || StatusCode::OK))
}
