//! The network that reads the doors' digits: real, trained by `nx-train`, and pulled as any user's model is, by one form
//! over HTTP.

use crate::Error;

/// The model's name.
pub const NAME: &str = "digits";
/// The network, as ONNX.
pub const MODEL: &[u8] = include_bytes!("../../../testdata/models/digits.onnx");
/// Its manifest.
pub const MANIFEST: &str = include_str!("../../../testdata/models/digits.yaml");

/// Between two parts of the form.
const BOUNDARY: &str = "parcels-5c1f0a97d2e34b68";

/// Pulls the model into the Neuraxis server at `url`. A server that has it keeps it as it is.
pub async fn pull(url: &str) -> Result<(), Error> {
    let failed = |detail: String| Error::Service { service: "model store", detail };
    let path = format!("{}/api/models/{NAME}/versions?source=digits.onnx", url.trim_end_matches('/'));
    let answer = crate::http_client()?
        .post(path)
        .header("Content-Type", format!("multipart/form-data; boundary={BOUNDARY}"))
        .body(form())
        .send()
        .await
        .map_err(|error| failed(error.to_string()))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let detail = answer.text().await.unwrap_or_default();
    Err(failed(format!("it answers {status}: {detail}")))
}

fn form() -> Vec<u8> {
    let part = |name: &str| format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
    let mut form = format!("{}{MANIFEST}\r\n{}", part("manifest"), part("model")).into_bytes();
    form.extend_from_slice(MODEL);
    form.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    form
}
