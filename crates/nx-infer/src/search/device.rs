//! The machine that was measured on: a claim holds for its instruction set, because integer kernels differ in what overflows.

use serde::{Deserialize, Serialize};

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
        let instructions = instructions();
        let architecture = std::env::consts::ARCH.to_owned();
        let class =
            class.unwrap_or_else(|| [architecture.as_str(), instructions.last().map_or("", String::as_str)].join("-"));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { class, architecture, instructions, cores }
    }
}

#[cfg(target_arch = "x86_64")]
fn instructions() -> Vec<String> {
    let known = [
        ("sse4.1", std::arch::is_x86_feature_detected!("sse4.1")),
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ("avxvnni", std::arch::is_x86_feature_detected!("avxvnni")),
        ("avx512vnni", std::arch::is_x86_feature_detected!("avx512vnni")),
    ];
    known.into_iter().filter(|(_, there)| *there).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(target_arch = "aarch64")]
fn instructions() -> Vec<String> {
    let known = [
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
        ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
    ];
    known.into_iter().filter(|(_, there)| *there).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn instructions() -> Vec<String> {
    Vec::new()
}
