//! How a figure spreads: percentiles of many samples, medians of a few rounds.

use serde::Serialize;

/// Percentiles in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Samples.
    pub count: usize,
    /// Half of them are below.
    pub p50_us: f64,
    /// All but one in a hundred are below.
    pub p99_us: f64,
    /// The largest.
    pub max_us: f64,
}

impl Spread {
    /// The spread of samples in nanoseconds; all zero when there are none.
    pub fn of(mut samples_ns: Vec<u64>) -> Self {
        samples_ns.sort_unstable();
        let count = samples_ns.len();
        let at = |share: f64| {
            let index = ((count as f64 * share).ceil() as usize).clamp(1, count.max(1)) - 1;
            samples_ns.get(index).map_or(0.0, |ns| *ns as f64 / 1e3)
        };
        Self { count, p50_us: at(0.5), p99_us: at(0.99), max_us: at(1.0) }
    }
}

/// The middle of a few figures. `None` when there are none.
pub fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = figures.iter().copied().filter(|f| f.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len().checked_sub(1)? / 2;
    Some(if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle] + sorted[middle + 1]) / 2.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_that_were_seen() {
        let spread = Spread::of((1..=200).rev().map(|n| n * 1000).collect());
        assert_eq!(spread, Spread { count: 200, p50_us: 100.0, p99_us: 198.0, max_us: 200.0 });
        assert_eq!(Spread::of(vec![5000]).p99_us, 5.0);
        assert_eq!(Spread::of(vec![]), Spread::default());
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_two_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 100.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0, 100.0, 2.0]), Some(3.0));
        assert_eq!(median(&[f64::NAN]), None);
    }
}
