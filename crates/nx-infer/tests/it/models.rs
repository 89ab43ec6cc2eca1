//! Real models, where `$NEURAXIS_TEST_DATA` names a directory that holds them (`bench/inference/models.py` fills it): each
//! engine answers as ONNX Runtime did, or says why it does not run them.

use std::{fs, path::Path};

use nx_infer::{
    Manifest, Tensor,
    engine::{Options, Session},
    onnx::{self, Limits, Model},
};

use crate::engines::{engines, worst};

/// What is known: an engine, a model, and what it says when it refuses.
const REFUSED: &[(&str, &str, &str)] = &[];

const MODELS: [&str; 6] = ["ppocr-cls", "ppocr-rec", "ppocr-det", "yolox-nano", "magika", "silero-vad"];

/// Differences as a part of the largest number of an output.
const TOLERANCE: f32 = 1e-3;

fn data() -> Option<std::path::PathBuf> {
    std::env::var_os("NEURAXIS_TEST_DATA").map(|root| Path::new(&root).join("models"))
}

fn tensors(directory: &Path, kind: &str) -> Vec<(String, Tensor)> {
    let path = |at: usize| directory.join(format!("test_data_set_0/{kind}_{at}.pb"));
    (0..)
        .map_while(|at| fs::read(path(at)).ok())
        .map(|bytes| onnx::read_tensor(bytes.into(), &Limits::default()).unwrap())
        .collect()
}

fn check(name: &str) {
    let Some(directory) = data().map(|data| data.join(name)).filter(|path| path.is_dir()) else {
        println!("skipped: {name}: no $NEURAXIS_TEST_DATA/models/{name}");
        return;
    };
    let bytes = fs::read(directory.join("model.onnx")).unwrap();
    let model = Model::read(bytes.clone(), &Limits::default()).unwrap();
    if let Ok(text) = fs::read_to_string(directory.join("model.yaml")) {
        let manifest: Manifest = serde_saphyr::from_str(&text).unwrap();
        manifest.check_model(&model).unwrap();
    }
    let (inputs, wanted) = (tensors(&directory, "input"), tensors(&directory, "output"));
    let given: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    for engine in engines() {
        for source in [bytes.clone(), model.write()] {
            let loaded = Session::load(&*engine, source, &Options::default());
            let run = loaded.and_then(|mut session| session.run(&given));
            let refused = REFUSED.iter().find(|(by, what, _)| *by == engine.name() && *what == name);
            match (run, refused) {
                (Err(error), Some((_, _, says))) => assert!(error.to_string().contains(says), "{error}"),
                (Err(error), None) => panic!("{} {name}: {error}", engine.name()),
                (Ok(_), Some(_)) => panic!("{} runs {name} now: strike it from the list", engine.name()),
                (Ok(outputs), None) => {
                    for (output, (output_name, wanted)) in outputs.iter().zip(&wanted) {
                        assert_eq!(output.shape(), wanted.shape(), "{} {name}", engine.name());
                        let off = worst(output.f32s().unwrap(), wanted.f32s().unwrap());
                        println!("{} {name} {output_name}: {off:e}", engine.name());
                        assert!(off < TOLERANCE, "{} {name} {output_name}: {off}", engine.name());
                    }
                }
            }
        }
    }
}

#[test]
fn ppocr_cls() {
    check(MODELS[0]);
}

#[test]
fn ppocr_rec() {
    check(MODELS[1]);
}

#[test]
fn ppocr_det() {
    check(MODELS[2]);
}

#[test]
fn yolox_nano() {
    check(MODELS[3]);
}

#[test]
fn magika() {
    check(MODELS[4]);
}

#[test]
fn silero_vad() {
    check(MODELS[5]);
}
