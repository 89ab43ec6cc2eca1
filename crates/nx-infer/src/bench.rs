//! How long a model takes: measured, with a clock that is passed in.

use std::time::Duration;

use crate::{Error, Tensor, engine::Session};

/// How long to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Runs that are not counted.
    pub warm_up: usize,
    /// Runs at least.
    pub least: usize,
    /// Runs at most.
    pub most: usize,
    /// No further run is begun after this time.
    pub time: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self { warm_up: 3, least: 10, most: 2000, time: Duration::from_secs(1) }
    }
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Runs that were counted.
    pub runs: usize,
    /// The shortest.
    pub least: Duration,
    /// Half of them were not longer.
    pub p50: Duration,
    /// 99 of 100 were not longer.
    pub p99: Duration,
}

/// Runs a session again and again. `now` is the time since some fixed moment.
///
/// # Errors
/// As [`Session::run`].
pub fn measure(
    session: &mut Session,
    inputs: &[(&str, &Tensor)],
    plan: &Plan,
    now: &mut dyn FnMut() -> Duration,
) -> Result<Figures, Error> {
    for _ in 0..plan.warm_up {
        session.run(inputs)?;
    }
    let begin = now();
    let mut times = Vec::new();
    let mut last = begin;
    while times.len() < plan.most.max(1) && (times.len() < plan.least.max(1) || last.saturating_sub(begin) < plan.time)
    {
        let start = now();
        session.run(inputs)?;
        last = now();
        times.push(last.saturating_sub(start));
    }
    times.sort();
    let at = |part: usize| times.get((times.len() * part / 100).min(times.len() - 1)).copied().unwrap_or_default();
    Ok(Figures { runs: times.len(), least: at(0), p50: at(50), p99: at(99) })
}
