//! Signed notes (C2SP signed-note): a text and signatures over it, by Ed25519.
//!
//! A module of our own, because the crate for it brings a second crypto provider.

use std::{fmt, str::FromStr};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use nx_types::Rng;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use zeroize::Zeroizing;

use super::hash::sha256;

/// Longest note that is read, in bytes.
pub const MAX_NOTE_BYTES: usize = 64 * 1024;

/// Most signatures that a note may carry.
pub const MAX_SIGNATURES: usize = 100;

/// Signature type of a plain Ed25519 signature.
const ED25519_TYPE: u8 = 0x01;
/// Signature type of a timestamped witness cosignature (C2SP tlog-cosignature).
const COSIGNATURE_TYPE: u8 = 0x04;

/// Why bytes are not a note, or a text is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Larger than [`MAX_NOTE_BYTES`].
    #[error("a signed note of {bytes} bytes is larger than {MAX_NOTE_BYTES}")]
    Size {
        /// The size.
        bytes: usize,
    },
    /// Not a note; `rule` says which rule is broken.
    #[error("not a signed note: {rule}")]
    Form {
        /// The broken rule.
        rule: &'static str,
    },
    /// Not a key; `rule` says which rule is broken.
    #[error("not {what}: {rule}")]
    Key {
        /// What was expected, with its article.
        what: &'static str,
        /// The broken rule.
        rule: &'static str,
    },
    /// A key's name may not hold blanks or `+`.
    #[error("`{name}` cannot name a key: it must not be empty and must not hold blanks or `+`")]
    Name {
        /// The name, cut to 64 characters.
        name: String,
    },
    /// None of the note's signatures is by the given key.
    #[error("the note carries no signature by key `{key}`")]
    Unsigned {
        /// The key that was looked for, as `name+id`.
        key: String,
    },
    /// A signature by the given key is there and does not fit the text.
    #[error("the signature by key `{key}` does not fit the note's text")]
    Signature {
        /// The key, as `name+id`.
        key: String,
    },
}

/// A text and the signatures over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The signed text; ends in a newline.
    pub text: String,
    /// The signatures, of known and unknown keys.
    pub signatures: Vec<Signature>,
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The key's name.
    pub name: String,
    /// The key's id: the first four bytes of a digest of its name and public key.
    pub id: u32,
    /// The signature's bytes; their meaning depends on the key.
    pub bytes: Vec<u8>,
}

impl Note {
    /// Reads a note. No signature is checked.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        let form = |rule| NoteError::Form { rule };
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteError::Size { bytes: bytes.len() });
        }
        let whole = str::from_utf8(bytes).map_err(|_err| form("it must be UTF-8"))?;
        if whole.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
            return Err(form("it must not hold control characters other than newlines"));
        }
        let (text, lines) = whole.rsplit_once("\n\n").ok_or_else(|| form("a blank line must follow the text"))?;
        let lines = lines.strip_suffix('\n').ok_or_else(|| form("it must end in a newline"))?;
        let signatures = lines.split('\n').map(Signature::parse).collect::<Result<Vec<_>, _>>()?;
        if signatures.len() > MAX_SIGNATURES {
            return Err(form("it carries more than 100 signatures"));
        }
        Ok(Self { text: format!("{text}\n"), signatures })
    }

    /// The note's bytes.
    pub fn encode(&self) -> String {
        let mut note = format!("{}\n", self.text);
        for signature in &self.signatures {
            let mut bytes = signature.id.to_be_bytes().to_vec();
            bytes.extend_from_slice(&signature.bytes);
            for part in ["— ", &signature.name, " ", &BASE64_STANDARD.encode(bytes), "\n"] {
                note.push_str(part);
            }
        }
        note
    }

    /// Checks that the note bears a good signature by `key`. Signatures by other keys are ignored.
    pub fn verify(&self, key: &Verifier) -> Result<(), NoteError> {
        let mut seen = false;
        for signature in self.signatures.iter().filter(|one| one.name == key.name && one.id == key.id) {
            seen = true;
            if key.accepts(&self.text, &signature.bytes) {
                return Ok(());
            }
        }
        let key = format!("{}+{:08x}", key.name, key.id);
        Err(if seen { NoteError::Signature { key } } else { NoteError::Unsigned { key } })
    }
}

impl Signature {
    fn parse(line: &str) -> Result<Self, NoteError> {
        let form = |rule| NoteError::Form { rule };
        let rest = line.strip_prefix("— ").ok_or_else(|| form("a signature line must start with `— `"))?;
        let (name, signature) = rest.split_once(' ').ok_or_else(|| form("a signature line has a name and a text"))?;
        check_name(name)?;
        let bytes = BASE64_STANDARD.decode(signature).map_err(|_err| form("a signature must be base64"))?;
        match bytes.split_first_chunk::<4>() {
            Some((id, rest)) if !rest.is_empty() => {
                Ok(Self { name: name.to_owned(), id: u32::from_be_bytes(*id), bytes: rest.to_vec() })
            }
            _ => Err(form("a signature must be longer than its key id")),
        }
    }
}

