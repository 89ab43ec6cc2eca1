//! Choices that are kept: a file for each model on each kind of machine.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Setting, best};
use crate::{Error, device::Profile, search::sha256};

/// What was chosen for a model on a machine, and from what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Choice {
    /// SHA-256 of the model's file, hexadecimal.
    pub model: String,
    /// The id of the machine's profile.
    pub profile: String,
    /// What was chosen.
    pub setting: Setting,
    /// All that was measured.
    pub measured: Vec<Setting>,
}

impl Choice {
    /// Chooses from what was measured of a model's file; none when nothing ran.
    pub fn of(model: &[u8], profile: &Profile, measured: Vec<Setting>) -> Option<Self> {
        let setting = best(&measured)?.clone();
        Some(Self { model: plain(&sha256(model)).to_owned(), profile: profile.id.clone(), setting, measured })
    }
}

/// A folder of choices, on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    folder: PathBuf,
    profile: String,
}

impl Kept {
    /// Choices in a folder, which need not be there, for the machine of a profile.
    pub fn new(folder: PathBuf, profile: &Profile) -> Self {
        Self { folder, profile: profile.id.clone() }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What was chosen for a model on this machine. A file that is damaged, or of another model or machine, is none.
    pub fn find(&self, model: &str) -> Option<Choice> {
        let bytes = fs::read(self.file(model)?).ok()?;
        let choice: Choice = serde_json::from_slice(&bytes).ok()?;
        let sensible = (1..=256).contains(&choice.setting.threads);
        (choice.model == plain(model) && choice.profile == self.profile && sensible).then_some(choice)
    }

    /// Keeps a choice in place of an earlier one.
    ///
    /// # Errors
    /// `Write`; `Data` when the model's hash is none.
    pub fn keep(&self, choice: &Choice) -> Result<PathBuf, Error> {
        let bad = || Error::Data { path: self.folder.clone(), reason: format!("`{}` is no SHA-256", choice.model) };
        let path = self.file(&choice.model).ok_or_else(bad)?;
        let new = path.with_extension("new");
        let bytes = serde_json::to_vec_pretty(choice).unwrap_or_default();
        let written = fs::create_dir_all(&self.folder)
            .and_then(|()| fs::write(&new, bytes))
            .and_then(|()| fs::rename(&new, &path));
        written.map_err(|source| Error::Write { path: path.clone(), source })?;
        Ok(path)
    }

    /// The file of a model, named by the beginnings of both digests.
    fn file(&self, model: &str) -> Option<PathBuf> {
        let begin = |text: &str| {
            let text = plain(text);
            let hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            text.get(..24).filter(|_| hex).map(str::to_owned)
        };
        Some(self.folder.join(format!("{}-{}.json", begin(model)?, begin(&self.profile)?)))
    }
}

/// A digest without its name.
fn plain(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_found_again_on_the_same_machine() {
        let root = tempfile::tempdir().unwrap();
        let profile = Profile::here();
        let kept = Kept::new(root.path().join("tuned"), &profile);
        let (engine, version) = ("rten".to_owned(), "0.27".to_owned());
        let setting =
            Setting { engine, version, threads: 2, runs: 50, p50_us: Some(100.5), p99_us: Some(130.0), left_out: None };
        let choice = Choice::of(b"model", &profile, vec![setting]).unwrap();
        let model = choice.model.clone();
        assert_eq!(model, "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4");
        assert_eq!(kept.find(&model), None);
        let path = kept.keep(&choice).unwrap();
        assert_eq!(kept.find(&model), Some(choice.clone()));
        assert_eq!(kept.find(&format!("sha256:{model}")), Some(choice.clone()));
        assert_eq!(kept.find(&"cd".repeat(32)), None);
        assert_eq!(kept.find("../../etc/passwd"), None);
        let other = Profile { id: format!("sha256:{}", "0".repeat(64)), ..profile };
        assert_eq!(Kept::new(root.path().join("tuned"), &other).find(&model), None);
        fs::write(&path, "{").unwrap();
        assert_eq!(kept.find(&model), None);
        assert!(kept.keep(&Choice { model: "x".to_owned(), ..choice }).is_err());
    }
}
