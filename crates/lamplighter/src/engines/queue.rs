//! Who is at work and who waits in an engine itself: ours, and those of others who ask it directly.
//!
//! A matter of courtesy: an engine that does not tell, or not in time, is as good a node as any other.

use super::line::{Line, SMALL_BYTES};
use lamplighter_core::fleet::Queue;
use serde_json::Value;
use std::time::Duration;

/// Time for an answer. llama-server answers no metrics while it reads a prompt.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Where an engine tells it, as far as found out. `false`: that route is not there, and is not asked for again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Routes {
    metrics: bool,
    slots: bool,
}

impl Default for Routes {
    fn default() -> Self {
        Self { metrics: true, slots: true }
    }
}

/// vLLM's `/metrics` (vLLM `v1/metrics/loggers.py`; recorded from 0.32). The use of its cache for prompts was
/// `gpu_cache_usage_perc` before it was `kv_cache_usage_perc`; both are shares of one, whatever their names say.
pub(super) async fn of_vllm(line: &Line, routes: &mut Routes) -> Option<Queue> {
    let text = ask(line, "/metrics", &mut routes.metrics).await?;
    let waiting = sum(&text, "vllm:num_requests_waiting")?;
    let cache = sum(&text, "vllm:kv_cache_usage_perc").or_else(|| sum(&text, "vllm:gpu_cache_usage_perc"));
    Some(Queue {
        running: whole(sum(&text, "vllm:num_requests_running").unwrap_or(0.0)),
        waiting: whole(waiting),
        // A sum over engines may pass one; what counts is whether there is room.
        cache_percent: cache.map(|share| (share * 100.0).clamp(0.0, 100.0) as u8),
    })
}

/// llama-server's `/metrics`, which is there when it was started with `--metrics`, else its `/slots` (llama.cpp
/// `tools/server/README.md`; recorded from build b11434). Only to be asked while it is at work anyway: before August 2026 both
/// kept it from falling asleep after `--sleep-idle-seconds`, and woke it (llama.cpp #20227, #27376).
pub(super) async fn of_llamacpp(line: &Line, routes: &mut Routes) -> Option<Queue> {
    if let Some(text) = ask(line, "/metrics", &mut routes.metrics).await {
        let waiting = sum(&text, "llamacpp:requests_deferred")?;
        let running = whole(sum(&text, "llamacpp:requests_processing").unwrap_or(0.0));
        return Some(Queue { running, waiting: whole(waiting), cache_percent: None });
    }
    if routes.metrics {
        return None; // it is there, and did not answer now
    }
    let slots: Value = serde_json::from_slice(&ask(line, "/slots", &mut routes.slots).await?).ok()?;
    let at_work =
        slots.as_array()?.iter().filter(|slot| slot.get("is_processing") == Some(&Value::Bool(true)));
    Some(Queue { running: whole(at_work.count() as f64), waiting: 0, cache_percent: None })
}

async fn ask(line: &Line, path: &str, there: &mut bool) -> Option<Vec<u8>> {
    if !*there {
        return None;
    }
    let answer = tokio::time::timeout(TIMEOUT, line.get(path, 4 * SMALL_BYTES)).await.ok()?.ok()?;
    // A stranger's web page is not there either; 401 and 5xx may pass.
    *there = !matches!(answer.status, 404 | 405 | 501) && !answer.html;
    answer.is_ok().then_some(answer.body).filter(|_| *there)
}

/// The sum of a gauge over all its labels, in Prometheus' text format: `name{label="…"} 2.0`. `None` when it is not told.
fn sum(text: &[u8], name: &str) -> Option<f64> {
    let values = text.split(|byte| *byte == b'\n').filter_map(|row| {
        let rest = row.strip_prefix(name.as_bytes())?;
        let rest = match rest.first()? {
            b'{' => &rest[memchr::memrchr(b'}', rest)? + 1..],
            b' ' | b'\t' => rest,
            _ => return None, // another gauge whose name only begins so
        };
        let value = std::str::from_utf8(rest).ok()?.split_ascii_whitespace().next()?;
        value.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0)
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

fn whole(value: f64) -> u32 {
    // The cast saturates.
    value.round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from vLLM 0.32.
    const VLLM: &[u8] = b"# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine=\"0\",model_name=\"tiny-hf\"} 2.0
vllm:num_requests_running{engine=\"1\",model_name=\"tiny} 9\"} 3.0
vllm:num_requests_waiting{engine=\"0\",model_name=\"tiny-hf\"} 4.0
vllm:num_requests_waiting_by_reason{engine=\"0\",model_name=\"tiny-hf\",reason=\"capacity\"} 7.0
";

    #[test]
    fn gauges_are_summed_over_their_labels() {
        assert_eq!(sum(VLLM, "vllm:num_requests_running"), Some(5.0));
        assert_eq!(sum(VLLM, "vllm:num_requests_waiting"), Some(4.0), "and not those whose name goes on");
        assert_eq!(sum(VLLM, "vllm:kv_cache_usage_perc"), None);
        assert_eq!(sum(b"llamacpp:requests_deferred 3\n", "llamacpp:requests_deferred"), Some(3.0));
    }

    #[test]
    fn what_is_no_number_is_not_told() {
        for row in ["x NaN", "x +Inf", "x -1", "x", "x{", "x{a=\"b\"}", "x lots", "\u{fffd}"] {
            assert_eq!(sum(row.as_bytes(), "x"), None, "{row}");
        }
        assert_eq!(whole(1e30), u32::MAX);
    }
}
