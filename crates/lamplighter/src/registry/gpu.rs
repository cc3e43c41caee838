//! Has a machine lost its GPU in its sleep? After a resume the driver may be gone, and the engine then quietly computes on the
//! CPU (ollama #5464, #8426): a model that was in video memory before and is not now tells.

use lamplighter_core::model::{Model, key};
use std::collections::HashSet;

/// What is known of a machine's GPU.
#[derive(Debug, Default)]
pub(super) struct Gpu {
    /// Models that have been seen in video memory.
    on_gpu: HashSet<String>,
    /// It has been gone since it was last seen at work on the GPU.
    slept: bool,
    lost: bool,
}

impl Gpu {
    /// What an earlier run has seen.
    pub(super) fn remember(&mut self, models: &[Model]) {
        let seen = models.iter().filter(|model| model.vram_bytes.is_some_and(|bytes| bytes > 0));
        self.on_gpu.extend(seen.map(|model| key(&model.name).to_owned()));
        self.slept = true;
    }

    /// The machine is gone.
    pub(super) fn gone(&mut self) {
        self.slept = true;
    }

    /// What it lists now. True when what is believed of its GPU has changed.
    pub(super) fn looked(&mut self, listed: &[Model]) -> bool {
        let was = self.lost;
        let loaded = || listed.iter().filter(|model| model.loaded == Some(true));
        let uses = |model: &Model| model.vram_bytes.is_some_and(|bytes| bytes > 0);
        if loaded().any(uses) {
            self.on_gpu.extend(loaded().filter(|model| uses(model)).map(|model| key(&model.name).to_owned()));
            (self.slept, self.lost) = (false, false);
        } else if self.slept {
            // Part of a model in video memory is use; none of one that was there before is not.
            self.lost |=
                loaded().any(|model| model.vram_bytes == Some(0) && self.on_gpu.contains(key(&model.name)));
        }
        was != self.lost
    }

    /// Is it believed lost?
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(loaded: bool, vram_bytes: u64) -> Model {
        Model {
            name: "qwen3:8b".into(),
            loaded: Some(loaded),
            vram_bytes: loaded.then_some(vram_bytes),
            ..Model::default()
        }
    }

    #[test]
    fn a_model_that_was_on_the_gpu_before_the_sleep_and_is_not_after_it() {
        let mut gpu = Gpu::default();
        assert!(!gpu.looked(&[model(true, 0)]), "it never was on a GPU");
        assert!(
            !gpu.looked(&[model(true, 5)]) && !gpu.looked(&[model(true, 0)]),
            "without a sleep it is somebody's wish"
        );
        gpu.gone();
        assert!(!gpu.looked(&[model(false, 0)]), "nothing loaded, nothing known");
        assert!(gpu.looked(&[model(true, 0)]) && gpu.is_lost());
        assert!(!gpu.looked(&[model(false, 0)]) && gpu.is_lost(), "until it is seen at work");
        assert!(gpu.looked(&[model(true, 5)]) && !gpu.is_lost());
        let mut after_a_restart = Gpu::default();
        after_a_restart.remember(&[model(true, 5)]);
        assert!(after_a_restart.looked(&[model(true, 0)]));
    }
}
