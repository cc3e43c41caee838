//! What Lamplighter knows and how it decides.
//!
//! Pure: no I/O, no clock, no async, no JSON. Events and the time come in as arguments, decisions go out as values,
//! so every rule here is tested without a network and without waiting.

pub mod affinity;
pub mod alias;
pub mod availability;
pub mod beat;
pub mod breaker;
pub mod budget;
pub mod canary;
pub mod catalogue;
pub mod config;
mod expiry;
pub mod fit;
pub mod flaps;
pub mod fleet;
pub mod health;
pub mod last_hope;
pub mod mac;
pub mod mode;
pub mod model;
pub mod naps;
pub mod node;
pub mod node_url;
pub mod operation;
pub mod patience;
pub mod refusal;
pub mod room;
pub mod route;
pub mod snapshot;
pub mod speed;
pub mod suspend;
pub mod view;
pub mod wake;
