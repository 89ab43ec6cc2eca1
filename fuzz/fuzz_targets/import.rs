//! CloudEvents, one a line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nx_types::Namespace;

fuzz_target!(|bytes: &[u8]| {
    drop(nx_journal::archive::import_cloudevents(&mut &*bytes, &mut |event| {
        drop(event.into_event(Namespace::default()));
        Ok(())
    }));
});
