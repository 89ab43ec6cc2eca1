//! Who signs a log's checkpoints: the key file, and the task that signs as the log grows.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    time::Duration,
};

use nx_types::{Env, Origin};

use crate::{
    Core, Error, Journal,
    backend::Backend,
    files::sync_dir,
    tlog::{Checkpoint, Signer, Verifier},
};

/// Signs a log's checkpoints. Each event is covered by a signed checkpoint soon after it is durable, when
/// [`Notary::run`] is running.
#[derive(Debug)]
pub struct Notary {
    signer: Signer,
    origin: Origin,
}

impl Notary {
    /// Reads `keys/checkpoint.key` of a data directory; makes it if it is not there. A key of another origin, as it
    /// came with a copied directory, is put aside under that origin's name.
    pub fn open(dir: &Path, origin: Origin, env: &Env) -> Result<Self, Error> {
        let folder = dir.join("keys");
        let path = folder.join("checkpoint.key");
        let name = Checkpoint::name_of(origin);
        match read(&path)? {
            Some(text) => {
                let signer = Signer::parse(&text).map_err(|error| bad(format!("`{}`: {error}", path.display())))?;
                if signer.verifier().name() == name {
                    return Ok(Self { signer, origin });
                }
                let aside = format!("checkpoint.{:08x}.key", signer.verifier().id());
                fs::rename(&path, folder.join(aside)).map_err(Error::file("put aside", &path))?;
            }
            None => fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?,
        }
        let signer = Signer::generate(&name, env.rng()).map_err(|error| bad(error.to_string()))?;
        let fail = || Error::file("write the checkpoint key", &path);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(fail())?;
        file.write_all(signer.encode().as_bytes()).map_err(fail())?;
        file.sync_all().map_err(fail())?;
        sync_dir(&folder)?;
        Ok(Self { signer, origin })
    }

    /// The public key: give it to whoever verifies.
    pub fn key(&self) -> &Verifier {
        self.signer.verifier()
    }

    /// Signs the log's present size and root, and stores the checkpoint in the log. Keep a copy elsewhere: only that
    /// tells a rewritten log from the true one.
    pub async fn sign(&self, journal: &Journal) -> Result<String, Error> {
        let (size, root) = journal.tree().await?;
        let note = Checkpoint::new(self.origin, size, root).sign(&self.signer);
        journal.store_checkpoint(size, note.clone().into_bytes()).await?;
        Ok(note)
    }

    /// As [`Notary::sign`], for a log that is driven directly.
    pub fn sign_core<B: Backend>(&self, core: &mut Core<B>) -> Result<String, Error> {
        let (size, root) = core.tree();
        let note = Checkpoint::new(self.origin, size, root).sign(&self.signer);
        core.store_checkpoint(size, note.as_bytes())?;
        Ok(note)
    }

    /// Signs while the log grows, at most once every `every`, until the log is closed. Run it as a task; before
    /// closing the log, call [`Notary::sign`] once more.
    pub async fn run(&self, journal: Journal, every: Duration) -> Result<(), Error> {
        let mut head = journal.watch_head();
        let mut signed = None;
        while head.changed().await.is_ok() {
            let size = *head.borrow_and_update();
            if signed == Some(size) {
                continue;
            }
            match self.sign(&journal).await {
                Ok(_) => signed = Some(size),
                Err(Error::Closed) => break,
                Err(error) => tracing::warn!(%error, "a checkpoint could not be signed; the next one will cover it"),
            }
            tokio::time::sleep(every).await;
        }
        Ok(())
    }
}

/// The public part of a data directory's checkpoint key; `None` if it has no key.
pub(super) fn public_key(dir: &Path) -> Result<Option<Verifier>, Error> {
    let Some(text) = read(&dir.join("keys").join("checkpoint.key"))? else { return Ok(None) };
    let signer = Signer::parse(&text).map_err(|error| bad(error.to_string()))?;
    Ok(Some(signer.verifier().clone()))
}

fn bad(detail: String) -> Error {
    Error::Checkpoint { detail }
}

fn read(path: &Path) -> Result<Option<zeroize::Zeroizing<String>>, Error> {
    match fs::metadata(path) {
        Ok(data) if data.permissions().mode() & 0o077 != 0 => {
            Err(bad(format!("others may read `{0}`; run `chmod 600 {0}`", path.display())))
        }
        Ok(_) => fs::read_to_string(path).map(|text| Some(text.into())).map_err(Error::file("read", path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("look at", path)(error)),
    }
}
