//! What the scenarios share: a desktop of their own.

#[cfg(target_os = "linux")]
pub mod desktop;
pub mod house;
