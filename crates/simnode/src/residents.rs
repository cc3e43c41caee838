//! The models of a node: which exist, which are in memory, and who may run now.

use crate::profile::{Engine, Profile, SimModel};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Ollama's time-out for a load (`OLLAMA_LOAD_TIMEOUT`), here for the wait for room as well.
const LOAD_TIMEOUT: Duration = Duration::from_secs(300);

/// A model in memory, or on its way there.
#[derive(Clone, Debug)]
pub(crate) struct Resident {
    pub(crate) model: SimModel,
    ready_at: Instant,
    last_used: Instant,
    /// `None` is for ever.
    keep_alive: Option<Duration>,
    busy: usize,
    /// Bytes on the GPU; less than the model's size when it spilled.
    pub(crate) size_vram: u64,
}

impl Resident {
    fn expired(&self, now: Instant) -> bool {
        self.busy == 0
            && self.keep_alive.is_some_and(|keep| now.saturating_duration_since(self.last_used) >= keep)
    }

    /// Time until it is unloaded; `None` is for ever.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let keep = self.keep_alive?;
        Some(if self.busy > 0 { keep } else { keep.saturating_sub(self.last_used.elapsed()) })
    }
}

/// Why a request cannot run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The queue is full.
    Busy,
    /// No room came free in time.
    LoadTimeout,
}

#[derive(Debug, Default)]
struct Inner {
    models: Vec<SimModel>,
    loaded: Vec<Resident>,
    slots: HashMap<String, Arc<Semaphore>>,
}

/// All of it, for one node.
#[derive(Debug)]
pub(crate) struct Residents {
    inner: Mutex<Inner>,
    changed: Notify,
    waiting: AtomicUsize,
    /// Models that requests have brought into memory.
    loads: AtomicUsize,
    parallel: usize,
    max_queue: Option<usize>,
    load_ms: u64,
    keep_alive: Option<Duration>,
    vram: Option<u64>,
    models_max: Option<usize>,
    /// Engines that serve what they started with hold it in memory all the time.
    fixed: bool,
}

impl Residents {
    pub(crate) fn new(profile: &Profile) -> Arc<Self> {
        let residents = Self {
            inner: Mutex::default(),
            changed: Notify::new(),
            waiting: AtomicUsize::new(0),
            loads: AtomicUsize::new(0),
            parallel: profile.parallel.max(1),
            max_queue: profile.max_queue,
            load_ms: profile.load_ms,
            keep_alive: seconds(profile.keep_alive_s),
            vram: profile.vram,
            models_max: profile.models_max,
            fixed: matches!(profile.engine, Engine::Llamacpp | Engine::Openai | Engine::Vllm),
        };
        residents.set(profile.models.clone());
        Arc::new(residents)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        inner.loaded.retain(|resident| !resident.expired(now));
        inner
    }

    /// Every model, in the order given.
    pub(crate) fn models(&self) -> Vec<SimModel> {
        self.inner().models.clone()
    }

    /// The model of exactly this name.
    pub(crate) fn find(&self, name: &str) -> Option<SimModel> {
        self.inner().models.iter().find(|model| model.name == name).cloned()
    }

    /// What is in memory.
    pub(crate) fn loaded(&self) -> Vec<Resident> {
        let now = Instant::now();
        self.inner().loaded.iter().filter(|resident| resident.ready_at <= now).cloned().collect()
    }

    pub(crate) fn is_loaded(&self, name: &str) -> bool {
        self.loaded().iter().any(|resident| resident.model.name == name)
    }

