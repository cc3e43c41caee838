//! Waking a sleeping machine: what may wake it, what happens on the way, how long it will take, and why it did not work.

mod episode;
mod failure;
mod limits;
mod lobby;
mod machine;
mod policy;
mod quiet;
#[cfg(test)]
mod tests;

pub use episode::{Progress, Sight, Timeline};
pub use failure::{Advice, Caller, Failure};
pub use limits::TooSoon;
pub use lobby::{LOBBY_BYTES, LOBBY_REQUESTS, Lobby};
pub use machine::{Asked, Effect, Event, LOOK_EVERY_MS, Outcome, Wake, Who};
pub use policy::{
    CLASS_HEADER, Condition, Kind, Pass, Verdict, WakePolicy, Wish, is_auxiliary_class, is_auxiliary_prompt,
};
pub use quiet::QuietHours;
