//! Checks of the tree that no compiler makes: the crate graph, file lengths, error codes and their paragraphs,
//! documents that name what exists.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// A crate may use only what stands on a lower floor.
const FLOORS: [(&str, u8); 13] = [
    ("nx-types", 1),
    ("nx-journal", 2),
    ("nx-guard", 2),
    ("neuraxis-sdk", 2),
    ("nx-train", 2),
    ("nx-infer", 2),
    ("nx-control", 3),
    ("nx-runs", 3),
    ("nx-models", 3),
    ("nx-api", 4),
    ("parcels", 4),
    ("neuraxis", 5),
    ("xtask", 0),
];
/// Beyond the floors: the SDK stands on the vocabulary alone, and so does the example on the SDK.
const ONLY: [(&str, &[&str]); 2] = [("neuraxis-sdk", &["nx-types"]), ("parcels", &["nx-types", "neuraxis-sdk"])];
const MAX_LINES: usize = 800;
const LICENCES: [&str; 13] = [
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "CC0-1.0",
    "Unlicense",
    "MPL-2.0",
    "0BSD",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
];
/// Providers of cryptography and TLS of which the graph may hold at most the one we chose, ring.
const OTHER_PROVIDERS: [&str; 6] = ["aws-lc-rs", "openssl", "openssl-sys", "native-tls", "ed25519-dalek", "mbedtls"];

/// Runs every check and prints what is wrong.
pub(crate) fn run(root: &Path) -> Result<bool> {
    let files = tracked(root)?;
    let metadata = metadata(root)?;
    let mut wrong = Vec::new();
    graph(&metadata, &mut wrong);
    licences(&metadata, &mut wrong);
    lengths(root, &files, &mut wrong)?;
    paths(root, &files, &mut wrong);
    codes(root, &files, &mut wrong)?;
    architecture(root, &metadata, &mut wrong);
    for line in &wrong {
        println!("tidy: {line}");
    }
    println!("tidy: {} files, {} findings", files.len(), wrong.len());
    Ok(wrong.is_empty())
}

fn tracked(root: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()?;
    let text = String::from_utf8(output.stdout).context("paths are UTF-8")?;
    Ok(text
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .filter(|path| root.join(path).is_file())
        .collect())
}

fn metadata(root: &Path) -> Result<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root)
        .output()?;
    serde_json::from_slice(&output.stdout).context("cargo metadata prints JSON")
}

fn array<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn members(metadata: &Value) -> Vec<&Value> {
    let ids: BTreeSet<&str> = array(metadata, "workspace_members").iter().filter_map(Value::as_str).collect();
    array(metadata, "packages").iter().filter(|package| ids.contains(text(package, "id"))).collect()
}

fn graph(metadata: &Value, wrong: &mut Vec<String>) {
    let floors: BTreeMap<&str, u8> = FLOORS.into_iter().collect();
    for package in members(metadata) {
        let name = text(package, "name");
        let Some(&floor) = floors.get(name) else {
            wrong.push(format!("crate `{name}` has no floor; add it to FLOORS and to ARCHITECTURE.md"));
            continue;
        };
        for dependency in array(package, "dependencies") {
            let (used, dev) = (text(dependency, "name"), text(dependency, "kind") == "dev");
            if let Some(&below) = floors.get(used)
                && below >= floor
                && !dev
            {
                wrong.push(format!("crate `{name}` (floor {floor}) may not use `{used}` (floor {below})"));
            }
            let only = ONLY.iter().find(|(crate_name, _)| *crate_name == name);
            if let Some((_, allowed)) = only
                && floors.contains_key(used)
                && !allowed.contains(&used)
                && !dev
            {
                wrong.push(format!("crate `{name}` may not use `{used}`"));
            }
        }
    }
}

fn licences(metadata: &Value, wrong: &mut Vec<String>) {
    for package in array(metadata, "packages") {
        let (name, licence) = (text(package, "name"), text(package, "license"));
        let fine = licence.replace('/', " OR ").replace(['(', ')'], "").split(" OR ").any(|choice| {
            choice.split(" AND ").all(|part| {
                let part = part.trim();
                LICENCES.contains(&part) || part == "Apache-2.0 WITH LLVM-exception"
            })
        });
        if !fine {
            wrong.push(format!("dependency `{name}` has the licence `{licence}`, which is not on the list"));
        }
        if OTHER_PROVIDERS.contains(&name) {
            wrong.push(format!("dependency `{name}` is a second provider of cryptography or TLS beside ring"));
        }
    }
}

