//! What Linux shows of a machine in `/proc` and `/sys`. On other systems these files are missing, and so are the answers.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{Accelerator, Cache, Thermal};

fn text(root: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(root.join(name)).ok()?;
    Some(text.trim_matches(['\0', '\n', ' ']).to_owned()).filter(|text| !text.is_empty())
}

fn number(root: &Path, name: &str) -> Option<u64> {
    text(root, name)?.parse().ok()
}

/// What is in a folder whose name begins so, in the order of names.
fn named(root: &Path, folder: &str, begin: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join(folder)).into_iter().flatten().filter_map(Result::ok);
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(begin))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// The value of a line `key : value` of `/proc/cpuinfo`, of each processor.
fn processors(root: &Path, key: &str) -> Vec<String> {
    let lines = text(root, "proc/cpuinfo").unwrap_or_default();
    let lines = lines.lines().filter_map(|line| line.split_once(':'));
    lines.filter(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned()).collect()
}

pub(super) fn board(root: &Path) -> Option<String> {
    text(root, "proc/device-tree/model").or_else(|| text(root, "sys/class/dmi/id/product_name"))
}

pub(super) fn processor(root: &Path) -> Option<String> {
    processors(root, "model name").into_iter().next()
}

/// The class of boards that are known by what they call themselves.
pub(super) fn known_class(root: &Path, board: Option<&str>) -> Option<String> {
    let board = board.unwrap_or_default().to_lowercase();
    let compatible = text(root, "proc/device-tree/compatible").unwrap_or_default();
    for (words, class) in [
        ("raspberry pi 5", "raspberry-pi-5"),
        ("raspberry pi 4", "raspberry-pi-4"),
        ("orin nano", "jetson-orin-nano"),
        ("orin nx", "jetson-orin-nx"),
        ("agx orin", "jetson-agx-orin"),
    ] {
        if board.contains(words) {
            return Some(class.to_owned());
        }
    }
    let maker = |name: &str| compatible.split('\0').any(|each| each.starts_with(name));
    if maker("qcom,") {
        // the last name is the chip's: `qcom,qcs6490`
        let chip = compatible.split('\0').rfind(|each| each.starts_with("qcom,"))?;
        return Some(format!("qualcomm-{}", chip.trim_start_matches("qcom,")));
    }
    if maker("nvidia,tegra") {
        return Some("jetson".to_owned());
    }
    (std::env::consts::OS == "macos" && std::env::consts::ARCH == "aarch64").then(|| "apple-silicon".to_owned())
}

pub(super) fn physical_cores(root: &Path) -> Option<usize> {
    let (packages, cores) = (processors(root, "physical id"), processors(root, "core id"));
    let distinct: BTreeSet<(String, String)> = packages.into_iter().zip(cores).collect();
    let listed = processors(root, "processor").len();
    Some(if distinct.is_empty() { listed } else { distinct.len() }).filter(|count| *count > 0)
}

pub(super) fn max_mhz(root: &Path) -> Option<u64> {
    let most = |cpu: PathBuf| number(&cpu, "cpufreq/cpuinfo_max_freq").map(|khz| khz / 1000);
    named(root, "sys/devices/system/cpu", "cpu").into_iter().filter_map(most).max()
}

pub(super) fn caches(root: &Path) -> Vec<Cache> {
    let cache = |index: PathBuf| {
        let size = text(&index, "size")?;
        let (count, unit) = size.split_at_checked(size.find(|letter: char| !letter.is_ascii_digit())?)?;
        let unit = match unit {
            "K" => 1 << 10,
            "M" => 1 << 20,
            _ => return None,
        };
        Some(Cache {
            level: number(&index, "level")?.try_into().ok()?,
            kind: text(&index, "type")?.to_lowercase(),
            bytes: count.parse::<u64>().ok()? * unit,
        })
    };
    named(root, "sys/devices/system/cpu/cpu0/cache", "index").into_iter().filter_map(cache).collect()
}

pub(super) fn memory_bytes(root: &Path) -> Option<u64> {
    let all = text(root, "proc/meminfo")?;
    let line = all.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

pub(super) fn accelerators(root: &Path) -> Vec<Accelerator> {
    let mut found = Vec::new();
    let mut add = |kind: &str, name: String, path: &Path| {
        let place = Path::new("/").join(path.strip_prefix(root).unwrap_or(path)).display().to_string();
        found.push(Accelerator { kind: kind.to_owned(), name, place });
    };
    for path in named(root, "proc/driver/nvidia/gpus", "") {
        let information = text(&path, "information").unwrap_or_default();
        let model = information.lines().find_map(|line| line.strip_prefix("Model:")).map(|name| name.trim().to_owned());
        add("gpu", model.unwrap_or_else(|| "NVIDIA".to_owned()), &path);
    }
    for path in named(root, "dev", "nvhost-gpu") {
        add("gpu", "NVIDIA Tegra".to_owned(), &path);
    }
    for path in named(root, "sys/class/drm", "card") {
        // outputs of a card are listed beside it: card0-HDMI-A-1
        let plain = path.file_name().is_some_and(|name| !name.to_string_lossy().contains('-'));
        let maker = match text(&path, "device/vendor").as_deref() {
            Some("0x8086") => "Intel graphics",
            Some("0x1002") => "AMD graphics",
            _ => continue,
        };
        if plain {
            add("gpu", maker.to_owned(), &path);
        }
    }
    for (folder, begin, name) in [
        ("dev/accel", "accel", "compute accelerator"),
        ("dev", "apex_", "Coral Edge TPU"),
        ("dev", "hailo", "Hailo"),
        ("dev", "rknpu", "Rockchip NPU"),
        ("dev", "adsprpc", "Qualcomm Hexagon"),
        ("dev", "fastrpc-cdsp", "Qualcomm Hexagon"),
    ] {
        for path in named(root, folder, begin) {
            add("npu", name.to_owned(), &path);
        }
    }
    found
}

pub(super) fn thermals(root: &Path) -> Vec<Thermal> {
    let thermal = |zone: PathBuf| {
        let thousandths: f64 = text(&zone, "temp")?.parse().ok()?;
        Some(Thermal { name: text(&zone, "type")?, celsius: thousandths / 1000.0 })
    };
    named(root, "sys/class/thermal", "thermal_zone").into_iter().filter_map(thermal).collect()
}
