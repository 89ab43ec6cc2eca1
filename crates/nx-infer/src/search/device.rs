//! The machine that was measured on: a claim holds for its instruction set, because integer kernels differ in what overflows.

use serde::{Deserialize, Serialize};

use crate::device::Profile;

/// What kind of machine it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// The class that latencies are valid for, as the caller names it.
    pub class: String,
    /// The architecture.
    pub architecture: String,
    /// Instruction sets that int8 kernels choose by.
    pub instructions: Vec<String>,
    /// Cores that this process may use.
    pub cores: usize,
}

impl Device {
    /// This machine.
    pub fn here(class: Option<String>) -> Self {
        let profile = Profile::here();
        Self {
            class: class.unwrap_or(profile.class),
            architecture: profile.architecture,
            instructions: profile.instructions,
            cores: profile.cores.usable,
        }
    }
}
