//! Why a write failed. The engine tells a full disk apart, but not an exhausted quota, nor a process that may not make
//! its files larger: those look like a broken disk. So the file is asked.

use std::{fs::File, io, os::unix::fs::FileExt as _, path::Path};

use rusqlite::ffi;

/// As much is written to find out.
const TRIAL_BYTES: usize = 256 << 10;

/// Whether an error of the engine may come from a lack of room.
pub(super) fn is_suspect(error: &rusqlite::Error) -> bool {
    let rusqlite::Error::SqliteFailure(failure, _) = error else { return false };
    let codes = [ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_TRUNCATE, ffi::SQLITE_IOERR_CLOSE];
    codes.contains(&failure.extended_code)
}

/// Whether the write-ahead log may not grow, for want of room. What stands behind its last commit means nothing to the
/// engine, and the one writer asks between its writes: so zeros may be put there, and taken away again.
pub(super) fn is_exhausted(log: &Path) -> bool {
    let grow = || -> io::Result<()> {
        // The engine holds no locks on this file that closing it would take away.
        let file = File::options().write(true).open(log)?;
        let end = file.metadata()?.len();
        let grown = file.write_all_at(&vec![0; TRIAL_BYTES], end).and_then(|()| file.sync_data());
        file.set_len(end)?;
        grown
    };
    use io::ErrorKind as E;
    grow().is_err_and(|error| matches!(error.kind(), E::StorageFull | E::QuotaExceeded | E::FileTooLarge))
}
