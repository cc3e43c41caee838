//! Work on large bodies, beside the threads that serve: nobody else's answer waits for it.

use std::{
    num::NonZero,
    sync::{Arc, LazyLock},
    thread,
};
use tokio::{
    sync::Semaphore,
    task::{JoinError, spawn_blocking},
};

/// A body beyond so many bytes is worth the way to another thread.
pub const LARGE: usize = 1 << 20;

/// Half of the processors, at most, work on large bodies at once; the others wait for their turn, in order.
static TURNS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    Arc::new(Semaphore::new((processors / 2).max(1)))
});

/// Does `work` there. It is done to its end also when nobody waits for it any more.
///
/// # Errors
/// When `work` panics, or the program ends.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    // Never closed, so there is always a turn.
    let turn = TURNS.clone().acquire_owned().await.ok();
    spawn_blocking(move || {
        let done = work();
        drop(turn);
        done
    })
    .await
}
