//! Verification: whether what is stored is what was logged, and where it is not.
//!
//! Records are read as they are stored, header and sealed bytes, without unsealing; a keyring, where there is one, also
//! tells which record of an unfinished tile was changed, and checks index entries against the rows that seal them.
//!
//! What is *not* here: repair. A finding names the place; a backup is what mends it.

mod audit;
mod ledger;
mod notary;
mod offline;
mod records;
mod report;
mod state;
mod tree;

pub use audit::{Audit, VerifyOptions};
pub use notary::Notary;
pub use offline::verify_export;
pub(crate) use records::verify_rows;
pub use report::{Finding, MAX_FINDINGS, Place, Report};

use crate::{
    Error,
    backend::Blobs,
    seal::Keyring,
    tlog::{Checkpoint, Note, Verifier},
};
use tree::{Anchor, Voucher};

/// What a verification goes by.
#[derive(Debug, Default)]
pub(crate) struct Basis<'a> {
    /// The log's public key: stored checkpoints must be signed by it.
    pub(crate) key: Option<&'a Verifier>,
    /// The keys of the logs that it was restored from.
    pub(crate) former: Vec<Verifier>,
    /// Unseals rows, where the master key is at hand.
    pub(crate) keyring: Option<&'a Keyring>,
    /// The content of blobs, if it is to be looked at.
    pub(crate) blobs: Option<&'a dyn Blobs>,
    /// Checkpoints kept elsewhere.
    pub(crate) outside: Vec<Checkpoint>,
    /// Most subjects and rows held in memory; `None` is the default.
    pub(crate) max_held: Option<usize>,
}

/// Reads a checkpoint that was kept elsewhere. With a key its signature must hold.
pub fn outside_checkpoint(note: &[u8], key: Option<&Verifier>) -> Result<Checkpoint, Error> {
    match key {
        Some(key) => Ok(Checkpoint::open(note, key)?),
        None => Ok(Checkpoint::parse(note).map(|(checkpoint, _note): (_, Note)| checkpoint)?),
    }
}

/// A stored checkpoint as something to go by; the text says what is wrong with it.
fn stored_anchor(size: u64, note: &[u8], basis: &Basis<'_>) -> Result<Anchor, String> {
    let (checkpoint, signed) = Checkpoint::parse(note).map_err(|error| error.to_string())?;
    if let Some(key) = basis.key {
        let former = basis.former.iter().find(|former| former.name() == checkpoint.origin);
        signed.verify(former.unwrap_or(key)).map_err(|error| error.to_string())?;
    }
    if checkpoint.size != size {
        return Err(format!("it is stored as one of size {size} and says {}", checkpoint.size));
    }
    Ok(Anchor { size, root: checkpoint.root, voucher: Voucher::Signed })
}
