//! The control API, `/control/v1`: what the tray, the window and the command line see. A token is needed for all but `health`.

mod act;
mod say;
mod wake;

use super::{House, call, openai::json};
use crate::control::{Control, Question};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Query, Request, State, rejection::QueryRejection},
    middleware::{self, Next},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
    routing::{delete, get, patch, post, put},
};
use futures::{Stream, StreamExt};
use http::{HeaderMap, StatusCode, header};
use lamplighter_core::{operation::Operation, refusal::Refusal};
pub use say::refuse;
use serde::Deserialize;
use serde_json::json;
use std::{convert::Infallible, sync::Arc, time::Duration};

/// Largest body of the control API.
const BODY_CAP: usize = 1 << 20;

/// Every route of the control API.
pub fn routes(control: Arc<Control>) -> Router<House> {
    Router::new()
        .route("/snapshot", get(snapshot))
        .route("/events", get(events))
        .route("/explain", get(explain))
        .route("/requests/{id}", delete(act::cancel))
        .route("/route", put(act::route))
        .route("/look", post(act::look))
        .route("/identify", post(act::identify))
        .route("/nodes", post(act::add_node))
        .route("/nodes/{name}", patch(act::change_node).delete(act::remove_node))
        .route("/nodes/{name}/load", post(act::load))
        .route("/nodes/{name}/unload", post(act::unload))
        .route("/nodes/{name}/wake", post(wake::wake).delete(wake::cancel))
        .route("/nodes/{name}/sleep", post(wake::sleep))
        .route("/nodes/{name}/home", post(wake::home))
        .route("/nodes/{name}/wakes", get(wake::wakes))
        .route("/prompts/{node}", post(wake::answer))
        .route("/availability", get(wake::availability))
        .route("/config", get(act::config).put(act::put_config))
        .route("/once", post(act::once))
        .route_layer(middleware::from_fn_with_state(control, with_token))
        .route("/health", get(health))
        .route("/session", post(act::session))
        .layer(DefaultBodyLimit::max(BODY_CAP))
}

async fn with_token(State(control): State<Arc<Control>>, request: Request, next: Next) -> Response {
    let presented = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if presented.and_then(|value| value.strip_prefix("Bearer ")).is_some_and(|token| control.is_token(token))
    {
        return next.run(request).await;
    }
    let body = json!({ "code": "token_needed", "message": "The control API wants its token.",
        "hint": "It stands in control.json of the running Lamplighter; `lamplighter open` hands it to a browser." });
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], axum::Json(body)).into_response()
}

async fn health(State(house): State<House>, headers: HeaderMap) -> Response {
    json(&json!({ "status": "ok", "version": house.control.version() }), &headers)
}

async fn snapshot(State(house): State<House>) -> Response {
    axum::Json(house.control.look()).into_response()
}

/// The whole snapshot at once, and again whenever it has changed.
async fn events(State(house): State<House>) -> Response {
    let ended = house.control.ended();
    let snapshots = house.control.snapshots().take_until(ended).map(|snapshot| {
        Ok::<_, Infallible>(Event::default().event("snapshot").json_data(&*snapshot).unwrap_or_default())
    });
    // Not `X-Accel-Buffering` alone: some proxies only look at the cache control.
    let alive = KeepAlive::new().interval(Duration::from_secs(10)).text("alive");
    ([(header::CACHE_CONTROL, "no-store")], Sse::new(boxed(snapshots)).keep_alive(alive)).into_response()
}

fn boxed<T>(stream: impl Stream<Item = T> + Send + 'static) -> futures::stream::BoxStream<'static, T> {
    stream.boxed()
}

#[derive(Deserialize)]
struct Explain {
    model: String,
    operation: Option<Operation>,
    node: Option<String>,
    session: Option<String>,
}

/// How a request for a model would be routed now, without sending it.
async fn explain(
    State(house): State<House>,
    asked: Result<Query<Explain>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let Ok(Query(asked)) = asked else {
        let what =
            "`explain` wants ?model=NAME, and may have &operation=chat_completions, &node=NAME and &session=ID".into();
        return refuse(&Refusal::BadRequest { what }, &call::request_id(&headers));
    };
    let operation = asked.operation.unwrap_or(Operation::ChatCompletions);
    let question = Question {
        model: &asked.model,
        operation,
        pin: asked.node.as_deref(),
        session: asked.session.as_deref(),
    };
    json(&house.control.explain(question), &headers)
}
