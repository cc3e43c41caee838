//! Holds under load: a real gateway, its nodes and its clients, each in a process of its own.
//!
//! Figures are printed (`--nocapture`); those of release code stand in docs/performance.md. The bounds leave room for code that
//! is not optimised and for a machine that does other things too.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod crowds;
mod drill;
mod hangups;
mod processes;

/// Each scenario wants the machine for itself.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
