//! Arrays of `NumPy`: `.npz` with an array for each input and one of labels, `.npy` with the only input.
//! Format versions 1 to 3 (NEP 1), in C order.

use std::{
    io::{Cursor, Read as _},
    path::Path,
};

use half::f16;

use super::{
    Source, Take, Wanted,
    fit::{Numbers, tensor},
    source::bytes,
    wrong,
};
use crate::{Error, manifest::Input, search::Sample};

/// Names of the array of labels.
const LABELS: [&str; 4] = ["labels", "label", "y", "targets"];
/// Bytes of one array at most.
const ARRAY_BYTES: u64 = 8 << 30;

/// An array: its first dimension counts samples.
struct Array {
    shape: Vec<usize>,
    numbers: Numbers,
}

impl Array {
    fn count(&self) -> usize {
        self.shape.first().copied().unwrap_or(0)
    }

    /// The shape of a sample.
    fn one(&self) -> &[usize] {
        self.shape.get(1..).unwrap_or_default()
    }

    fn sample(&self, at: usize) -> Numbers {
        let size: usize = self.one().iter().product();
        let part = at * size..(at + 1) * size;
        match &self.numbers {
            Numbers::Whole(values) => Numbers::Whole(values.get(part).unwrap_or_default().to_vec()),
            Numbers::Real(values) => Numbers::Real(values.get(part).unwrap_or_default().to_vec()),
            Numbers::Bytes(values) => Numbers::Bytes(values.get(part).unwrap_or_default().to_vec()),
        }
    }

    fn label(&self, at: usize) -> String {
        match self.sample(at) {
            Numbers::Whole(values) => values.first().map(ToString::to_string),
            Numbers::Real(values) => values.first().map(ToString::to_string),
            Numbers::Bytes(values) => values.first().map(ToString::to_string),
        }
        .unwrap_or_default()
    }
}

pub(super) fn read_one(source: &Source, wanted: &Wanted<'_>, take: Take<'_>) -> Result<(), Error> {
    if wanted.truths {
        let reason = "holds no labels; save x and labels as .npz (`np.savez`), or judge by agreement";
        return Err(wrong(&source.path, reason));
    }
    let input = wanted.only_input(&source.path)?;
    let array = array(&source.path, &bytes(&source.path)?)?;
    samples(source, wanted, &[(input, array)], None, take)
}

pub(super) fn read_many(source: &Source, wanted: &Wanted<'_>, take: Take<'_>) -> Result<(), Error> {
    let path = &source.path;
    let bad = |error: zip::result::ZipError| wrong(path, format!("is no .npz that can be read: {error}"));
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes(path)?)).map_err(bad)?;
    let names: Vec<String> = archive
        .file_names()
        .map(|name| name.map(std::borrow::Cow::into_owned))
        .collect::<Result<_, _>>()
        .map_err(bad)?;
    let plain: Vec<&str> = names.iter().map(|name| name.strip_suffix(".npy").unwrap_or(name)).collect();
    let mut load = |name: &str| -> Result<Array, Error> {
        let mut content = Vec::new();
        let file = archive.by_name(&format!("{name}.npy")).map_err(bad)?;
        let broken = |error: std::io::Error| wrong(path, format!("array `{name}` cannot be read: {error}"));
        file.take(ARRAY_BYTES).read_to_end(&mut content).map_err(broken)?;
        array(path, &content)
    };
    let others: Vec<&str> = plain.iter().copied().filter(|name| !LABELS.contains(name)).collect();
    let mut inputs = Vec::new();
    for input in &wanted.manifest.inputs {
        let name = match (wanted.manifest.inputs.len(), others.as_slice()) {
            _ if plain.contains(&input.name.as_str()) => input.name.as_str(),
            (1, [only]) => only,
            _ => {
                let reason =
                    format!("has no array `{}`, which the model takes; it has {}", input.name, plain.join(", "));
                return Err(wrong(path, reason));
            }
        };
        inputs.push((input, load(name)?));
    }
    let labels = plain.iter().find(|name| LABELS.contains(name));
    let labels = match (wanted.truths, labels) {
        (false, _) => None,
        (true, Some(name)) => Some(load(name)?),
        (true, None) => {
            let reason = format!("has no array of labels; name it one of {}", LABELS.join(", "));
            return Err(wrong(path, reason));
        }
    };
    samples(source, wanted, &inputs, labels.as_ref(), take)
}

