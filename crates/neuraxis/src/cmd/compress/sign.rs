//! Who vouches for a report: a key of the person or machine that measured, and its signature as a signed note (C2SP), which is
//! what checkpoints of the log are too.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use nx_infer::search::Statement;
use nx_journal::tlog::{Note, Signer, Verifier};
use nx_types::env::SystemRng;

/// The signature's file.
pub(super) const NOTE: &str = "report.note";
/// The name that the key is made under.
const NAME: &str = "neuraxis-report";

/// Where the key is when nobody says: `$XDG_CONFIG_HOME/neuraxis/report.key`.
fn usual() -> anyhow::Result<PathBuf> {
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let config = config.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")));
    Ok(config.context("there is no home directory to keep a key in; give --key FILE")?.join("neuraxis/report.key"))
}

fn read(path: &Path) -> anyhow::Result<Option<Signer>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Signer::parse(&text).with_context(|| format!("`{}` is no key", path.display()))?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    }
}

/// The key that signs; made on first use, readable by its owner alone.
pub(super) fn signer(path: Option<&Path>) -> anyhow::Result<Signer> {
    let path = path.map_or_else(usual, |path| Ok(path.to_owned()))?;
    if let Some(signer) = read(&path)? {
        return Ok(signer);
    }
    let failed = || format!("cannot make the key `{}`", path.display());
    let signer = Signer::generate(NAME, &SystemRng)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).with_context(failed)?;
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).with_context(failed)?;
    file.write_all(signer.encode().as_bytes()).and_then(|()| file.sync_all()).with_context(failed)?;
    eprintln!("made the key `{}`; who checks reports needs its public part: {}", path.display(), signer.verifier());
    Ok(signer)
}

/// The statement, signed.
pub(super) fn note(signer: &Signer, statement: &Statement) -> String {
    let text = statement.text();
    Note { signatures: vec![signer.sign(&text)], text }.encode()
}

/// Checks a folder's note: that it is about these files, and signed by this key. The public part of one's own key when none is
/// given.
pub(super) fn check(folder: &Path, statement: &Statement, key: Option<&str>) -> anyhow::Result<Verifier> {
    let path = folder.join(NOTE);
    let bytes = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let note = Note::parse(&bytes).with_context(|| format!("`{}`", path.display()))?;
    let key = match key {
        Some(text) => text.trim().parse::<Verifier>()?,
        None => match read(&usual()?)? {
            Some(own) => own.verifier().clone(),
            None => bail!("there is no key of one's own to check by; give --key, the public key of who measured"),
        },
    };
    note.verify(&key).context("give --key, the public key of who measured")?;
    if note.text != statement.text() {
        bail!("`{}` is signed, but for other files than those that are here", path.display());
    }
    Ok(key)
}
