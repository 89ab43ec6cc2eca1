//! Models from outside: read or refused within bounds, never a panic; what is read is written and read again the same, and the
//! clean-up keeps it well formed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nx_infer::{
    compress::{clean, fold, raise},
    onnx::{Limits, Model, read_tensor},
};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { decoded_bytes: 64 << 20, elements: 1 << 24, ..Limits::default() };
    drop(read_tensor(bytes.to_vec().into(), &limits));
    let Ok(model) = Model::read(bytes.to_vec(), &limits) else { return };
    let written = model.write();
    assert_eq!(Model::read(written.clone(), &limits).expect("what was written can be read").write(), written);
    drop((model.inputs(), model.outputs(), model.operators()));
    for changed in [clean(&model).map(|(model, _)| model), fold(&model).map(|(model, _)| model), raise(&model)].into_iter().flatten() {
        Model::read(changed.write(), &limits).expect("a change keeps it well formed");
    }
});
