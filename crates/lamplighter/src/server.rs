//! The door: listeners, the gate in front of every route, and the routes themselves.

mod accept;
mod anthropic;
mod bind;
mod body;
mod call;
mod control;
mod guard;
mod keeper;
mod listeners;
mod manage;
mod ollama;
mod open_files;
mod openai;
mod pages;
mod reader;

pub use accept::Limits;
pub use bind::{Bound, Open, Taken, Unbound, bind, in_the_way};
pub use guard::{Guard, Keyring};
pub use keeper::{Keeper, guard, place, say};
pub use listeners::Door;

use crate::{control::Control, proxy::Proxy};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{Redirect, Response},
    routing::get,
};
use lamplighter_core::{operation::Dialect, refusal::Refusal};
use std::sync::Arc;

/// What the routes need.
#[derive(Debug, Clone)]
pub struct House {
    /// Serves requests that name a model.
    pub proxy: Arc<Proxy>,
    /// The control API's own needs.
    pub control: Arc<Control>,
}

/// Every route.
pub fn router(house: House) -> Router {
    Router::new()
        .merge(ollama::routes())
        .merge(openai::routes())
        .merge(anthropic::routes())
        // `/api/v1` is `/v1`: LM Studio's and OpenRouter's clients say so.
        .nest("/api", openai::routes().merge(anthropic::routes()))
        .nest("/control/v1", control::routes(house.control.clone()))
        .route("/ui", get(async || Redirect::permanent("/ui/")))
        .route("/ui/", get(pages::index))
        .route("/ui/{*path}", get(pages::file))
        .route("/favicon.ico", get(async || http::StatusCode::NO_CONTENT))
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(house)
}

/// The dialect in which an error on this path is told.
fn dialect_of(path: &str) -> Dialect {
    let v1 = path.strip_prefix("/api").unwrap_or(path);
    if v1.starts_with("/v1/messages") {
        Dialect::Anthropic
    } else if v1.starts_with("/v1") {
        Dialect::Openai
    } else if path.starts_with("/api") {
        Dialect::Ollama
    } else {
        Dialect::Openai
    }
}

async fn no_route(State(_): State<House>, request: Request) -> Response {
    refuse_on(&request, &Refusal::NoRoute { path: call::printable(request.uri().path(), 200) })
}

async fn wrong_method(State(_): State<House>, request: Request) -> Response {
    refuse_on(&request, &Refusal::WrongMethod)
}

/// A refusal in the dialect of the request's path.
fn refuse_on(request: &Request<Body>, refusal: &Refusal) -> Response {
    let id = call::request_id(request.headers());
    if request.uri().path().starts_with("/control/") {
        return control::refuse(refusal, &id);
    }
    crate::answer::refuse(dialect_of(request.uri().path()), refusal, &id)
}
