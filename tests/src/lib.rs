//! What the scenarios share: a house of their own, real engines and clients, a desktop, and the rules of the source.

pub mod apart;
pub mod card;
pub mod clients;
#[cfg(target_os = "linux")]
pub mod desktop;
pub mod house;
#[cfg(target_os = "linux")]
pub mod lan;
#[cfg(unix)]
pub mod llama;
pub mod peers;
pub mod process;
pub mod rules;
pub mod socket;
pub mod spoken;
