//! Sealing: AES-256-GCM with one data key per (namespace, data subject), each wrapped by the master key.
//!
//! Keys in memory are zeroised when they are dropped; expanded round keys live on the stack for one call.

use std::{
    fmt,
    io::{self, Read, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nx_types::{BlobId, KeyId, Namespace, Rng};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{
    Error,
    backend::{KeyRow, Rows},
    cache::Cache,
    options::MasterKeySource,
};

const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;

/// The data subject of what belongs to a namespace as a whole: label definitions, records of erasures.
pub const NAMESPACE_SUBJECT: &str = "namespace";

/// A 256-bit key.
#[derive(Clone)]
pub(crate) struct Key(Zeroizing<[u8; KEY_BYTES]>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    pub(crate) fn random(rng: &dyn Rng) -> Self {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        rng.fill(&mut *bytes);
        Self(bytes)
    }

    fn expand(&self) -> Result<LessSafeKey, Error> {
        UnboundKey::new(&AES_256_GCM, &*self.0)
            .map(LessSafeKey::new)
            .map_err(|_err| Error::MasterKey { detail: "a key has the wrong length".to_owned() })
    }

    /// Appends nonce, ciphertext and tag to `out`.
    pub(crate) fn seal(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        plain: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let start = out.len() + NONCE_LEN;
        out.reserve(NONCE_LEN + TAG_BYTES + plain.iter().map(|part| part.len()).sum::<usize>());
        out.extend_from_slice(&nonce);
        for part in plain {
            out.extend_from_slice(part);
        }
        let Some(text) = out.get_mut(start..) else { return Err(Error::invalid("nothing to seal")) };
        let tag = self
            .expand()?
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), text)
            .map_err(|_err| Error::TooLarge { what: "sealed content".to_owned(), bytes: out.len(), max: 1 << 36 })?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// The plain bytes of nonce, ciphertext and tag; `None` if they are not what was sealed.
    pub(crate) fn open(&self, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut bytes = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let len = self.expand().ok()?.open_in_place(nonce, Aad::from(aad), &mut bytes).ok()?.len();
        bytes.truncate(len);
        Some(bytes)
    }
}

/// The domain of an event's data: its header's canonical bytes, so that header and data cannot be parted. They start
/// with a format number below 32, every other domain with `nx.`.
pub(crate) fn event_aad(header: &[u8]) -> &[u8] {
    header
}

/// The domain of a state row.
pub(crate) fn state_aad(namespace: &Namespace, kind: &str, key: &str, version: u64) -> Vec<u8> {
    let mut aad = Vec::with_capacity(24 + namespace.as_str().len() + kind.len() + key.len());
    aad.extend_from_slice(b"nx.state");
    for part in [namespace.as_str(), kind, key] {
        aad.extend_from_slice(part.as_bytes());
        aad.push(0);
    }
    aad.extend_from_slice(&version.to_be_bytes());
    aad
}

/// The domain of a blob.
pub(crate) const BLOB_AAD: &[u8] = b"nx.blob";

fn wrap_aad(id: KeyId, namespace: &Namespace) -> Vec<u8> {
    [b"nx.key".as_slice(), &id.0.to_be_bytes(), namespace.as_str().as_bytes()].concat()
}

const LOOKUP_AAD: &[u8] = b"nx.lookup";

/// The master key, the lookup key and the unwrapped data keys used lately. Shared by the writer and its readers.
pub(crate) struct Keyring {
    master: Mutex<Key>,
    lookup: hmac::Key,
    cache: Mutex<Known>,
}

/// Unwrapped keys. What was unwrapped before a key was forgotten is not kept after it: it may be that very key.
struct Known {
    keys: Cache<u64, Arc<Key>>,
    forgotten: u64,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keyring {
    /// A keyring of a master key and the log's lookup key, which only the right master key unwraps.
    pub(crate) fn open(master: Key, wrapped_lookup: &[u8], cache: usize) -> Result<Self, Error> {
        let lookup = master.open(LOOKUP_AAD, wrapped_lookup).map(Zeroizing::new).ok_or_else(|| Error::MasterKey {
            detail: "this is not the master key that the log was sealed with; hand in the right one".to_owned(),
        })?;
        Ok(Self {
            master: Mutex::new(master),
            lookup: hmac::Key::new(hmac::HMAC_SHA256, &lookup),
            cache: Mutex::new(Known { keys: Cache::new(cache), forgotten: 0 }),
        })
    }

    /// A fresh lookup key, wrapped.
    pub(crate) fn fresh_lookup(master: &Key, rng: &dyn Rng) -> Result<Vec<u8>, Error> {
        let key = Key::random(rng);
        let mut wrapped = Vec::new();
        master.seal(nonce(rng), LOOKUP_AAD, &[&*key.0], &mut wrapped)?;
        Ok(wrapped)
    }

    /// By what a data subject's key is found, without telling its name.
    pub(crate) fn lookup(&self, namespace: &Namespace, data_subject: &str) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.lookup);
        context.update(namespace.as_str().as_bytes());
        context.update(&[0]);
        context.update(data_subject.as_bytes());
        let tag = context.sign();
        let mut lookup = [0; 16];
        lookup.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        lookup
    }

    /// A fresh data key as a row to store; it is not usable before [`Keyring::key`] reads it.
    pub(crate) fn fresh(
        &self,
        id: KeyId,
        namespace: &Namespace,
        data_subject: &str,
        rng: &dyn Rng,
    ) -> Result<KeyRow, Error> {
        let key = Key::random(rng);
        let mut wrapped = Vec::new();
        let parts: [&[u8]; 2] = [&*key.0, data_subject.as_bytes()];
        lock(&self.master).seal(nonce(rng), &wrap_aad(id, namespace), &parts, &mut wrapped)?;
        Ok(KeyRow {
            id,
            namespace: namespace.clone(),
            lookup: self.lookup(namespace, data_subject),
            wrapped: Some(wrapped),
        })
    }

    /// A data key; `None` if it was erased.
    pub(crate) fn key(&self, id: KeyId, rows: &dyn Rows) -> Result<Option<Arc<Key>>, Error> {
        let forgotten = {
            let mut known = lock(&self.cache);
            if let Some(key) = known.keys.get(&id.0) {
                return Ok(Some(key));
            }
            known.forgotten
        };
        let row = rows.key(id)?.ok_or_else(|| Error::corrupt(format!("data key {id}"), "its row is missing"))?;
        self.remember(&row, forgotten)
    }

    /// The data key of a row; `None` if it was erased.
    pub(crate) fn unwrap_row(&self, row: &KeyRow) -> Result<Option<Arc<Key>>, Error> {
        let forgotten = {
            let mut known = lock(&self.cache);
            if let Some(key) = known.keys.get(&row.id.0) {
                return Ok(Some(key));
            }
            known.forgotten
        };
        self.remember(row, forgotten)
    }

    fn remember(&self, row: &KeyRow, forgotten: u64) -> Result<Option<Arc<Key>>, Error> {
        let Some((key, _)) = self.unseal(row)? else { return Ok(None) };
        let key = Arc::new(key);
        let mut known = lock(&self.cache);
        if known.forgotten == forgotten {
            known.keys.insert(row.id.0, key.clone());
        }
        Ok(Some(key))
    }

    /// The data subject of a key; `None` if it was erased.
    pub(crate) fn data_subject(&self, row: &KeyRow) -> Result<Option<String>, Error> {
        Ok(self.unseal(row)?.map(|(_, name)| name))
    }

    fn unseal(&self, row: &KeyRow) -> Result<Option<(Key, String)>, Error> {
        let Some(wrapped) = &row.wrapped else { return Ok(None) };
        let damaged = || Error::corrupt(format!("data key {}", row.id), "it cannot be unwrapped");
        let mut plain = lock(&self.master)
            .open(&wrap_aad(row.id, &row.namespace), wrapped)
            .ok_or_else(damaged)
            .map(Zeroizing::new)?;
        let (bytes, name) = plain.split_first_chunk::<KEY_BYTES>().ok_or_else(damaged)?;
        let key = Key(Zeroizing::new(*bytes));
        let name = String::from_utf8(name.to_vec()).map_err(|_err| damaged())?;
        plain.zeroize();
        Ok(Some((key, name)))
    }

    /// Forgets an unwrapped key.
    pub(crate) fn forget(&self, id: KeyId) {
        let mut known = lock(&self.cache);
        known.forgotten += 1;
        known.keys.remove(&id.0);
    }

    /// Forgets every unwrapped key.
    pub(crate) fn forget_all(&self) {
        let mut known = lock(&self.cache);
        known.forgotten += 1;
        known.keys.clear();
    }

    /// A row's key, wrapped by another master key.
    pub(crate) fn rewrap(&self, row: &KeyRow, master: &Key, rng: &dyn Rng) -> Result<Option<Vec<u8>>, Error> {
        let Some((key, name)) = self.unseal(row)? else { return Ok(None) };
        let mut wrapped = Vec::new();
        master.seal(nonce(rng), &wrap_aad(row.id, &row.namespace), &[&*key.0, name.as_bytes()], &mut wrapped)?;
        Ok(Some(wrapped))
    }

    /// The lookup key, unwrapped by the old master key and wrapped by another.
    pub(crate) fn rewrap_lookup(&self, wrapped: &[u8], master: &Key, rng: &dyn Rng) -> Result<Vec<u8>, Error> {
        let plain = lock(&self.master)
            .open(LOOKUP_AAD, wrapped)
            .map(Zeroizing::new)
            .ok_or_else(|| Error::corrupt("the lookup key", "it cannot be unwrapped"))?;
        let mut again = Vec::new();
        master.seal(nonce(rng), LOOKUP_AAD, &[&plain], &mut again)?;
        Ok(again)
    }

    /// Goes on with another master key.
    pub(crate) fn set_master(&self, master: Key) {
        *lock(&self.master) = master;
    }

    /// Unseals a blob's stored bytes.
    pub(crate) fn open_blob(id: &BlobId, key: &Key, stored: &[u8]) -> Result<Vec<u8>, Error> {
        if blake3::hash(stored).as_bytes() != &id.0 {
            return Err(Error::corrupt(format!("blob {id}"), "its bytes do not have its hash"));
        }
        key.open(BLOB_AAD, stored).ok_or_else(|| Error::corrupt(format!("blob {id}"), "it cannot be unsealed"))
    }
}

