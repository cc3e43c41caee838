//! One address for every model in the house: the running gateway.

pub mod config;
pub mod engines;
pub mod secrets;
