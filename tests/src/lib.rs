//! What the scenarios share: a desktop of their own.

pub mod apart;
#[cfg(target_os = "linux")]
pub mod desktop;
pub mod house;
pub mod peers;
pub mod process;
pub mod socket;