/// A random nonce.
pub(crate) fn nonce(rng: &dyn Rng) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    rng.fill(&mut nonce);
    nonce
}

/// Loads the master key; makes it if its source is a file that is not there and the log is new.
pub(crate) fn load_master(source: &MasterKeySource, new_log: bool, rng: &dyn Rng) -> Result<Key, Error> {
    match source {
        MasterKeySource::Bytes(bytes) => Ok(Key(bytes.clone())),
        MasterKeySource::Env(text) => parse_master(text, "the environment's master key"),
        MasterKeySource::File(path) => match read_master(path)? {
            Some(text) => parse_master(&text, &format!("`{}`", path.display())),
            None if new_log => create_master(path, rng),
            None => {
                Err(Error::MasterKey { detail: format!("`{}` is missing; put the log's key back", path.display()) })
            }
        },
    }
}

fn read_master(path: &Path) -> Result<Option<Zeroizing<String>>, Error> {
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file("open the master key", path)(error)),
    };
    let mode = file.metadata().map_err(Error::file("look at the master key", path))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Error::MasterKey { detail: format!("others may read `{0}`; run `chmod 600 {0}`", path.display()) });
    }
    let mut text = Zeroizing::new(String::new());
    let read = Read::take(&mut file, 1024).read_to_string(&mut text);
    read.map_err(Error::file("read the master key", path))?;
    Ok(Some(text))
}

fn parse_master(text: &str, what: &str) -> Result<Key, Error> {
    let wrong = || Error::MasterKey { detail: format!("{what} must be 64 hexadecimal digits") };
    let text = text.trim();
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != KEY_BYTES || !rest.is_empty() {
        return Err(wrong());
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let digit = |b: u8| char::from(b).to_digit(16).ok_or_else(wrong);
        *byte = ((digit(*high)? << 4) | digit(*low)?) as u8;
    }
    Ok(Key(bytes))
}

fn create_master(path: &Path, rng: &dyn Rng) -> Result<Key, Error> {
    let key = Key::random(rng);
    let mut text = Zeroizing::new(String::with_capacity(2 * KEY_BYTES + 1));
    for byte in key.0.iter() {
        for half in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
        }
    }
    text.push('\n');
    let fail = || Error::file("write the master key", path);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(fail())?;
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(fail())?;
    file.write_all(text.as_bytes()).map_err(fail())?;
    file.sync_all().map_err(fail())?;
    if let Some(parent) = path.parent() {
        crate::files::sync_dir(parent)?;
    }
    Ok(key)
}
