//! The machine that a model runs on: what of it decides how fast a model is and which arithmetic it takes. Read from what the
//! system says; nothing is measured here. And classes of devices that are shipped, to predict by until one of them reports.

mod read;
mod shipped;
mod work;

use std::path::Path;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

pub use shipped::{Class, Prediction, classes};
pub use work::Work;

use crate::search::digest;

/// What a machine is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// The digest of all that does not change while the machine runs: what was measured on one machine holds for those of equal id.
    pub id: String,
    /// The class of device: a board where one is known, else architecture and instruction set.
    pub class: String,
    /// What the machine calls itself: a board's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub board: Option<String>,
    /// What the processor calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<String>,
    /// The architecture: `x86_64`, `aarch64`.
    pub architecture: String,
    /// The operating system: `linux`, `macos`.
    pub system: String,
    /// Instruction sets that kernels of models choose by, the plainest first.
    pub instructions: Vec<String>,
    /// Cores.
    pub cores: Cores,
    /// Caches of the first core, the nearest first.
    pub caches: Vec<Cache>,
    /// Bytes of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// What the system shows beside the processor. Whether an engine can use it, a benchmark says.
    pub accelerators: Vec<Accelerator>,
    /// Temperatures now. Not part of the id.
    pub thermals: Vec<Thermal>,
}

/// How many can run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cores {
    /// Threads that this process may run at once, limits of containers included.
    pub usable: usize,
    /// Cores of the machine; two threads may share one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub physical: Option<usize>,
    /// The highest clock, in MHz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_mhz: Option<u64>,
}

/// A cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cache {
    /// 1 is the nearest.
    pub level: u32,
    /// `data`, `instruction`, `unified`.
    pub kind: String,
    /// Bytes.
    pub bytes: u64,
}

/// Something beside the processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accelerator {
    /// `gpu`, `npu`.
    pub kind: String,
    /// Its name, as far as the system says it.
    pub name: String,
    /// Where the system shows it.
    pub place: String,
}

/// A temperature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Thermal {
    /// What is measured, as the system names it.
    pub name: String,
    /// Degrees Celsius.
    pub celsius: f64,
}

impl Profile {
    /// This machine.
    pub fn here() -> Self {
        Self::read(Path::new("/"), instructions())
    }

    /// A machine whose system shows itself below `root`, with these instruction sets.
    fn read(root: &Path, instructions: Vec<String>) -> Self {
        let board = read::board(root);
        let usable = std::thread::available_parallelism().map_or(1, usize::from);
        let cores = Cores { usable, physical: read::physical_cores(root), max_mhz: read::max_mhz(root) };
        let architecture = std::env::consts::ARCH.to_owned();
        let known = read::known_class(root, board.as_deref());
        let class = known.unwrap_or_else(|| plain_class(&architecture, &instructions));
        let mut profile = Self {
            id: String::new(),
            class,
            board,
            processor: read::processor(root),
            architecture,
            system: std::env::consts::OS.to_owned(),
            instructions,
            cores,
            caches: read::caches(root),
            memory_bytes: read::memory_bytes(root),
            accelerators: read::accelerators(root),
            thermals: Vec::new(),
        };
        profile.id = profile.digest();
        profile.thermals = read::thermals(root);
        profile
    }

    fn digest(&self) -> String {
        let mut context = Context::new(&SHA256);
        context.update(&serde_json::to_vec(self).unwrap_or_default());
        digest(context)
    }

    /// Whether the processor multiplies and adds bytes in one instruction; int8 is seldom faster without.
    pub fn has_int8_products(&self) -> bool {
        let known = ["avxvnni", "avx512vnni", "dotprod", "i8mm"];
        self.instructions.iter().any(|name| known.contains(&name.as_str()))
    }
}

/// The class of a machine that nothing else is known of.
pub(crate) fn plain_class(architecture: &str, instructions: &[String]) -> String {
    match instructions.last() {
        Some(last) => format!("{architecture}-{last}"),
        None => architecture.to_owned(),
    }
}

