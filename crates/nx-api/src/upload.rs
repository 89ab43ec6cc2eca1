//! A model on its way in: a form whose parts are read as they come, each with its bound.

use axum::{extract::Request, http::header};
use bytes::Bytes;
use multer::{Constraints, Multipart, SizeLimit};

use crate::{Error, MAX_MODEL_BYTES, body::TooSlow};

/// Most bytes of a manifest.
const MAX_MANIFEST_BYTES: usize = 1 << 20;

/// The form's parts.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) manifest: Option<String>,
    pub(crate) model: Bytes,
}

/// Reads the form.
pub(crate) async fn read(request: Request) -> Result<Parts, Error> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(kind)
        .map_err(|_error| Error::MediaType("`multipart/form-data` with the parts `manifest` and `model`"))?;
    let whole = MAX_MODEL_BYTES as u64 + MAX_MANIFEST_BYTES as u64;
    let limits = SizeLimit::new()
        .whole_stream(whole + (1 << 16))
        .for_field("manifest", MAX_MANIFEST_BYTES as u64)
        .for_field("model", MAX_MODEL_BYTES as u64);
    let constraints = Constraints::new().allowed_fields(vec!["manifest", "model"]).size_limit(limits);
    let mut form = Multipart::with_constraints(request.into_body().into_data_stream(), boundary, constraints);
    let (mut manifest, mut model) = (None, None);
    while let Some(field) = form.next_field().await.map_err(refused)? {
        let twice = match field.name() {
            Some("manifest") => manifest.replace(field.text().await.map_err(refused)?).is_some(),
            Some("model") => model.replace(field.bytes().await.map_err(refused)?).is_some(),
            _ => return Err(Error::Request("the form's parts are `manifest` and `model`".to_owned())),
        };
        if twice {
            return Err(Error::Request("a part of the form is there twice".to_owned()));
        }
    }
    let model = model.ok_or_else(|| Error::Request("the form lacks its part `model`, the ONNX file".to_owned()))?;
    Ok(Parts { manifest, model })
}

fn refused(error: multer::Error) -> Error {
    if TooSlow::is_behind(&error) {
        return Error::TooSlow;
    }
    match error {
        multer::Error::FieldSizeExceeded { limit, .. } | multer::Error::StreamSizeExceeded { limit } => {
            Error::TooLarge { limit: usize::try_from(limit).unwrap_or(usize::MAX) }
        }
        other => Error::Request(format!("the form cannot be read: {other}")),
    }
}
