//! Event headers.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = nx_types::Header::decode(bytes) {
        assert_eq!(nx_types::Header::decode(&header.encode()), Ok(header));
    }
});
