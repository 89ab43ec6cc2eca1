//! CSV with a header: a column of labels, and the others, in their order, are the model's only input.

use super::{
    Source, Take, Wanted,
    fit::{Numbers, tensor},
    source::bytes,
    wrong,
};
use crate::{Error, search::Sample};

/// Names of the column of labels.
const LABELS: [&str; 5] = ["label", "labels", "y", "target", "class"];

pub(super) fn read(source: &Source, wanted: &Wanted<'_>, take: Take<'_>) -> Result<(), Error> {
    let path = &source.path;
    let input = wanted.only_input(path)?;
    let file = bytes(path)?;
    let mut rows = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file.as_slice());
    let bad = |error: csv::Error| wrong(path, format!("is no CSV that can be read: {error}"));
    let header = rows.headers().map_err(bad)?.clone();
    let label = header.iter().position(|name| LABELS.contains(&name.to_lowercase().as_str()));
    if wanted.truths && label.is_none() {
        return Err(wrong(path, format!("has no column of labels; name it one of {}", LABELS.join(", "))));
    }
    for (at, row) in rows.records().enumerate() {
        let row = row.map_err(bad)?;
        if !source.has(at) {
            continue;
        }
        let mut values = Vec::new();
        for (column, cell) in row.iter().enumerate().filter(|(column, _)| Some(*column) != label) {
            let number: Option<f64> = cell.parse().ok().filter(|number: &f64| number.is_finite());
            values.push(number.ok_or_else(|| {
                let name = header.get(column).unwrap_or_default();
                wrong(path, format!("has `{cell}` in column `{name}` of row {}, which is no number", at + 2))
            })?);
        }
        let truth = label.filter(|_| wanted.truths).and_then(|column| row.get(column));
        let shape = [values.len()];
        take(Sample {
            inputs: vec![(input.name.clone(), tensor(path, input, &shape, Numbers::Real(values))?)],
            truth: truth.map(|label| wanted.truth(path, label)).transpose()?,
        })?;
    }
    Ok(())
}
