//! A folder with a folder for each class, as torchvision's `ImageFolder` has it: `cat/1.png`, `dog/2.jpg`. Files of any kind
//! where the model reads bytes. Without labels the files may lie in the folder itself.

use std::path::PathBuf;

use super::{
    Source, Take, Wanted,
    source::{bytes, entries},
    wrong,
};
use crate::{Error, search::Sample};

pub(super) fn read(source: &Source, wanted: &Wanted<'_>, take: Take<'_>) -> Result<(), Error> {
    let input = wanted.only_input(&source.path)?;
    let mut files: Vec<(PathBuf, String)> = Vec::new();
    for entry in entries(&source.path)? {
        let name = entry.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if entry.is_dir() {
            files.extend(entries(&entry)?.into_iter().filter(|path| path.is_file()).map(|path| (path, name.clone())));
        } else if wanted.truths {
            return Err(wrong(&entry, "lies in no folder of a class; the form is FOLDER/CLASS/FILE"));
        } else {
            files.push((entry, String::new()));
        }
    }
    for (path, class) in files.into_iter().enumerate().filter(|(at, _)| source.has(*at)).map(|(_, file)| file) {
        let truth = if wanted.truths { Some(wanted.truth(&path, &class)?) } else { None };
        take(Sample { inputs: vec![(input.name.clone(), wanted.file(&path, input, &bytes(&path)?)?)], truth })?;
    }
    Ok(())
}