fn check_name(name: &str) -> Result<(), NoteError> {
    if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c == '+') {
        return Err(NoteError::Name { name: name.chars().take(64).collect() });
    }
    Ok(())
}

fn key_id(name: &str, kind: u8, key: &[u8]) -> u32 {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(b'\n');
    bytes.push(kind);
    bytes.extend_from_slice(key);
    let [a, b, c, d, ..] = sha256(&bytes).0;
    u32::from_be_bytes([a, b, c, d])
}

/// Name, id, signature type and the key's bytes.
type KeyParts = (String, u32, u8, Zeroizing<[u8; 32]>);

/// Splits `name+id+base64`.
fn parse_key(text: &str, what: &'static str) -> Result<KeyParts, NoteError> {
    let key = |rule| NoteError::Key { what, rule };
    if text.len() > 1024 {
        return Err(key("it is longer than 1,024 bytes"));
    }
    let (name, rest) = text.split_once('+').ok_or_else(|| key("it must have the form name+id+key"))?;
    let (id, encoded) = rest.split_once('+').ok_or_else(|| key("it must have the form name+id+key"))?;
    check_name(name)?;
    let id = (id.len() == 8 && id.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()))
        .then(|| u32::from_str_radix(id, 16).ok())
        .flatten()
        .ok_or_else(|| key("its id must be 8 hexadecimal digits"))?;
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(encoded).map_err(|_err| key("its key must be base64"))?);
    match bytes.split_first() {
        Some((&kind, rest)) => {
            let rest: [u8; 32] = rest.try_into().map_err(|_err| key("its key must have 32 bytes"))?;
            Ok((name.to_owned(), id, kind, Zeroizing::new(rest)))
        }
        None => Err(key("its key must have 32 bytes")),
    }
}

/// A public key: plain Ed25519 (type 1) or a witness's (type 4, `cosignature/v1`).
/// Its text is the usual `name+id+base64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    id: u32,
    kind: u8,
    key: [u8; 32],
}

impl Verifier {
    /// A log's key from its 32 bytes.
    pub fn ed25519(name: &str, key: [u8; 32]) -> Result<Self, NoteError> {
        check_name(name)?;
        Ok(Self { name: name.to_owned(), id: key_id(name, ED25519_TYPE, &key), kind: ED25519_TYPE, key })
    }

    /// A witness's key from its 32 bytes.
    pub fn witness(name: &str, key: [u8; 32]) -> Result<Self, NoteError> {
        check_name(name)?;
        Ok(Self { name: name.to_owned(), id: key_id(name, COSIGNATURE_TYPE, &key), kind: COSIGNATURE_TYPE, key })
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key's id.
    pub fn id(&self) -> u32 {
        self.id
    }

    fn accepts(&self, text: &str, signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, &self.key);
        if self.kind == ED25519_TYPE {
            return key.verify(text.as_bytes(), signature).is_ok();
        }
        let Some((time, signature)) = signature.split_first_chunk::<8>() else { return false };
        let message = format!("cosignature/v1\ntime {}\n{text}", u64::from_be_bytes(*time));
        key.verify(message.as_bytes(), signature).is_ok()
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![self.kind];
        bytes.extend_from_slice(&self.key);
        write!(f, "{}+{:08x}+{}", self.name, self.id, BASE64_STANDARD.encode(bytes))
    }
}

impl FromStr for Verifier {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let what = "a note's public key";
        let (name, id, kind, key) = parse_key(text, what)?;
        if kind != ED25519_TYPE && kind != COSIGNATURE_TYPE {
            return Err(NoteError::Key { what, rule: "its type is neither 1 (Ed25519) nor 4 (cosignature/v1)" });
        }
        if key_id(&name, kind, key.as_slice()) != id {
            return Err(NoteError::Key { what, rule: "its id does not fit its key" });
        }
        Ok(Self { name, id, kind, key: *key })
    }
}

/// A private key that signs notes.
pub struct Signer {
    verifier: Verifier,
    seed: Zeroizing<[u8; 32]>,
    pair: Ed25519KeyPair,
}

impl Signer {
    /// A fresh key.
    pub fn generate(name: &str, rng: &dyn Rng) -> Result<Self, NoteError> {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill(seed.as_mut_slice());
        Self::from_seed(name, seed)
    }