fn is_generated(path: &Path) -> bool {
    path.components().any(|part| matches!(part.as_os_str().to_str(), Some("dist" | "golden" | "node_modules")))
}

fn lengths(root: &Path, files: &[PathBuf], wrong: &mut Vec<String>) -> Result<()> {
    for path in files {
        let code =
            path.extension().and_then(|end| end.to_str()).is_some_and(|end| matches!(end, "rs" | "py" | "ts" | "tsx"));
        if !code || is_generated(path) {
            continue;
        }
        let lines = fs::read_to_string(root.join(path))?.lines().count();
        if lines > MAX_LINES {
            wrong.push(format!("{} has {lines} lines, more than {MAX_LINES}", path.display()));
        }
    }
    Ok(())
}

/// No path of a developer's machine stands in the tree.
fn paths(root: &Path, files: &[PathBuf], wrong: &mut Vec<String>) {
    let roots = [["/wo", "rk/"].concat(), ["/ro", "ot/"].concat()];
    for path in files {
        let Ok(content) = fs::read_to_string(root.join(path)) else { continue };
        for (number, line) in content.lines().enumerate() {
            let before = |at: usize| line.get(..at).and_then(|head| head.chars().last());
            let named = |root: &str| {
                line.find(root)
                    .is_some_and(|at| before(at).is_none_or(|c| !c.is_ascii_alphanumeric() && !"._-/".contains(c)))
            };
            if path.extension().is_none_or(|end| end != "lock") && roots.iter().any(|root| named(root)) {
                wrong.push(format!("{}:{} names a path of a developer's machine", path.display(), number + 1));
            }
        }
    }
}

/// The codes `NX-XXX-0000` in a text.
fn codes_in(content: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in content.match_indices("NX-") {
        let code: String = content.get(at..).into_iter().flat_map(|rest| rest.chars().take(11)).collect();
        let parts: Vec<&str> = code.split('-').collect();
        if let [_, area, number] = parts.as_slice()
            && area.len() == 3
            && area.bytes().all(|b| b.is_ascii_uppercase())
            && number.len() == 4
            && number.bytes().all(|b| b.is_ascii_digit())
        {
            found.insert(code);
        }
    }
    found
}

/// Every code in the sources has its paragraph, and every paragraph its code.
fn codes(root: &Path, files: &[PathBuf], wrong: &mut Vec<String>) -> Result<()> {
    let (mut used, mut documented) = (BTreeMap::new(), BTreeSet::new());
    for path in files {
        let name = path.to_string_lossy();
        if name.ends_with(".rs") && name.contains("/src/") && !name.starts_with("xtask") {
            for code in codes_in(&fs::read_to_string(root.join(path))?) {
                used.insert(code, name.to_string());
            }
        } else if name.starts_with("docs/errors") {
            let content = fs::read_to_string(root.join(path))?;
            documented.extend(content.lines().filter(|line| line.starts_with("##")).flat_map(codes_in));
        }
    }
    for (code, place) in &used {
        if !documented.contains(code) {
            wrong.push(format!("{code} ({place}) has no heading in docs/errors"));
        }
    }
    for code in documented.iter().filter(|code| !used.contains_key(*code)) {
        wrong.push(format!("docs/errors describes {code}, which no source uses"));
    }
    Ok(())
}

fn architecture(root: &Path, metadata: &Value, wrong: &mut Vec<String>) {
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap_or_default();
    for package in members(metadata) {
        let name = text(package, "name");
        if !page.contains(&format!("`{name}`")) {
            wrong.push(format!("ARCHITECTURE.md does not name crate `{name}`"));
        }
    }
    let named = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.contains('/') && !word.contains([' ', '{', '<', '*', '…']));
    for path in
        named.filter(|path| ["crates/", "examples/", "docs/", "sdk/", "bench/"].iter().any(|top| path.starts_with(top)))
    {
        if !root.join(path).exists() {
            wrong.push(format!("ARCHITECTURE.md names `{path}`, which does not exist"));
        }
    }
}
