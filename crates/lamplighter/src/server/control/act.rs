//! The control API's routes that change something.

use super::{House, say::No};
use crate::{
    config::{
        Located,
        edit::{NewNode, NodeChange},
    },
    control::CONFIG,
    discovery,
    settings::{Changed, Refused},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use lamplighter_core::{
    config::parse_duration_ms,
    mode::Mode,
    node_url::NodeUrl,
    snapshot::{Level, Problem},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

type Done = Result<Response, No>;

/// Reads a JSON body, whatever its content type; the error names what is wrong.
pub(super) fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, No> {
    let body = if body.is_empty() { b"{}" } else { &body[..] };
    serde_json::from_slice(body).map_err(|error| No::bad(format!("The body cannot be used: {error}.")))
}

/// Reads what somebody wants to write about a node. Fields that only the file may set are told apart from mistakes.
fn read_node<T: DeserializeOwned>(body: &Bytes) -> Result<T, No> {
    const ONLY_IN_THE_FILE: [&str; 4] = ["api_key", "command", "wake", "sleep"];
    let fields: serde_json::Map<String, Value> = read(body)?;
    match ONLY_IN_THE_FILE.iter().find(|field| fields.contains_key(**field)) {
        Some(field) => Err(Refused::Forbidden((*field).to_owned()).into()),
        None => read(body),
    }
}

fn done() -> Done {
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `DELETE requests/{id}`: ends one request; its client gets an error in its own dialect.
pub async fn cancel(State(house): State<House>, Path(id): Path<String>) -> Done {
    if house.proxy.requests.cancel(&id) {
        return done();
    }
    Err(No::missing("no_such_request", "That request is not under way any more."))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhichModel {
    model: Option<String>,
}

/// `POST nodes/{name}/load` with `{"model"}`: loads a model into memory, and answers when it is there.
pub async fn load(State(house): State<House>, Path(name): Path<String>, body: Bytes) -> Done {
    let WhichModel { model } = read(&body)?;
    let Some(model) = model else { return Err(No::bad("Name the model: {\"model\": \"…\"}.")) };
    house.control.models().load(&name, &model).await?;
    done()
}

/// `POST nodes/{name}/unload` with `{"model"}`, or without: then everything goes, and the GPU is free.
pub async fn unload(State(house): State<House>, Path(name): Path<String>, body: Bytes) -> Done {
    let WhichModel { model } = read(&body)?;
    house.control.models().unload(&name, model.as_deref()).await?;
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteOrder {
    mode: String,
    #[serde(rename = "for")]
    duration: Option<String>,
}

/// `PUT route`: `{"mode": "auto" | "local" | "no-wake"}`, or `{"mode": "pause", "for": "1h"}`, or `{"mode": "resume"}`, which
/// ends a pause in the mode that was chosen before it.
pub async fn route(State(house): State<House>, body: Bytes) -> Done {
    let order: RouteOrder = read(&body)?;
    let steering = &house.proxy.steering;
    let mode = match (order.mode.as_str(), &order.duration) {
        ("pause", duration) => {
            let for_ms = duration.as_deref().map(parse_duration_ms).transpose().map_err(No::bad)?;
            steering.pause(for_ms);
            return done();
        }
        (_, Some(_)) => return Err(No::bad("\"for\" goes with the mode \"pause\" only.")),
        ("resume", None) => {
            steering.resume();
            return done();
        }
        ("auto", None) => Mode::Auto,
        ("local", None) => Mode::Local,
        ("no-wake", None) => Mode::NoWake,
        (other, None) => {
            return Err(No::bad(format!(
                "{other:?} is no mode: there are auto, local, no-wake, pause and resume."
            )));
        }
    };
    steering.choose(mode).map_err(|why| No::conflict("not_kept", why))?;
    done()
}

/// The file has been written: what there is to say of it now takes the place of what was said of it before.
fn say(house: &House, changed: &Changed) {
    let notice = |warning: &Located| Problem {
        code: CONFIG.into(),
        level: Level::Notice,
        message: warning.to_string(),
        hint: None,
        node: None,
    };
    house.control.say_of_config(changed.warnings.iter().map(notice).collect());
}

/// `POST nodes`: adds a node to the file.
pub async fn add_node(State(house): State<House>, body: Bytes) -> Done {
    let node: NewNode = read_node(&body)?;
    not_ourselves(&house, &node.url)?;
    let changed = house.control.settings().add(&node).await?;
    say(&house, &changed);
    Ok((StatusCode::CREATED, Json(json!({ "name": node.name }))).into_response())
}

/// `PATCH nodes/{name}`: changes a node in the file. An absent field stays, a null one is taken out.
pub async fn change_node(State(house): State<House>, Path(name): Path<String>, body: Bytes) -> Done {
    let change: NodeChange = read_node(&body)?;
    not_ourselves(&house, change.url.as_deref().unwrap_or_default())?;
    let changed = house.control.settings().change(&name, &change).await?;
    say(&house, &changed);
    Ok(Json(json!({ "key_dropped": changed.key_dropped })).into_response())
}

/// Would requests to `url` come back in by our own door? What is no address at all is told elsewhere.
fn not_ourselves(house: &House, url: &str) -> Result<(), No> {
    let Ok(url) = NodeUrl::parse(url) else { return Ok(()) };
    let addresses: Vec<IpAddr> = match url.host() {
        "localhost" => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        host => host.parse().into_iter().collect(),
    };
    // Only an address of this machine can be bound to.
    let is_here = |ip: &IpAddr| UdpSocket::bind((*ip, 0)).is_ok();
    let snapshot = house.control.look();
    let own = snapshot.gateway.listening.iter().filter_map(|url| url.strip_prefix("http://")?.parse().ok());
    let is_ours = own
        .filter(|own: &SocketAddr| own.port() == url.port())
        .any(|own| addresses.iter().any(|ip| *ip == own.ip() || own.ip().is_unspecified() && is_here(ip)));
    if is_ours {
        return Err(No::conflict("ourselves", format!("{url} is this Lamplighter itself."))
            .hint("A node is a machine whose engine answers: its address and port are wanted."));
    }
    Ok(())
}

/// `DELETE nodes/{name}`: takes a node out of the file. What runs there may finish.
pub async fn remove_node(State(house): State<House>, Path(name): Path<String>) -> Done {
    let changed = house.control.settings().remove(&name).await?;
    say(&house, &changed);
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Address {
    url: String,
}

/// `POST identify`: what answers at an address. Only looks.
pub async fn identify(State(house): State<House>, body: Bytes) -> Done {
    let Address { url } = read(&body)?;
    let url = NodeUrl::parse(&url).map_err(No::bad)?;
    not_ourselves(&house, &url.to_string())?;
    match discovery::identify(house.control.http(), url.clone()).await {
        Ok((identity, models)) => Ok(Json(json!({ "url": url.to_string(), "engine": identity.engine,
            "version": identity.version, "models": models }))
        .into_response()),
        Err(why) => Err(No::conflict("not_identified", format!("{}: {why}.", url.authority())).hint(
            "Is the engine running, and does it listen on the network? Ollama does with OLLAMA_HOST=0.0.0.0.",
        )),
    }
}

/// `GET config`: the file's text and place, and its nodes as written. Keys are references; they are shown as such.
pub async fn config(State(house): State<House>) -> Done {
    let settings = house.control.settings();
    let (config, text) = settings.current().await?;
    let nodes: Vec<Value> = config
        .nodes
        .iter()
        .map(|node| {
            json!({ "name": node.name, "url": node.url.to_string(), "engine": node.engine, "presence": node.presence,
                "max_concurrent": node.max_concurrent, "priority": node.priority, "has_key": node.api_key.is_some(),
                "gpu": node.gpu, "vram_bytes": node.vram_bytes })
        })
        .collect();
    let body = json!({ "path": settings.path().display().to_string(), "text": text, "nodes": nodes, "aliases": config.aliases });
    Ok(Json(body).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    text: String,
}

/// `PUT config` with `{"text"}`: replaces the file's text, within what may be changed from here.
pub async fn put_config(State(house): State<House>, body: Bytes) -> Done {
    let Text { text } = read(&body)?;
    let changed = house.control.settings().replace(&text).await?;
    say(&house, &changed);
    done()
}

/// `POST once`: a code with which a browser gets the token. Good for one use within a minute.
pub async fn once(State(house): State<House>) -> Done {
    let code = house.control.once().map_err(|why| No::conflict("not_done", why))?;
    Ok(Json(json!({ "once": code })).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Once {
    once: String,
}

/// `POST session` with `{"once"}`: the token for a code. Needs no token itself.
pub async fn session(State(house): State<House>, body: Bytes) -> Done {
    let Once { once } = read(&body)?;
    match house.control.trade(&once) {
        Some(token) => Ok(Json(json!({ "token": token })).into_response()),
        None => Err(No::missing("code_spent", "That link was used already, or is older than a minute.")
            .hint("Run `lamplighter open` again.")),
    }
}

/// `POST look`: looks at every node at once.
pub async fn look(State(house): State<House>) -> Done {
    house.proxy.registry.look_at_all();
    done()
}
