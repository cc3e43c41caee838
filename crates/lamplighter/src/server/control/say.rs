//! How the control API says no: `{code, message, hint}`.

use crate::{answer, config::Located, control::NotWoken, models::NotDone, settings::Refused};
use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use lamplighter_core::refusal::Refusal;
use serde_json::json;

/// A no of the control API.
#[derive(Debug)]
pub struct No {
    status: StatusCode,
    code: &'static str,
    message: String,
    hint: Option<String>,
}

impl No {
    /// What was asked for cannot be understood.
    pub fn bad(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: "bad_request", message: message.into(), hint: None }
    }

    /// There is no such thing.
    pub fn missing(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, code, message: message.into(), hint: None }
    }

    /// It cannot be done as things are.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::CONFLICT, code, message: message.into(), hint: None }
    }

    /// With what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl IntoResponse for No {
    fn into_response(self) -> Response {
        let body = json!({ "code": self.code, "message": self.message, "hint": self.hint });
        (self.status, axum::Json(body)).into_response()
    }
}

impl From<Refused> for No {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::File(why) => Self::conflict("config_file", why),
            Refused::NoNode(name) => {
                Self::missing("no_such_node", format!("There is no node called {name:?}."))
            }
            Refused::Twins(url, twin) => {
                Self::conflict("same_server", format!("{url} is the node {twin:?} already."))
            }
            Refused::Forbidden(setting) => Self {
                status: StatusCode::FORBIDDEN,
                code: "only_in_the_file",
                message: format!("{setting} can only be changed in the configuration file itself."),
                hint: Some("A page that could change it could open this machine to others.".into()),
            },
            Refused::Invalid(complaints) => Self {
                status: StatusCode::UNPROCESSABLE_ENTITY,
                code: "config_invalid",
                message: complaints.iter().map(words).collect::<Vec<_>>().join("\n"),
                hint: None,
            },
        }
    }
}

/// A complaint without the file's place: whoever reads it knows which file, and has not written its lines.
fn words(complaint: &Located) -> String {
    match complaint.line {
        Some(line) => format!("{} (line {line})", complaint.message),
        None => complaint.message.clone(),
    }
}

impl From<NotDone> for No {
    fn from(not_done: NotDone) -> Self {
        match not_done {
            NotDone::NoNode(name) => {
                Self::missing("no_such_node", format!("There is no node called {name:?}."))
            }
            NotDone::NotUp(name, state) => {
                Self::conflict("node_not_up", format!("{name} is {}.", state.word()))
            }
            NotDone::Sleeps { node, model, state } => {
                let wakes = format!("`lamplighter wake {node} --load {model}` wakes it, and loads it then.");
                Self::conflict("node_not_up", format!("{node} is {}.", state.word())).hint(wakes)
            }
            NotDone::NoModel { node, model } => {
                Self::missing("no_such_model", format!("{node} has no model {model:?}."))
            }
            NotDone::Failed(why) => Self::conflict("not_done", why),
        }
    }
}

impl From<NotWoken> for No {
    fn from(not_woken: NotWoken) -> Self {
        match not_woken {
            NotWoken::NoNode(name) => {
                Self::missing("no_such_node", format!("There is no node called {name:?}."))
            }
            NotWoken::NotWakeable(name) => {
                Self::conflict("not_wakeable", format!("Nothing is written about how to wake {name}.")).hint(
                    "Add [node.wake] below its [[node]] in the configuration file; `mac = \"auto\"` is enough on one network.",
                )
            }
            NotWoken::NoSleep(name) => {
                Self::conflict("no_sleep", format!("Nothing is written about how to put {name} to sleep.")).hint(
                    "Add [node.sleep] in the configuration file: an ssh target with a command, or a hook's url.",
                )
            }
            NotWoken::Elsewhere(name) => {
                let what = format!("{name} belongs to another network than the one this computer is on.");
                Self::conflict("elsewhere", what).hint("If it is here too, say so on its card: \"This is home too\".")
            }
            NotWoken::Busy { node, at_work, requests } => {
                let what = if requests == 1 { "a request runs".into() } else { format!("{requests} requests run") };
                let where_to = if at_work == node { String::new() } else { format!(", on the same machine as {node}") };
                Self::conflict("node_busy", format!("{at_work} is at work{where_to}: {what} or waits there."))
                    .hint("Try again when it is done, or cancel it.")
            }
            NotWoken::Failed(why) => Self::conflict("not_done", format!("{why}.")),
        }
    }
}

/// A refusal of the door or of the proxy, in the control API's shape.
pub fn refuse(refusal: &Refusal, id: &str) -> Response {
    let body = json!({ "code": refusal.code(), "message": refusal.message(), "hint": refusal.hint() });
    let mut response = Response::new(Body::from(body.to_string()));
    answer::dress(&mut response, refusal, id);
    response
}
