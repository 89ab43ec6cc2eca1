//! How time, ids and randomness enter: through traits, so that a simulation owns them.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use crate::{
    id::{ApprovalId, EventId, RunId},
    time::{Duration, Timestamp},
};

/// The only source of wall-clock time.
pub trait Clock: Send + Sync {
    /// The instant it is.
    fn now(&self) -> Timestamp;
}

/// The only source of randomness.
pub trait Rng: Send + Sync {
    /// Fills the buffer with random bytes.
    fn fill(&self, buffer: &mut [u8]);

    /// 64 random bits.
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// Clock and randomness, handed to every component; cheap to clone.
#[derive(Clone)]
pub struct Env {
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

impl Env {
    /// An environment of the given parts.
    pub fn new(clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Self {
        Self { clock, rng }
    }

    /// The operating system's clock and randomness.
    pub fn system() -> Self {
        Self::new(Arc::new(SystemClock), Arc::new(SystemRng))
    }

    /// A clock that stands still until it is moved, and randomness that `seed` alone decides.
    pub fn seeded(seed: u64) -> (Self, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_767_225_600_000)));
        (Self::new(clock.clone(), Arc::new(SeededRng::new(seed))), clock)
    }

    /// The instant it is.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The source of randomness.
    pub fn rng(&self) -> &dyn Rng {
        &*self.rng
    }

    /// A fresh event id.
    pub fn event_id(&self) -> EventId {
        EventId::generate(self.now(), self.rng())
    }

    /// A fresh run id.
    pub fn run_id(&self) -> RunId {
        RunId::random(self.rng())
    }

    /// A fresh approval id.
    pub fn approval_id(&self) -> ApprovalId {
        ApprovalId::random(self.rng())
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env").finish_non_exhaustive()
    }
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the one place where real time enters")]
        let now = std::time::SystemTime::now();
        let micros = now.duration_since(std::time::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_micros());
        Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

/// The operating system's randomness, drawn in blocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRng;

impl Rng for SystemRng {
    fn fill(&self, buffer: &mut [u8]) {
        #[expect(clippy::expect_used, reason = "without randomness no key or id may be made; Linux never fails here")]
        getrandom::fill(buffer).expect("the operating system gives randomness");
    }
}

/// A clock for simulations: it moves when told.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.as_micros()))
    }

    /// Moves forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_micros().cast_signed(), Ordering::SeqCst);
    }

    /// Jumps to an instant, back or forth.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_micros(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// Seeded randomness for simulations and reproducible work: `SplitMix64` (Steele, Lea, Flood 2014). Never for keys
/// of a real installation.
#[derive(Debug)]
pub struct SeededRng(AtomicU64);

impl SeededRng {
    /// Randomness that `seed` alone decides.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Rng for SeededRng {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst).wrapping_add(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            chunk.copy_from_slice(&z.to_le_bytes()[..chunk.len()]);
        }
    }
}
