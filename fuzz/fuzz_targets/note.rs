//! Signed notes, checkpoints and proofs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nx_journal::tlog;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(note) = tlog::Note::parse(bytes) {
        assert_eq!(tlog::Note::parse(note.encode().as_bytes()).as_ref(), Ok(&note));
    }
    drop(tlog::Checkpoint::parse(bytes));
    drop(tlog::Proof::parse(bytes));
    drop(tlog::parse_entries(bytes));
});
