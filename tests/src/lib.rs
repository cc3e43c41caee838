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

/// The project's folder: the parent of this crate's own, as cargo names it when it runs the tests. Where they were compiled
/// counts only without cargo: a checkout that was moved, or another with the same target folder, is not compiled anew.
#[must_use]
pub fn project() -> std::path::PathBuf {
    let own = std::env::var_os("CARGO_MANIFEST_DIR").map(std::path::PathBuf::from);
    own.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()).join("..")
}
