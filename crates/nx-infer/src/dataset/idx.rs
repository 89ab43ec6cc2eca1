//! The idx format of MNIST: images of bytes, and labels beside them.

use std::path::{Path, PathBuf};

use super::{
    Source, Take, Wanted,
    fit::{Numbers, tensor},
    source::{bytes, entries},
    wrong,
};
use crate::{Error, search::Sample};

/// The type of elements that is read: unsigned bytes.
const BYTES: u8 = 8;

/// The files of images in a folder.
pub(super) fn images_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let named = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        name.strip_suffix(".gz").unwrap_or(&name).ends_with("images-idx3-ubyte")
    };
    Ok(entries(folder)?.into_iter().filter(named).collect())
}

pub(super) fn read(source: &Source, wanted: &Wanted<'_>, take: Take<'_>) -> Result<(), Error> {
    let path = if source.path.is_dir() {
        match images_in(&source.path)?.as_slice() {
            [only] => only.clone(),
            several => {
                let names: Vec<String> = several.iter().map(|path| path.display().to_string()).collect();
                return Err(wrong(
                    &source.path,
                    format!("has several files of images; name one: {}", names.join(", ")),
                ));
            }
        }
    } else {
        source.path.clone()
    };
    let input = wanted.only_input(&path)?;
    let file = bytes(&path)?;
    let (shape, content) = array(&path, &file)?;
    let [count, one @ ..] = shape.as_slice() else { return Err(wrong(&path, "has no dimension")) };
    let size: usize = one.iter().product();
    let labels = if wanted.truths { Some(labels_beside(&path, *count)?) } else { None };
    for (at, pixels) in content.chunks_exact(size.max(1)).enumerate().filter(|(at, _)| source.has(*at)) {
        let label = labels.as_ref().and_then(|labels| labels.get(at));
        take(Sample {
            inputs: vec![(input.name.clone(), tensor(&path, input, one, Numbers::Bytes(pixels.to_vec()))?)],
            truth: label.map(|label| wanted.truth(&path, &label.to_string())).transpose()?,
        })?;
    }
    Ok(())
}

/// Shape and elements.
fn array<'f>(path: &Path, file: &'f [u8]) -> Result<(Vec<usize>, &'f [u8]), Error> {
    let short = || wrong(path, "is too short for what its head says");
    let [0, 0, kind, dimensions, rest @ ..] = file else { return Err(wrong(path, "does not begin as idx does")) };
    if *kind != BYTES {
        return Err(wrong(path, format!("holds elements of type {kind:#04x}; unsigned bytes (0x08) are read")));
    }
    let (head, content) = rest.split_at_checked(usize::from(*dimensions) * 4).ok_or_else(short)?;
    let side = |four: &[u8]| four.try_into().map_or(0, u32::from_be_bytes) as usize;
    let shape: Vec<usize> = head.chunks_exact(4).map(side).collect();
    let count = shape.iter().try_fold(1_usize, |count, side| count.checked_mul(*side)).ok_or_else(short)?;
    Ok((shape, content.get(..count).ok_or_else(short)?))
}

fn labels_beside(images: &Path, count: usize) -> Result<Vec<u8>, Error> {
    let name = images.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let wanted = name.replace("images", "labels").replace("idx3", "idx1");
    let plain = wanted.strip_suffix(".gz").unwrap_or(&wanted).to_owned();
    let candidates = [wanted.clone(), plain.clone(), format!("{plain}.gz")].map(|name| images.with_file_name(name));
    let found = candidates.into_iter().find(|path| path.is_file());
    let path = found.ok_or_else(|| wrong(images, format!("has no labels beside it; `{wanted}` was looked for")))?;
    let file = bytes(&path)?;
    let (shape, labels) = array(&path, &file)?;
    if shape != [count] {
        return Err(wrong(&path, format!("has {shape:?} labels for {count} images")));
    }
    Ok(labels.to_vec())
}
