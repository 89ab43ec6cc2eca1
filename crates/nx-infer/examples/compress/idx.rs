//! Images and labels in the idx format.

use std::{fs, io::Read as _, path::Path};

use nx_infer::{
    Tensor,
    search::{Reading, Sample},
};

use crate::Failure;

fn unzipped(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(fs::File::open(path)?).take(1 << 30).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads `DIR` or `DIR@FIRST`: pixels as parts of 255.
pub(crate) fn read(data: &str, input: &str, labelled: bool) -> Result<Vec<Sample>, Failure> {
    let (directory, first) = match data.rsplit_once('@') {
        Some((directory, first)) => (directory, first.parse()?),
        None => (data, 0_usize),
    };
    let images = unzipped(&Path::new(directory).join("images-idx3-ubyte.gz"))?;
    let labels = unzipped(&Path::new(directory).join("labels-idx1-ubyte.gz"))?;
    let pixels = images.get(16..).ok_or("the file of images is too short")?;
    let labels = labels.get(8..).ok_or("the file of labels is too short")?;
    let mut samples = Vec::new();
    for (image, label) in pixels.chunks_exact(28 * 28).zip(labels).skip(first) {
        let numbers: Vec<f32> = image.iter().map(|pixel| f32::from(*pixel) / 255.0).collect();
        samples.push(Sample {
            inputs: vec![(input.to_owned(), Tensor::new([1, 1, 28, 28], numbers)?)],
            truth: labelled.then_some(Reading::Class(usize::from(*label))),
        });
    }
    Ok(samples)
}
