//! Which engine, with how many threads, runs a model fastest on this machine: measured by turns within a time, and kept for as
//! long as model, machine and engine are the same.

mod kept;

use std::time::Duration;

use nx_types::env::SeededRng;
use serde::{Deserialize, Serialize};

pub use kept::{Choice, Kept};

use crate::{
    Error, Tensor,
    engine::{Engine, Engines, Options, Session},
    search::shuffled,
};

/// Longest time that a tuning may take.
pub const MOST: Duration = Duration::from_secs(30);
/// Rounds at most: more tell nothing new.
const ROUNDS: usize = 200;
/// What takes so many times as long as the fastest is given up.
const HOPELESS: u32 = 4;
/// Another thread has to make a run faster by this factor: it is one less for others.
const WORTH: f64 = 1.15;

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Threads of a run that are tried.
    pub threads: Vec<usize>,
    /// Names of engines; all that there are, execution providers included, when empty.
    pub engines: Vec<String>,
    /// The time that all of it may take; [`MOST`] at most. One loading of a model is not broken off.
    pub time: Duration,
}

impl Plan {
    /// One thread, two, and all: on this many cores.
    pub fn new(cores: usize) -> Self {
        let mut threads = vec![1, 2, cores.min(8)];
        threads.retain(|count| *count <= cores.max(1));
        threads.sort_unstable();
        threads.dedup();
        Self { threads, engines: Vec::new(), time: Duration::from_secs(10) }
    }
}

/// How a model ran in one setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Setting {
    /// The engine.
    pub engine: String,
    /// Its version.
    pub version: String,
    /// Threads of a run.
    pub threads: usize,
    /// Runs that were timed.
    pub runs: usize,
    /// The time that half of them did not exceed, in microseconds; none without a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<f64>,
    /// The time that 99 of 100 did not exceed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<f64>,
    /// Why it was not measured, or not to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
}

/// A setting that is being measured.
struct Racer {
    setting: Setting,
    session: Option<Session>,
    nanos: Vec<u64>,
}

