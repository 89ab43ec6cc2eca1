//! Manifests as a person writes them, and what they do.

use nx_infer::{
    Manifest, Tensor, manifest,
    process::{self, Answer, Image, Sample},
};

use crate::tiny;

const DIGITS: &str = "
name: digits
description: reads a handwritten digit
licence: Apache-2.0
hash: sha256:0000000000000000000000000000000000000000000000000000000000000000
inputs:
  - name: image
    dtype: f32
    shape: [batch, 1, 8, 8]
    layout: NCHW
    unit: intensity
    range: [0, 255]
    before:
      - { step: channels, order: grey }
      - { step: invert }
      - { step: fit, width: 8, height: 8, filter: smooth }
      - { step: scale, by: 0.00392156862745098 }
      - { step: normalise, mean: [0.5], deviation: [0.25] }
      - { step: pad, width: 8, height: 8, fill: -2.0 }
outputs:
  - name: logits
    dtype: f32
    shape: [batch, 10]
    labels: ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']
    after: [{ step: softmax }, { step: top_k, k: 2 }]
lineage: { producer: nx-train 0.1, seed: 7 }
";

fn manifest(change: (&str, &str)) -> Result<Manifest, String> {
    assert!(change.0.is_empty() || DIGITS.contains(change.0), "{}", change.0);
    let text = DIGITS.replace(change.0, change.1);
    let text = if change.0.is_empty() { DIGITS.to_owned() } else { text };
    let manifest: Manifest = serde_saphyr::from_str(&text).map_err(|error| error.to_string())?;
    manifest.check().map_err(|error| error.to_string())?;
    manifest.check_model(&tiny::cnn()).map_err(|error| error.to_string())?;
    Ok(manifest)
}

#[test]
fn yaml_and_json_say_the_same() {
    let manifest = manifest(("", "")).unwrap();
    let json = serde_json::to_string(&manifest).unwrap();
    assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), manifest);
}

#[test]
fn what_is_wrong_is_named() {
    for (from, to, says) in [
        ("licence: Apache-2.0", "licence: ''", "`licence` is empty"),
        ("sha256:00", "sha256:x0", "`hash` is not `sha256:`"),
        ("name: image", "name: picture", "`inputs[0]` names `picture`, the model has `image`"),
        (
            "dtype: f32\n    shape: [batch, 1",
            "dtype: u8\n    shape: [batch, 1",
            "`inputs[0]` says u8, the model has f32",
        ),
        ("[batch, 1, 8, 8]", "[batch, 3, 8, 8]", "says [batch, 3, 8, 8], the model has [batch, 1, 8, 8]"),
        ("{ step: invert }", "{ step: scale, by: 1 }", "`inputs[0].before[2]` works on pixels"),
        ("{ step: fit, width: 8", "{ step: fit, width: 0", "`inputs[0].before[2]` has a side"),
        ("k: 2", "k: 0", "`outputs[0].after[1]` asks for no class"),
        ("{ step: softmax }", "{ step: argmax }", "`outputs[0].after[0]` ends the answer"),
        ("step: invert", "step: invrt", "invrt"),
        ("unit:", "units:", "units"),
    ] {
        let error = manifest((from, to)).unwrap_err();
        assert!(error.contains(says), "{error}\n  does not say\n{says}");
    }
}