/// Instruction sets of this processor that kernels of models choose by, the plainest first.
#[cfg(target_arch = "x86_64")]
pub(crate) fn instructions() -> Vec<String> {
    let known = [
        ("sse4.1", std::arch::is_x86_feature_detected!("sse4.1")),
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ("avxvnni", std::arch::is_x86_feature_detected!("avxvnni")),
        ("avx512vnni", std::arch::is_x86_feature_detected!("avx512vnni")),
    ];
    known.into_iter().filter(|(_, there)| *there).map(|(name, _)| name.to_owned()).collect()
}

/// Instruction sets of this processor that kernels of models choose by, the plainest first.
#[cfg(target_arch = "aarch64")]
pub(crate) fn instructions() -> Vec<String> {
    let known = [
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("fp16", std::arch::is_aarch64_feature_detected!("fp16")),
        ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
        ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
    ];
    known.into_iter().filter(|(_, there)| *there).map(|(name, _)| name.to_owned()).collect()
}

/// Nothing is known of other architectures.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn instructions() -> Vec<String> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;

    /// A root with these files.
    fn root(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let path = root.path().to_owned();
        (root, path)
    }

    #[test]
    fn a_raspberry_pi_says_what_it_is() {
        let (_kept, root) = root(&[
            ("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0"),
            ("proc/device-tree/compatible", "raspberrypi,5-model-b\0brcm,bcm2712\0"),
            ("proc/meminfo", "MemTotal:        8125000 kB\nMemFree: 1 kB\n"),
            ("sys/devices/system/cpu/cpu0/cache/index0/level", "1\n"),
            ("sys/devices/system/cpu/cpu0/cache/index0/type", "Data\n"),
            ("sys/devices/system/cpu/cpu0/cache/index0/size", "64K\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "2400000\n"),
            ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
            ("sys/class/thermal/thermal_zone0/temp", "52300\n"),
        ]);
        let profile = Profile::read(&root, vec!["neon".to_owned(), "dotprod".to_owned()]);
        assert_eq!(
            (profile.class.as_str(), profile.board.as_deref()),
            ("raspberry-pi-5", Some("Raspberry Pi 5 Model B Rev 1.0"))
        );
        assert_eq!(profile.memory_bytes, Some(8_125_000 * 1024));
        assert_eq!(profile.caches, [Cache { level: 1, kind: "data".to_owned(), bytes: 64 << 10 }]);
        assert_eq!(profile.cores.max_mhz, Some(2400));
        assert_eq!(profile.thermals, [Thermal { name: "cpu-thermal".to_owned(), celsius: 52.3 }]);
        assert!(profile.has_int8_products());
        // heat changes, the machine does not
        fs::write(root.join("sys/class/thermal/thermal_zone0/temp"), "70000\n").unwrap();
        let warm = Profile::read(&root, vec!["neon".to_owned(), "dotprod".to_owned()]);
        assert_eq!(warm.id, profile.id);
        assert_ne!(warm.thermals, profile.thermals);
        assert_ne!(Profile::read(&root, vec!["neon".to_owned()]).id, profile.id);
    }

    #[test]
    fn a_jetson_and_its_gpu_are_known() {
        let (_kept, root) = root(&[
            ("proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\0"),
            ("proc/device-tree/compatible", "nvidia,p3768-0000+p3767-0005\0nvidia,tegra234\0"),
            ("dev/nvhost-gpu", ""),
        ]);
        let profile = Profile::read(&root, Vec::new());
        assert_eq!(profile.class, "jetson-orin-nano");
        assert_eq!(profile.accelerators.len(), 1);
        assert_eq!(
            (profile.accelerators[0].kind.as_str(), profile.accelerators[0].place.as_str()),
            ("gpu", "/dev/nvhost-gpu")
        );
    }

    #[test]
    fn a_machine_that_says_nothing_has_a_profile_too() {
        let (_kept, root) = root(&[]);
        let profile = Profile::read(&root, vec!["avx2".to_owned()]);
        assert_eq!(profile.class, format!("{}-avx2", std::env::consts::ARCH));
        assert!(profile.accelerators.is_empty() && profile.caches.is_empty() && profile.memory_bytes.is_none());
        let here = Profile::here();
        assert!(here.cores.usable >= 1 && here.id.starts_with("sha256:"));
        assert_eq!(here.id, Profile::here().id);
    }
}
