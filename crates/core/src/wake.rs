//! Waking a sleeping machine: what may, what happens on the way, and how long it will take.

mod policy;
mod quiet;

pub use policy::WakePolicy;
pub use quiet::QuietHours;
