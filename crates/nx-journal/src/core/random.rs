//! Randomness for what is public anyway (nonces, event ids), drawn from the environment in blocks.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use nx_types::{Env, Rng};

const BLOCK: usize = 4096;

/// Hands out the environment's randomness; keys never come from here.
pub(super) struct Pool {
    env: Env,
    block: Mutex<Vec<u8>>,
}

impl Pool {
    pub(super) fn new(env: Env) -> Self {
        Self { env, block: Mutex::new(Vec::new()) }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Rng for Pool {
    fn fill(&self, buffer: &mut [u8]) {
        if buffer.len() > BLOCK {
            return self.env.rng().fill(buffer);
        }
        let mut block = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        if block.len() < buffer.len() {
            block.resize(BLOCK, 0);
            self.env.rng().fill(&mut block);
        }
        let rest = block.len() - buffer.len();
        for (to, from) in buffer.iter_mut().zip(block.drain(rest..)) {
            *to = from;
        }
    }
}
