//! Frames of the worker protocol: parsed or refused, never a panic; what parses survives the way back.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(frame) = nx_runs::service::parse(text) {
        let written = serde_json::to_string(&frame).expect("a frame can be written");
        assert_eq!(nx_runs::service::parse(&written).expect("what was written can be read"), frame);
    }
});
