//! The simulated nodes, seen through plain sockets: their contracts, their limits and each of their faults.

#![allow(clippy::unwrap_used)]

mod client;
mod faults;
mod llamacpp;
mod ollama;
mod openai;
mod process;
mod running;
mod wire_faults;
