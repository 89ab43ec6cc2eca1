//! What is given for a model's inputs, as JSON: the same for HTTP, for reflexes and for runs.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use crate::{Error, Sample, Samples};

/// Most inputs of a request.
const MAX_INPUTS: usize = 64;

/// What is given for an input: one of `image`, `bytes`, `pixels`, `tensor`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleForm {
    /// A picture, PNG or JPEG, in base64.
    pub image: Option<String>,
    /// A file's bytes, in base64.
    pub bytes: Option<String>,
    /// Pixels.
    pub pixels: Option<PixelsForm>,
    /// Numbers: nested lists, or a flat one with `shape`.
    pub tensor: Option<Value>,
    /// The shape of a flat `tensor`.
    pub shape: Option<Vec<usize>>,
}

/// Pixels: rows from the top, channels together, a byte each.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PixelsForm {
    /// Pixels of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 1 (grey), 3 (red, green, blue) or 4 (with alpha).
    pub channels: usize,
    /// The bytes, in base64.
    pub data: String,
}

/// The samples of a request, by the input's name.
pub fn samples(forms: BTreeMap<String, SampleForm>) -> Result<Samples, Error> {
    if forms.len() > MAX_INPUTS {
        let reason = format!("are {}; at most {MAX_INPUTS} are taken", forms.len());
        return Err(Error::Invalid { what: "inputs", text: String::new(), reason });
    }
    forms.into_iter().map(|(name, form)| Ok((name.clone(), sample(&name, form)?))).collect()
}

fn sample(name: &str, form: SampleForm) -> Result<Sample, Error> {
    let shown: String = name.chars().take(64).collect();
    let decode = |field: &str, text: String| {
        let wrong = |error| Error::input(&shown, format!("has a `{field}` that is not base64: {error}"));
        BASE64.decode(text).map(Bytes::from).map_err(wrong)
    };
    let SampleForm { image, bytes, pixels, tensor, shape } = form;
    if shape.is_some() && tensor.is_none() {
        return Err(Error::input(&shown, "has a `shape`, which goes with `tensor`"));
    }
    match (image, bytes, pixels, tensor) {
        (Some(text), None, None, None) => Ok(Sample::Picture(decode("image", text)?)),
        (None, Some(text), None, None) => Ok(Sample::Bytes(decode("bytes", text)?)),
        (None, None, Some(PixelsForm { width, height, channels, data }), None) => {
            Ok(Sample::Pixels { width, height, channels, bytes: decode("pixels", data)? })
        }
        (None, None, None, Some(data)) => Ok(Sample::Numbers { shape, data }),
        _ => Err(Error::input(&shown, "is given by one of `image`, `bytes`, `pixels`, `tensor`")),
    }
}
