//! What a reflex remembers: the latest events of its window and when it last fired. Both are bounded, and both are
//! functions of the log before the reading position, so that forgetting them at a restart changes nothing.

use std::collections::VecDeque;

use nx_types::{Duration, Timestamp};
use serde_json::{Value, json};

/// How many firings are remembered for debouncing.
pub(crate) const MAX_FIRED: usize = 1024;

/// One event of a window.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    time: Timestamp,
    by: String,
    /// Whether it counts, and the number it brings. Both were found when the event was seen.
    counts: bool,
    number: Option<f64>,
}

/// The last `limit` events that a reflex heard.
#[derive(Debug)]
pub(crate) struct Memory {
    seen: VecDeque<Seen>,
    limit: usize,
    over: Duration,
    fired: VecDeque<(String, Timestamp)>,
    debounce: Option<Duration>,
}

impl Memory {
    pub(crate) fn new(window: Option<(Duration, usize)>, debounce: Option<Duration>) -> Self {
        let (over, limit) = window.unwrap_or((Duration::ZERO, 0));
        Self { seen: VecDeque::new(), limit, over, fired: VecDeque::new(), debounce }
    }

    /// Takes note of an event. One that does not count still takes its place among the last `limit`.
    pub(crate) fn see(&mut self, time: Timestamp, by: &str, counts: bool, number: Option<f64>) {
        if self.limit == 0 {
            return;
        }
        if self.seen.len() >= self.limit {
            self.seen.pop_front();
        }
        self.seen.push_back(Seen { time, by: by.to_owned(), counts, number });
    }

    /// The figures for an event at `time`.
    pub(crate) fn window(&self, time: Timestamp, by: &str) -> Value {
        let (mut count, mut numbers) = (0u64, Vec::new());
        for seen in &self.seen {
            let within = seen.time <= time && time.since(seen.time) < self.over;
            if seen.counts && within && seen.by == by {
                count += 1;
                numbers.extend(seen.number);
            }
        }
        let sum: f64 = numbers.iter().sum();
        let some = |value: Option<f64>| value.filter(|value| value.is_finite()).map_or(Value::Null, Value::from);
        let any = (!numbers.is_empty()).then_some(sum);
        json!({
            "count": count,
            "min": some(numbers.iter().copied().reduce(f64::min)),
            "max": some(numbers.iter().copied().reduce(f64::max)),
            "mean": some(any.map(|sum| sum / numbers.len() as f64)),
            "sum": some(any),
        })
    }

    /// Whether the reflex rests at `time`. Events may come out of order, so resting reaches to both sides.
    pub(crate) fn rests(&self, time: Timestamp, by: &str) -> bool {
        let Some(debounce) = self.debounce else { return false };
        let last = self.fired.iter().rev().find(|(fired, _)| fired == by);
        last.is_some_and(|(_, last)| time.since(*last) < debounce && last.since(time) < debounce)
    }

    /// Takes note of having fired.
    pub(crate) fn fire(&mut self, time: Timestamp, by: String) {
        if self.debounce.is_none() {
            return;
        }
        if self.fired.len() >= MAX_FIRED {
            self.fired.pop_front();
        }
        self.fired.push_back((by, time));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000) + Duration::from_secs(secs)
    }

    #[test]
    fn figures_of_a_window() {
        let mut memory = Memory::new(Some((Duration::from_secs(10), 4)), None);
        assert_eq!(memory.window(at(0), "a")["count"], json!(0));
        assert_eq!(memory.window(at(0), "a")["mean"], Value::Null);
        for (secs, by, number) in [(1, "a", 1.0), (2, "b", 9.0), (8, "a", 2.0), (9, "a", 6.0)] {
            memory.see(at(secs), by, true, Some(number));
        }
        assert_eq!(memory.window(at(9), "a"), json!({ "count": 3, "min": 1.0, "max": 6.0, "mean": 3.0, "sum": 9.0 }));
        // Exactly `over` ago is outside; later than the event at hand is outside.
        assert_eq!(memory.window(at(11), "a")["count"], json!(2));
        assert_eq!(memory.window(at(8), "a")["count"], json!(2));
        memory.see(at(10), "a", false, None);
        memory.see(at(10), "a", true, None);
        assert_eq!(memory.window(at(10), "a"), json!({ "count": 3, "min": 2.0, "max": 6.0, "mean": 4.0, "sum": 8.0 }));
    }

    #[test]
    fn resting_is_per_key_and_by_the_times_of_events() {
        let mut memory = Memory::new(None, Some(Duration::from_secs(30)));
        assert!(!memory.rests(at(100), "a"));
        memory.fire(at(100), "a".to_owned());
        for (secs, by, rests) in [
            (100, "a", true),
            (129, "a", true),
            (130, "a", false),
            (100, "b", false),
            (71, "a", true),
            (70, "a", false),
        ] {
            assert_eq!(memory.rests(at(secs), by), rests, "{secs} {by}");
        }
    }

    proptest! {
        /// Against the definition, computed from the whole history.
        #[test]
        fn windows_are_what_they_are_said_to_be(
            events in prop::collection::vec((0u64..60, 0usize..2, any::<bool>(), -9i32..9), 1..40),
            limit in 1usize..12,
            over in 1u64..20,
        ) {
            let mut memory = Memory::new(Some((Duration::from_secs(over), limit)), None);
            for (place, (secs, by, counts, number)) in events.iter().enumerate() {
                memory.see(at(*secs), ["a", "b"][*by], *counts, Some(f64::from(*number)));
                let last = &events[(place + 1).saturating_sub(limit)..=place];
                let expected: Vec<i32> = last
                    .iter()
                    .filter(|(then, whose, counts, _)| *counts && whose == by && then <= secs && secs - then < over)
                    .map(|(_, _, _, number)| *number)
                    .collect();
                let found = memory.window(at(*secs), ["a", "b"][*by]);
                prop_assert_eq!(&found["count"], &json!(expected.len() as u64));
                prop_assert_eq!(&found["max"], &expected.iter().max().map_or(Value::Null, |max| json!(f64::from(*max))));
                if !expected.is_empty() {
                    prop_assert_eq!(&found["sum"], &json!(f64::from(expected.iter().sum::<i32>())));
                }
            }
        }
    }
}
