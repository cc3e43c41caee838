//! Ollama's routes that manage models (ollama `server/routes.go`): who may ask for what.
//!
//! Together, `create` and `push` carry a machine's memory out of the house (CVE-2026-7482): they stay shut unless the
//! configuration file opens them.

use super::{
    House, call,
    guard::{Caller, Rights},
};
use crate::answer;
use axum::{Router, extract::Request, response::Response, routing::any};
use lamplighter_core::{operation::Dialect, refusal::Refusal};

/// `/api/pull`, `/api/create` and their kin. They refuse whatever the method is.
pub fn routes() -> Router<House> {
    Router::new()
        .route("/api/pull", any(async |r| refuse(Rights::Own, "Pulling a model", &r)))
        .route("/api/copy", any(async |r| refuse(Rights::Own, "Copying a model", &r)))
        .route("/api/create", any(async |r| refuse(Rights::Manage, "Creating a model", &r)))
        .route("/api/push", any(async |r| refuse(Rights::Manage, "Pushing a model", &r)))
        .route("/api/delete", any(async |r| refuse(Rights::Manage, "Deleting a model", &r)))
        .route("/api/blobs/{*digest}", any(async |r| refuse(Rights::Manage, "Uploading a model's files", &r)))
}

/// Who may is told that it is not served yet, everybody else that they may not.
fn refuse(needed: Rights, what: &str, request: &Request) -> Response {
    let has = request.extensions().get::<Caller>().map_or(Rights::Ask, |caller| caller.rights);
    let what = what.to_owned();
    let refusal = match needed {
        _ if has >= needed => Refusal::NotServed { what },
        Rights::Manage => Refusal::ManageNeeded { what },
        Rights::Own | Rights::Ask => Refusal::OwnerNeeded { what },
    };
    answer::refuse(Dialect::Ollama, &refusal, &call::request_id(request.headers()))
}
