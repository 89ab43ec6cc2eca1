//! Checkpoints (C2SP tlog-checkpoint): a log's name, its size and its root, in a signed note.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use nx_types::{Digest, Origin};

use super::{
    MAX_SIZE,
    note::{Note, NoteError, Signer, Verifier},
};

/// A tree head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's line, as [`Checkpoint::name_of`] makes it.
    pub origin: String,
    /// Number of leaves.
    pub size: u64,
    /// The root hash.
    pub root: Digest,
    /// Further lines, each without its newline; verifiers that do not know them ignore them.
    pub extensions: Vec<String>,
}

/// Why bytes are not a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a note, or its signature does not hold.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The note's text is no checkpoint; `rule` says why.
    #[error("not a checkpoint: {rule}")]
    Form {
        /// The broken rule.
        rule: &'static str,
    },
}

impl Checkpoint {
    /// The first line of a log's checkpoints, and the name of the key that signs them.
    pub fn name_of(origin: Origin) -> String {
        format!("neuraxis/{origin}")
    }

    /// A checkpoint of a log.
    pub fn new(origin: Origin, size: u64, root: Digest) -> Self {
        Self { origin: Self::name_of(origin), size, root, extensions: Vec::new() }
    }

    /// The log's origin, if the line was made by [`Checkpoint::name_of`].
    pub fn log(&self) -> Option<Origin> {
        self.origin.strip_prefix("neuraxis/")?.parse().ok()
    }

    /// The text that is signed.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.origin, self.size, BASE64_STANDARD.encode(self.root.0));
        for line in &self.extensions {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// The signed note.
    pub fn sign(&self, signer: &Signer) -> String {
        let text = self.text();
        let signatures = vec![signer.sign(&text)];
        Note { text, signatures }.encode()
    }

    /// Reads a signed checkpoint and checks that `key` signed it.
    pub fn open(note: &[u8], key: &Verifier) -> Result<Self, CheckpointError> {
        let (checkpoint, note) = Self::parse(note)?;
        note.verify(key)?;
        Ok(checkpoint)
    }

    /// Reads a signed checkpoint. No signature is checked.
    pub fn parse(note: &[u8]) -> Result<(Self, Note), CheckpointError> {
        let note = Note::parse(note)?;
        let checkpoint = Self::parse_text(&note.text)?;
        Ok((checkpoint, note))
    }

    /// Reads a checkpoint's text.
    pub fn parse_text(text: &str) -> Result<Self, CheckpointError> {
        let form = |rule| CheckpointError::Form { rule };
        let text = text.strip_suffix('\n').ok_or_else(|| form("it must end in a newline"))?;
        let mut lines = text.split('\n');
        let mut line = || lines.next().filter(|line| !line.is_empty()).ok_or_else(|| form("it must have three lines"));
        let (origin, size, root) = (line()?.to_owned(), line()?, line()?);
        let digits = size.bytes().all(|b| b.is_ascii_digit()) && (size == "0" || !size.starts_with('0'));
        let size = size
            .parse::<u64>()
            .ok()
            .filter(|&size| digits && size <= MAX_SIZE)
            .ok_or_else(|| form("its size must be a decimal number without leading zeros, at most 2^48"))?;
        let root = BASE64_STANDARD
            .decode(root)
            .ok()
            .and_then(|root| root.try_into().ok())
            .ok_or_else(|| form("its root must be the base64 of 32 bytes"))?;
        let extensions: Vec<String> = lines.map(str::to_owned).collect();
        if extensions.iter().any(String::is_empty) {
            return Err(form("an extension line must not be empty"));
        }
        Ok(Self { origin, size, root: Digest(root), extensions })
    }
}

#[cfg(test)]
mod tests {
    use nx_types::env::SeededRng;
    use proptest::prelude::*;

    use super::*;
    use crate::tlog::sha256;

    fn signed() -> (Checkpoint, Signer, String) {
        let origin = Origin([7; 16]);
        let signer = Signer::generate(&Checkpoint::name_of(origin), &SeededRng::new(1)).unwrap();
        let checkpoint = Checkpoint::new(origin, 20_852_163, sha256(b"root"));
        let note = checkpoint.sign(&signer);
        (checkpoint, signer, note)
    }

    #[test]
    fn a_checkpoint_comes_back() {
        let (checkpoint, signer, note) = signed();
        assert_eq!(Checkpoint::open(note.as_bytes(), signer.verifier()), Ok(checkpoint.clone()));
        assert_eq!(checkpoint.log(), Some(Origin([7; 16])));
        // another reader of the same format agrees
        let other = tlog_tiles::Checkpoint::from_bytes(checkpoint.text().as_bytes()).unwrap();
        assert_eq!(
            (other.origin(), other.size(), other.hash().0),
            (&*checkpoint.origin, 20_852_163, checkpoint.root.0)
        );
    }

    #[test]
    fn the_published_checkpoint_is_read() {
        let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let checkpoint = Checkpoint::parse_text(text).unwrap();
        assert_eq!((checkpoint.size, checkpoint.text().as_str()), (20_852_163, text));
        let more = Checkpoint::parse_text(&format!("{text}a\nb\n")).unwrap();
        assert_eq!(more.extensions, ["a", "b"]);
    }

    #[test]
    fn bad_texts_are_refused() {
        let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
        for text in [
            String::new(),
            format!("\n1\n{root}\n"),
            format!("a\n01\n{root}\n"),
            format!("a\n+1\n{root}\n"),
            format!("a\n18446744073709551615\n{root}\n"),
            format!("a\n1\n{root}"),
            format!("a\n1\n{root}\n\n"),
            "a\n1\nCsUYag==\n".to_owned(),
        ] {
            assert!(Checkpoint::parse_text(&text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_changed_checkpoint_is_refused(at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let (_, signer, note) = signed();
            let mut bytes = note.into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(Checkpoint::open(&bytes, signer.verifier()).is_err());
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[a-z0-9=\n+/ ]{0,120}") {
            if let Ok(checkpoint) = Checkpoint::parse_text(&text) {
                prop_assert_eq!(checkpoint.text(), text);
            }
        }
    }
}
