//! Faults as real payment services have them, drawn from a seed: the same order at the same attempt always meets the
//! same fault, whatever else happens at the time.

use nx_types::Duration;
use ring::digest::{SHA256, digest};

/// How often and how things go wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    /// What decides each draw.
    pub seed: u64,
    /// The share of attempts that go wrong, 0 to 100.
    pub percent: u8,
    /// Attempts for one order that may go wrong before all of its further ones succeed.
    pub at_most: u64,
    /// How long a slow answer takes.
    pub slow: Duration,
    /// What `Retry-After` says, in seconds.
    pub retry_after_s: u32,
}

impl Default for Faults {
    fn default() -> Self {
        Self { seed: 85, percent: 45, at_most: 3, slow: Duration::from_millis(700), retry_after_s: 1 }
    }
}

/// What goes wrong with an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// 503 with `Retry-After`; nothing is booked.
    Unavailable,
    /// 429 with `Retry-After`; nothing is booked.
    TooMany,
    /// The connection is reset; nothing is booked.
    ResetBefore,
    /// The connection is reset after the refund was booked.
    ResetAfter,
    /// 500 after the refund was booked.
    ErrorAfter,
    /// The answer comes late.
    Slow,
}

impl Fault {
    const ALL: [Self; 6] =
        [Self::Unavailable, Self::TooMany, Self::ResetBefore, Self::ResetAfter, Self::ErrorAfter, Self::Slow];

    /// The name in the payment service's records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::TooMany => "too-many",
            Self::ResetBefore => "reset-before",
            Self::ResetAfter => "reset-after",
            Self::ErrorAfter => "error-after",
            Self::Slow => "slow",
        }
    }
}

impl Faults {
    /// No faults at all.
    pub fn none() -> Self {
        Self { percent: 0, ..Self::default() }
    }

    /// The fault that attempt number `attempt` (from 1) for `reference` meets.
    pub fn draw(&self, reference: &str, attempt: u64) -> Option<Fault> {
        if attempt > self.at_most {
            return None;
        }
        let text = format!("{}/{reference}/{attempt}", self.seed);
        let hash = digest(&SHA256, text.as_bytes());
        let &[chance_high, chance_low, which, ..] = hash.as_ref() else { return None };
        let chance = u16::from_be_bytes([chance_high, chance_low]) % 100;
        if chance >= u16::from(self.percent) {
            return None;
        }
        Fault::ALL.get(usize::from(which) % Fault::ALL.len()).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_story_begins_with_a_503() {
        assert_eq!(Faults::default().draw("A17", 1), Some(Fault::Unavailable));
        assert_eq!(Faults::default().draw("A17", 2), None);
    }

    #[test]
    fn draws_are_repeatable_bounded_and_of_every_kind() {
        let faults = Faults::default();
        let drawn: Vec<_> = (0..500).map(|n| faults.draw(&format!("A{n}"), 1)).collect();
        let again: Vec<_> = (0..500).map(|n| faults.draw(&format!("A{n}"), 1)).collect();
        assert_eq!(drawn, again);
        let kinds: BTreeSet<_> = drawn.iter().flatten().collect();
        assert_eq!(kinds.len(), 6);
        let share = drawn.iter().flatten().count();
        assert!((150..300).contains(&share), "{share}");
        assert!((0..500).all(|n| faults.draw(&format!("A{n}"), 4).is_none()));
        assert_eq!(Faults::none().draw("A17", 1), None);
    }
}
