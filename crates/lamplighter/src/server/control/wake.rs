//! The control API's routes about sleep: wake a node, put one to sleep, and what is known of the past.

use super::{House, act::read, say::No};
use crate::{clock, history::History, waker::Choice};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use lamplighter_core::availability::SLOT_MS;
use serde::Deserialize;
use serde_json::json;

type Done = Result<Response, No>;

/// Past wakes in one answer, at most.
const WAKES: u32 = 100;

/// `POST nodes/{name}/wake`: a person wants it awake. 202 when a wake is under way, 200 when it is up already. How it goes on
/// stands in the snapshots.
pub async fn wake(State(house): State<House>, Path(name): Path<String>) -> Done {
    let is_waking = house.control.wake(&name)?;
    let status = if is_waking { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Json(json!({ "waking": is_waking }))).into_response())
}

/// `DELETE nodes/{name}/wake`: ends the wake under way. Requests that wait for it are answered elsewhere or refused.
pub async fn cancel(State(house): State<House>, Path(name): Path<String>) -> Done {
    if house.control.cancel_wake(&name)? {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Err(No::missing("not_waking", format!("{name} is not being woken.")))
}

/// `POST nodes/{name}/sleep`: puts it to sleep by its hook, and answers when the hook has been called.
pub async fn sleep(State(house): State<House>, Path(name): Path<String>) -> Done {
    house.control.put_to_sleep(&name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST nodes/{name}/home`: the network we are on is a home of this node too.
pub async fn home(State(house): State<House>, Path(name): Path<String>) -> Done {
    house.control.is_home(&name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    choice: String,
}

/// `POST prompts/{node}` with `{"choice": "wake" | "elsewhere"}`: a person's answer for a request under the policy `ask`.
pub async fn answer(State(house): State<House>, Path(name): Path<String>, body: Bytes) -> Done {
    let Answer { choice } = read(&body)?;
    let choice = match choice.as_str() {
        "wake" => Choice::Wake,
        "elsewhere" => Choice::Elsewhere,
        other => return Err(No::bad(format!("{other:?} is no choice: there are wake and elsewhere."))),
    };
    if house.control.answer_prompt(&name, choice) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Err(No::missing("not_asked", format!("Nobody asks about {name} any more.")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HowMany {
    limit: Option<u32>,
}

/// `GET nodes/{name}/wakes?limit=20`: its past wakes, newest first.
pub async fn wakes(
    State(house): State<House>,
    Path(name): Path<String>,
    asked: Result<Query<HowMany>, QueryRejection>,
) -> Done {
    let Ok(Query(asked)) = asked else { return Err(No::bad("`wakes` may have ?limit=NUMBER.")) };
    let Some(store) = house.control.history().store() else {
        return Ok(Json(json!({ "wakes": [] })).into_response());
    };
    let limit = asked.limit.unwrap_or(20).clamp(1, WAKES);
    let wakes = store.wakes(Some(&name), limit).await.map_err(|why| No::conflict("history", why))?;
    Ok(Json(json!({ "wakes": wakes })).into_response())
}

/// `GET availability`: the last 96 quarters of an hour of every node, oldest first.
pub async fn availability(State(house): State<House>) -> Done {
    let now_ms = clock::wall_ms();
    let cells = house.control.history().cells(now_ms).await.map_err(|why| No::conflict("history", why))?;
    let body = json!({ "from_ms": History::cells_from_ms(now_ms), "slot_ms": SLOT_MS, "nodes": cells });
    Ok(Json(body).into_response())
}
