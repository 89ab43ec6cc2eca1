//! Manifests: YAML of any shape, then the check of every kind.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nx_types::Namespace;

fuzz_target!(|text: &str| {
    let registry = nx_control::Registry::new(nx_control::kinds().into_iter().chain(nx_runs::kinds::descriptors()));
    if let Ok(manifests) = nx_control::manifest::parse(text, &nx_control::manifest::Limits::default()) {
        for manifest in &manifests {
            drop(registry.check(manifest, &Namespace::default()));
        }
    }
});