#[test]
fn an_image_becomes_a_tensor_and_scores_become_classes() {
    let manifest = manifest(("", "")).unwrap();
    let image = Image::new(16, 8, 3, vec![255; 16 * 8 * 3]).unwrap();
    let (tensor, placement) = process::before(&manifest.inputs[0], Sample::Image(&image)).unwrap();
    assert_eq!(tensor.shape(), [1, 1, 8, 8]);
    // white, inverted, is 0, and (0 − 0.5) / 0.25 is −2
    assert!(tensor.f32s().unwrap().iter().all(|value| (value + 2.0).abs() < 1e-6));
    assert_eq!((placement.scale, placement.left, placement.top), ([0.5, 0.5], 0.0, 2.0));
    let undone = placement.undo([0.0, 2.0, 8.0, 6.0]);
    assert!(undone.iter().zip([0.0, 0.0, 16.0, 8.0]).all(|(a, b)| (a - b).abs() < 1e-6), "{undone:?}");

    let scores = Tensor::new([1, 10], (0..10).map(|n| if n == 7 { 3.0 } else { 0.0 }).collect::<Vec<f32>>()).unwrap();
    let Answer::Classes(rows) = process::after(&manifest.outputs[0], scores, &placement).unwrap() else { panic!() };
    assert_eq!(rows[0].len(), 2);
    assert_eq!(rows[0][0].label.as_deref(), Some("7"));
    assert!((rows[0][0].score - 0.690_56).abs() < 1e-4);
    assert!(process::before(&manifest.inputs[0], Sample::Bytes(b"x")).is_err());
}

#[test]
fn every_step_can_be_written() {
    let steps = "
- { step: bytes, head: 1024, tail: 1024, padding: 256, strip: true, block: 4096 }
- { step: channels, order: bgr }
- { step: resize, width: 320, height: 48 }
- { step: fit, width: 416, height: 416, filter: linear }
- { step: pad, width: 416, height: 416, fill: 114.0, anchor: top_left }
";
    let before: Vec<manifest::Before> = serde_saphyr::from_str(steps).unwrap();
    assert_eq!(before.len(), 5);
    let steps = "
- { step: yolox, width: 416, height: 416, score: 0.25 }
- { step: ctc }
- { step: sigmoid }
- { step: argmax }
";
    let after: Vec<manifest::After> = serde_saphyr::from_str(steps).unwrap();
    let manifest::After::Yolox(yolox) = &after[0] else { panic!() };
    assert_eq!((yolox.strides.as_slice(), yolox.score, yolox.overlap), ([8, 16, 32].as_slice(), 0.25, 0.45));
    let json = serde_json::to_string(&(before.clone(), after.clone())).unwrap();
    assert_eq!(serde_json::from_str::<(Vec<manifest::Before>, Vec<manifest::After>)>(&json).unwrap(), (before, after));
    let unknown: Result<Vec<manifest::Before>, _> =
        serde_saphyr::from_str("[{ step: bytes, head: 1, tail: 1, padding: 0, tale: 1 }]");
    assert!(unknown.is_err());
}

#[test]
fn a_file_becomes_tokens() {
    let text = "
name: bytes
dtype: i32
shape: [batch, 6]
before: [{ step: bytes, head: 4, tail: 2, padding: 256 }]
";
    let input: manifest::Input = serde_saphyr::from_str(text).unwrap();
    let (tensor, _) = process::before(&input, Sample::Bytes(b"abc")).unwrap();
    assert_eq!(tensor, Tensor::new([1, 6], vec![97, 98, 99, 256, 98, 99]).unwrap());
    let image = Image::new(1, 1, 1, vec![0]).unwrap();
    assert!(process::before(&input, Sample::Image(&image)).unwrap_err().to_string().contains("takes bytes"));
    let given = Tensor::new([1, 5], vec![0; 5]).unwrap();
    assert!(
        process::before(&input, Sample::Tensor(&given)).unwrap_err().to_string().contains("the model takes [batch, 6]")
    );
}

#[test]
fn manifests_of_the_suite_are_right() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench/inference/manifests");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let manifest: Manifest = serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        manifest.check().unwrap();
        let labels = manifest.outputs[0].labels.len();
        let last = manifest.outputs[0].shape.last().unwrap().to_string();
        // boxes have five numbers before those of the classes
        assert!(labels == 0 || last == labels.to_string() || last == (labels + 5).to_string(), "{}", path.display());
        assert_eq!(path.file_stem().unwrap().to_str(), Some(manifest.name.as_str()));
        names.push(manifest.name);
    }
    names.sort();
    assert_eq!(names, ["magika", "ppocr-cls", "ppocr-det", "ppocr-rec", "silero-vad", "yolox-nano"]);
}