fn samples(
    source: &Source,
    wanted: &Wanted<'_>,
    inputs: &[(&Input, Array)],
    labels: Option<&Array>,
    take: Take<'_>,
) -> Result<(), Error> {
    let counts: Vec<usize> = inputs.iter().map(|(_, array)| array).chain(labels).map(Array::count).collect();
    let count = counts.first().copied().unwrap_or(0);
    if counts.iter().any(|other| *other != count) {
        return Err(wrong(&source.path, format!("has arrays of different lengths: {counts:?}")));
    }
    for at in (0..count).filter(|at| source.has(*at)) {
        let one = |(input, array): &(&Input, Array)| {
            Ok((input.name.clone(), tensor(&source.path, input, array.one(), array.sample(at))?))
        };
        take(Sample {
            inputs: inputs.iter().map(one).collect::<Result<_, Error>>()?,
            truth: labels.map(|labels| wanted.truth(&source.path, &labels.label(at))).transpose()?,
        })?;
    }
    Ok(())
}

fn array(path: &Path, file: &[u8]) -> Result<Array, Error> {
    let short = || wrong(path, "holds an array that is too short for what its head says");
    let rest = file.strip_prefix(b"\x93NUMPY").ok_or_else(|| wrong(path, "is no array of NumPy"))?;
    let (length, rest) = match rest {
        [1, _, low, high, rest @ ..] => (usize::from(u16::from_le_bytes([*low, *high])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        _ => return Err(wrong(path, "is of a version of NumPy's format that is not read")),
    };
    let (head, content) = rest.split_at_checked(length).ok_or_else(short)?;
    let head = String::from_utf8_lossy(head);
    let kind = field(&head, "descr").and_then(|text| text.strip_prefix(['\'', '"'])).unwrap_or_default();
    let kind = kind.split(['\'', '"']).next().unwrap_or_default();
    if field(&head, "fortran_order").is_none_or(|text| text.starts_with("True")) {
        return Err(wrong(path, "holds an array in Fortran's order; save `np.ascontiguousarray(x)`"));
    }
    let shape = field(&head, "shape").and_then(|text| text.strip_prefix('(')?.split_once(')')).map(|(sides, _)| sides);
    let sides = shape.ok_or_else(|| wrong(path, "says no shape"))?.split(',').map(str::trim);
    let shape: Vec<usize> = sides.filter(|side| !side.is_empty()).filter_map(|side| side.parse().ok()).collect();
    let count = shape.iter().try_fold(1_usize, |count, side| count.checked_mul(*side)).ok_or_else(short)?;
    Ok(Array { numbers: elements(path, kind, content, count)?, shape })
}

/// What stands behind a key of the head, which is a dictionary as Python writes it.
fn field<'h>(head: &'h str, key: &str) -> Option<&'h str> {
    let (_, behind) = head.split_once(&format!("'{key}'"))?;
    Some(behind.trim_start().strip_prefix(':')?.trim_start())
}

fn elements(path: &Path, kind: &str, content: &[u8], count: usize) -> Result<Numbers, Error> {
    macro_rules! read {
        ($type:ty, $into:path) => {{
            const SIZE: usize = size_of::<$type>();
            let all = count.checked_mul(SIZE).and_then(|bytes| content.get(..bytes));
            let all = all.ok_or_else(|| wrong(path, "holds an array that is too short for what its head says"))?;
            let each = all.chunks_exact(SIZE).map(|bytes| <$type>::from_le_bytes(bytes.try_into().unwrap_or_default()));
            $into(each.map(Into::into).collect())
        }};
    }
    let kind = kind.trim_start_matches(['<', '|', '=']);
    Ok(match kind {
        "u1" => read!(u8, Numbers::Bytes),
        "b1" => read!(u8, Numbers::Whole),
        "i1" => read!(i8, Numbers::Whole),
        "u2" => read!(u16, Numbers::Whole),
        "i2" => read!(i16, Numbers::Whole),
        "u4" => read!(u32, Numbers::Whole),
        "i4" => read!(i32, Numbers::Whole),
        "i8" => read!(i64, Numbers::Whole),
        "f2" => read!(f16, Numbers::Real),
        "f4" => read!(f32, Numbers::Real),
        "f8" => read!(f64, Numbers::Real),
        other => {
            let reason = format!(
                "holds elements of `{other}`; signed integers, unsigned ones up to 32 bits, and floats, little-endian, are read"
            );
            return Err(wrong(path, reason));
        }
    })
}