    /// Replaces the list; what is gone from it leaves the memory, what is marked loaded enters.
    pub(crate) fn set(&self, models: Vec<SimModel>) {
        let mut inner = self.inner();
        inner.loaded.retain(|resident| models.iter().any(|model| model.name == resident.model.name));
        inner.models = models;
        for index in 0..inner.models.len() {
            let model = inner.models[index].clone();
            if model.loaded || self.fixed {
                self.place(&mut inner, &model, Duration::ZERO);
            }
        }
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Adds one, or replaces it.
    pub(crate) fn add(&self, model: SimModel) {
        let mut inner = self.inner();
        inner.models.retain(|known| known.name != model.name);
        inner.models.insert(0, model);
    }

    /// Deletes one; false when there was none.
    pub(crate) fn remove(&self, name: &str) -> bool {
        let mut inner = self.inner();
        let before = inner.models.len();
        inner.models.retain(|model| model.name != name);
        inner.loaded.retain(|resident| resident.model.name != name);
        inner.models.len() < before
    }

    /// Puts a model into memory at once; false when unknown or without room.
    pub(crate) fn load(&self, name: &str) -> bool {
        let mut inner = self.inner();
        let Some(model) = inner.models.iter().find(|model| model.name == name).cloned() else { return false };
        self.place(&mut inner, &model, Duration::ZERO).is_some()
    }

    /// Takes a model out of memory; false when it was not there.
    pub(crate) fn unload(&self, name: &str) -> bool {
        let mut inner = self.inner();
        let before = inner.loaded.len();
        inner.loaded.retain(|resident| resident.model.name != name);
        let gone = inner.loaded.len() < before;
        drop(inner);
        self.changed.notify_waiters();
        gone
    }

    /// Slots of a model and how many are taken.
    pub(crate) fn slots(&self, name: &str) -> (usize, usize) {
        let free = self.inner().slots.get(name).map_or(self.parallel, |slots| slots.available_permits());
        (self.parallel, self.parallel - free.min(self.parallel))
    }

    /// Loads that took time, since the start.
    pub(crate) fn loads(&self) -> usize {
        self.loads.load(Relaxed)
    }

    /// Requests waiting for a slot or a load.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// The moment the model is ready, after evicting idle ones to make room; `None` when only busy ones are in the way.
    fn place(&self, inner: &mut Inner, model: &SimModel, load: Duration) -> Option<Instant> {
        if let Some(resident) = inner.loaded.iter().find(|resident| resident.model.name == model.name) {
            return Some(resident.ready_at);
        }
        loop {
            let used: u64 = inner.loaded.iter().map(|resident| resident.size_vram).sum();
            let fits = self.vram.is_none_or(|vram| used.saturating_add(model.size) <= vram);
            let counted = self.models_max.is_none_or(|most| inner.loaded.len() < most.max(1));
            if (fits && counted) || inner.loaded.is_empty() {
                break;
            }
            let idle = inner.loaded.iter().enumerate().filter(|(_, resident)| resident.busy == 0);
            let (oldest, _) = idle.min_by_key(|(_, resident)| resident.last_used)?;
            inner.loaded.remove(oldest);
        }
        let now = Instant::now();
        let ready_at = now + load;
        self.loads.fetch_add(usize::from(!load.is_zero()), Relaxed);
        inner.loaded.push(Resident {
            model: model.clone(),
            ready_at,
            last_used: now,
            keep_alive: self.keep_alive,
            busy: 0,
            size_vram: self.vram.map_or(model.size, |vram| model.size.min(vram)),
        });
        Some(ready_at)
    }

    /// Waits until the model is in memory and, with `slot`, until one of its slots is free.
    ///
    /// Dropping the future leaves the queue; dropping the seat frees the slot and starts the idle time.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        model: &SimModel,
        keep_alive_s: Option<i64>,
        slot: bool,
    ) -> Result<Seat, Refusal> {
        let queued = Queued::enter(self);
        let (ready_at, mut seat) =
            tokio::time::timeout(LOAD_TIMEOUT, self.hold(model, keep_alive_s, queued.place))
                .await
                .map_err(|_| Refusal::LoadTimeout)??;
        let wait = ready_at.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            if self.max_queue.is_some_and(|most| queued.place > most) {
                return Err(Refusal::Busy);
            }
            tokio::time::sleep(wait).await;
            seat.load_ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        }
        if slot {
            let slots = {
                let mut inner = self.inner();
                let new = || Arc::new(Semaphore::new(self.parallel));
                Arc::clone(inner.slots.entry(model.name.clone()).or_insert_with(new))
            };
            seat.permit = match Arc::clone(&slots).try_acquire_owned() {
                Ok(permit) => Some(permit),
                Err(_) if self.max_queue.is_some_and(|most| queued.place > most) => {
                    return Err(Refusal::Busy);
                }
                // The semaphore is never closed.
                Err(_) => slots.acquire_owned().await.ok(),
            };
        }
        Ok(seat)
    }

    /// Keeps the model in memory for one request, waiting for room if need be.
    async fn hold(
        self: &Arc<Self>,
        model: &SimModel,
        keep_alive_s: Option<i64>,
        place: usize,
    ) -> Result<(Instant, Seat), Refusal> {
        loop {
            // Registered before looking, so that no change is missed.
            let changed = self.changed.notified();
            {
                let mut inner = self.inner();
                let load = Duration::from_millis(self.load_ms);
                if let Some(ready_at) = self.place(&mut inner, model, load) {
                    if let Some(resident) =
                        inner.loaded.iter_mut().find(|known| known.model.name == model.name)
                    {
                        resident.busy += 1;
                        if let Some(keep) = keep_alive_s {
                            resident.keep_alive = seconds(keep);
                        }
                    }
                    let (residents, name) = (Arc::clone(self), model.name.clone());
                    return Ok((ready_at, Seat { residents, name, permit: None, load_ns: 0 }));
                }
            }
            if self.max_queue.is_some_and(|most| place > most) {
                return Err(Refusal::Busy);
            }
            changed.await;
        }
    }
}

/// A keep-alive time: negative is for ever.
fn seconds(value: i64) -> Option<Duration> {
    u64::try_from(value).ok().map(Duration::from_secs)
}

/// A request that waits; counted until dropped.
struct Queued<'a> {
    residents: &'a Residents,
    place: usize,
}

impl<'a> Queued<'a> {
    fn enter(residents: &'a Residents) -> Self {
        Self { residents, place: residents.waiting.fetch_add(1, Relaxed) + 1 }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.residents.waiting.fetch_sub(1, Relaxed);
    }
}

/// The right to run: a model held in memory and perhaps one of its slots.
#[derive(Debug)]
pub(crate) struct Seat {
    residents: Arc<Residents>,
    name: String,
    permit: Option<OwnedSemaphorePermit>,
    /// How long the load took, in ns; 0 when it was loaded.
    pub(crate) load_ns: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.permit = None;
        if let Some(resident) =
            self.residents.inner().loaded.iter_mut().find(|known| known.model.name == self.name)
        {
            resident.busy = resident.busy.saturating_sub(1);
            resident.last_used = Instant::now();
        }
        self.residents.changed.notify_waiters();
    }
}