    fn from_seed(name: &str, seed: Zeroizing<[u8; 32]>) -> Result<Self, NoteError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice())
            .map_err(|_err| NoteError::Key { what: "a note's private key", rule: "its seed is refused" })?;
        let public = pair.public_key().as_ref().try_into().unwrap_or([0; 32]);
        Ok(Self { verifier: Verifier::ed25519(name, public)?, seed, pair })
    }

    /// Reads the text of a private key: `PRIVATE+KEY+name+id+base64`.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let what = "a note's private key";
        let rest = text
            .trim_end_matches('\n')
            .strip_prefix("PRIVATE+KEY+")
            .ok_or(NoteError::Key { what, rule: "it must start with PRIVATE+KEY+" })?;
        let (name, id, kind, seed) = parse_key(rest, what)?;
        if kind != ED25519_TYPE {
            return Err(NoteError::Key { what, rule: "its type is not 1 (Ed25519)" });
        }
        let signer = Self::from_seed(&name, seed)?;
        if signer.verifier.id != id {
            return Err(NoteError::Key { what, rule: "its id does not fit its key" });
        }
        Ok(signer)
    }

    /// The text of the private key, one line with its newline: keep it as secret as the key.
    pub fn encode(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(vec![ED25519_TYPE]);
        bytes.extend_from_slice(self.seed.as_slice());
        let key = Zeroizing::new(BASE64_STANDARD.encode(bytes.as_slice()));
        Zeroizing::new(format!("PRIVATE+KEY+{}+{:08x}+{}\n", self.verifier.name, self.verifier.id, key.as_str()))
    }

    /// The public key.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Signs a text; it must end in a newline.
    pub fn sign(&self, text: &str) -> Signature {
        let bytes = self.pair.sign(text.as_bytes()).as_ref().to_vec();
        Signature { name: self.verifier.name.clone(), id: self.verifier.id, bytes }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("name", &self.verifier.name)
            .field("id", &self.verifier.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use nx_types::env::SeededRng;
    use proptest::prelude::*;

    use super::*;

    // the example of C2SP signed-note and of Go's golang.org/x/mod/sumdb/note
    const SECRET: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const PUBLIC: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const TEXT: &str =
        "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    const LINE: &str =
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";

    #[test]
    fn the_published_example_holds() {
        let signer = Signer::parse(SECRET).unwrap();
        assert_eq!(signer.verifier().to_string(), PUBLIC);
        assert_eq!(signer.encode().trim_end(), SECRET);
        let note = Note { text: TEXT.to_owned(), signatures: vec![signer.sign(TEXT)] };
        assert_eq!(note.encode(), format!("{TEXT}\n{LINE}\n"));
        assert_eq!(Note::parse(note.encode().as_bytes()), Ok(note.clone()));
        let key: Verifier = PUBLIC.parse().unwrap();
        note.verify(&key).unwrap();
        let other = Signer::generate("other", &SeededRng::new(1)).unwrap();
        assert_eq!(
            note.verify(other.verifier()).unwrap_err().to_string(),
            format!("the note carries no signature by key `other+{:08x}`", other.verifier().id())
        );
        let forged = Note { text: TEXT.replace("your", "my"), ..note };
        assert_eq!(
            forged.verify(&key).unwrap_err().to_string(),
            "the signature by key `PeterNeumann+c74f20a3` does not fit the note's text"
        );
    }

    #[test]
    fn the_published_cosignature_has_the_id_of_its_form() {
        let signer = Signer::generate("witness.example/w1", &SeededRng::new(3)).unwrap();
        let witness = Verifier::witness("witness.example/w1", signer.verifier().key).unwrap();
        assert_eq!(witness.to_string().parse(), Ok(witness.clone()));
        assert_ne!(witness.id(), signer.verifier().id());
        let time = 1_679_315_147u64;
        let mut bytes = time.to_be_bytes().to_vec();
        bytes.extend(signer.sign(&format!("cosignature/v1\ntime {time}\n{TEXT}")).bytes);
        let signature = Signature { name: witness.name().to_owned(), id: witness.id(), bytes };
        let mut note = Note { text: TEXT.to_owned(), signatures: vec![signature] };
        note.verify(&witness).unwrap();
        note.signatures[0].bytes[7] ^= 1;
        assert!(note.verify(&witness).is_err());
    }

    #[test]
    fn keys_are_checked() {
        for (text, message) in [
            ("", "not a note's public key: it must have the form name+id+key"),
            ("a b+c74f20a3+AQ==", "`a b` cannot name a key: it must not be empty and must not hold blanks or `+`"),
            ("a+C74F20A3+AQ==", "not a note's public key: its id must be 8 hexadecimal digits"),
            ("a+c74f20a3+AQ==", "not a note's public key: its key must have 32 bytes"),
            (
                "other+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
                "not a note's public key: its id does not fit its key",
            ),
        ] {
            assert_eq!(text.parse::<Verifier>().unwrap_err().to_string(), message);
        }
        assert!(Signer::parse(PUBLIC).is_err());
    }

    proptest! {
        #[test]
        fn a_changed_note_never_verifies(at in 0usize..300, bit in 0u8..8, cut in 0usize..300) {
            let bytes = format!("{TEXT}\n{LINE}\n").into_bytes();
            let key: Verifier = PUBLIC.parse().unwrap();
            let mut changed = bytes.clone();
            let at = at % bytes.len();
            changed[at] ^= 1 << bit;
            if let Ok(note) = Note::parse(&changed) {
                prop_assert!(note.verify(&key).is_err() || note.encode().as_bytes() == changed);
                prop_assert!(note.verify(&key).is_err());
            }
            let cut = &bytes[..cut % bytes.len()];
            prop_assert!(Note::parse(cut).is_err());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400), text in "\\PC{0,80}") {
            if let Ok(note) = Note::parse(&bytes) {
                prop_assert_eq!(note.encode().into_bytes(), bytes);
            }
            drop(text.parse::<Verifier>());
            drop(Signer::parse(&text));
        }
    }
}