impl Racer {
    fn load(engine: &dyn Engine, threads: usize, bytes: &[u8]) -> Self {
        let options = Options { threads, ..Options::default() };
        let (session, left_out) = match Session::load(engine, bytes.to_vec(), &options) {
            Ok(session) => (Some(session), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let (engine, version) = (engine.name().to_owned(), engine.version());
        let setting = Setting { engine, version, threads, runs: 0, p50_us: None, p99_us: None, left_out };
        Self { setting, session, nanos: Vec::new() }
    }

    fn give_up(&mut self, reason: String) {
        self.session = None;
        self.setting.left_out = Some(reason);
    }

    fn finish(mut self) -> Setting {
        self.nanos.sort_unstable();
        let at = |part: usize| {
            let place = (self.nanos.len() * part / 100).min(self.nanos.len().checked_sub(1)?);
            self.nanos.get(place).map(|nanos| *nanos as f64 / 1e3)
        };
        Setting { runs: self.nanos.len(), p50_us: at(50), p99_us: at(99), ..self.setting }
    }
}

/// Measures a model in all settings of a plan, by turns, until the time is over. `now` is the time since some fixed moment.
///
/// # Errors
/// `NoEngine` when the plan names one that is not there. What a setting refuses is no error: it stands in its place.
pub fn measure(
    engines: &Engines,
    bytes: &[u8],
    inputs: &[(&str, &Tensor)],
    plan: &Plan,
    now: &mut dyn FnMut() -> Duration,
) -> Result<Vec<Setting>, Error> {
    let begin = now();
    let time = plan.time.min(MOST);
    let names: Vec<String> = if plan.engines.is_empty() {
        engines.names().into_iter().map(str::to_owned).collect()
    } else {
        plan.engines.clone()
    };
    let mut racers = Vec::new();
    for name in &names {
        // a provider whose plug-in does not load is left out, a name that nobody knows is an error
        let engine = match engines.named(name) {
            Ok(engine) => engine,
            Err(error @ Error::NoEngine { .. }) => return Err(error),
            Err(error) => {
                let (engine, reason) = (name.clone(), Some(error.to_string()));
                let (version, threads) = (String::new(), 1);
                let setting =
                    Setting { engine, version, threads, runs: 0, p50_us: None, p99_us: None, left_out: reason };
                racers.push(Racer { setting, session: None, nanos: Vec::new() });
                continue;
            }
        };
        for threads in &plan.threads {
            racers.push(Racer::load(&*engine, *threads, bytes));
        }
    }
    let rng = SeededRng::new(1);
    let over = |now: &mut dyn FnMut() -> Duration| now().saturating_sub(begin) >= time;
    // the first round warms up
    for round in 0..=ROUNDS {
        for turn in shuffled(racers.len(), &rng) {
            let best = racers.iter().filter_map(|racer| racer.nanos.iter().min()).min().copied();
            let Some(racer) = racers.get_mut(turn) else { continue };
            let Some(session) = &mut racer.session else { continue };
            // everyone has had a turn before the time ends anything
            if round > 1 && over(now) {
                return Ok(racers.into_iter().map(Racer::finish).collect());
            }
            let start = now();
            let result = session.run(inputs);
            let nanos = u64::try_from(now().saturating_sub(start).as_nanos()).unwrap_or(u64::MAX);
            match result {
                Err(error) => racer.give_up(error.to_string()),
                Ok(_) if round == 0 => {}
                Ok(_) => {
                    racer.nanos.push(nanos);
                    let least = racer.nanos.iter().min().copied().unwrap_or(nanos);
                    if best.is_some_and(|best| least > best.saturating_mul(u64::from(HOPELESS)))
                        && racer.nanos.len() >= 3
                    {
                        racer.give_up(format!("given up: more than {HOPELESS} times as long as the fastest"));
                    }
                }
            }
        }
    }
    Ok(racers.into_iter().map(Racer::finish).collect())
}

/// The fastest of what was measured; more threads only where they are worth it. None when nothing ran.
pub fn best(settings: &[Setting]) -> Option<&Setting> {
    let time = |setting: &Setting| {
        let fewest = settings.iter().map(|setting| setting.threads).min().unwrap_or(1).max(1);
        // a factor for each doubling of the threads
        let doubled = (setting.threads as f64 / fewest as f64).log2();
        setting.p50_us.map_or(f64::INFINITY, |p50| p50 * WORTH.powf(doubled))
    };
    let ran = settings.iter().filter(|setting| setting.p50_us.is_some() && setting.left_out.is_none());
    ran.min_by(|a, b| time(a).total_cmp(&time(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(engine: &str, threads: usize, p50_us: Option<f64>) -> Setting {
        let left_out = p50_us.is_none().then(|| "no".to_owned());
        let (engine, version) = (engine.to_owned(), "1".to_owned());
        Setting { engine, version, threads, runs: 9, p50_us, p99_us: p50_us, left_out }
    }

    #[test]
    fn another_thread_has_to_be_worth_it() {
        let chosen = |settings: &[Setting]| best(settings).map(|best| (best.engine.clone(), best.threads));
        let slightly = [setting("a", 1, Some(100.0)), setting("a", 2, Some(95.0))];
        assert_eq!(chosen(&slightly), Some(("a".to_owned(), 1)));
        let much = [setting("a", 1, Some(100.0)), setting("a", 2, Some(60.0)), setting("b", 1, Some(80.0))];
        assert_eq!(chosen(&much), Some(("a".to_owned(), 2)));
        let refused = [setting("a", 1, None), setting("b", 1, Some(900.0))];
        assert_eq!(chosen(&refused), Some(("b".to_owned(), 1)));
        assert_eq!(chosen(&[setting("a", 1, None)]), None);
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn a_plan_asks_for_no_more_threads_than_there_are() {
        assert_eq!(Plan::new(1).threads, [1]);
        assert_eq!(Plan::new(2).threads, [1, 2]);
        assert_eq!(Plan::new(6).threads, [1, 2, 6]);
        assert_eq!(Plan::new(64).threads, [1, 2, 8]);
    }
}
