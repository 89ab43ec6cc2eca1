//! Transformations of graphs: what they take out, and that every engine answers as before.

use nx_infer::{
    DType, Tensor,
    compress::{self, Granularity, Quantise, Storage, observe::Method},
    engine::{Engine, Options, Session},
    onnx::{Builder, Model, graph::Attribute},
};

use crate::{
    engines::{engines, worst},
    tiny,
};

fn run(engine: &dyn Engine, model: &Model, inputs: &[(&str, &Tensor)]) -> Vec<f32> {
    let session = Session::load_model(engine, model, &Options::default());
    let mut session = session.unwrap_or_else(|error| panic!("{}: {error}", engine.name()));
    session.run(inputs).unwrap()[0].f32s().unwrap().to_vec()
}

/// The largest difference between two models on one engine, as a part of the largest number.
fn differ(before: &Model, after: &Model, inputs: &[(&str, &Tensor)]) -> f32 {
    // one that refuses the model as it was has nothing to compare with
    let able = |engine: &dyn Engine| Session::load_model(engine, before, &Options::default()).is_ok();
    let able = engines().into_iter().filter(|engine| able(&**engine));
    able.map(|engine| worst(&run(&*engine, after, inputs), &run(&*engine, before, inputs))).fold(0.0, f32::max)
}

fn tensor(shape: &[usize], seed: u64) -> Tensor {
    Tensor::new(shape, tiny::numbers(shape.iter().product(), seed)).unwrap()
}

/// Constants as nodes, values that are only passed on, and nodes for nobody.
#[expect(clippy::many_single_char_names, reason = "values of a graph have no other names")]
fn cluttered() -> Model {
    let mut build = Builder::new("cluttered", 13);
    let x = build.input("x", DType::F32, &["n".into(), 3.into()]);
    let weights = nx_infer::onnx::to_proto("", &tensor(&[3, 4], 1));
    build.nodes("Constant", "w", &[], &["w"], &[("value", Attribute::Tensor(weights))]);
    build.nodes("Constant", "one", &[], &["one"], &[("value_float", Attribute::Float(1.5))]);
    let unused = build.constant("unused", &tensor(&[7], 3));
    let a = build.node("Identity", "a", &[&x], &[]);
    let b = build.node("Identity", "b", &[&a], &[]);
    let c = build.node("MatMul", "c", &[&b, "w"], &[]);
    let d = build.node("Dropout", "d", &[&c], &[]);
    let e = build.node("Add", "e", &[&d, "one"], &[]);
    build.node("Exp", "nobody", &[&e], &[]);
    build.node("Neg", "nobody.either", &[&unused], &[]);
    let y = build.node("Identity", "y", &[&e], &[]);
    build.output(&y, DType::F32, &["n".into(), 4.into()]);
    build.finish().unwrap()
}

#[test]
fn clutter_goes_and_answers_stay() {
    let model = cluttered();
    let (cleaned, what) = compress::clean(&model).unwrap();
    assert_eq!((what.constants, what.passed_on, what.dead_nodes, what.dead_constants), (2, 3, 2, 1));
    let left: Vec<_> = cleaned.operators().into_iter().collect();
    assert_eq!(left, [("Add".to_owned(), 1), ("Identity".to_owned(), 1), ("MatMul".to_owned(), 1)]);
    assert!(differ(&model, &cleaned, &[("x", &tensor(&[2, 3], 5))]) < 1e-6);
    // and once more there is nothing left to do
    let (again, what) = compress::clean(&cleaned).unwrap();
    assert_eq!((again, what), (cleaned, compress::Cleaned::default()));
}

#[test]
fn batch_norm_becomes_part_of_the_convolution() {
    let (folded, count) = compress::fold(&tiny::cnn()).unwrap();
    assert_eq!(count, 1);
    assert_eq!(folded.operators().get("BatchNormalization"), None);
    let input = tensor(&[2, 1, 8, 8], 9);
    assert!(differ(&tiny::cnn(), &folded, &[("image", &input)]) < 1e-5);
}

/// A transposed convolution in groups and a full layer, each with arithmetic behind it.
fn arithmetic() -> Model {
    let mut build = Builder::new("arithmetic", 13);
    let x = build.input("x", DType::F32, &["n".into(), 4.into(), 3.into(), 3.into()]);
    let w = build.constant("w", &tensor(&[4, 3, 2, 2], 1));
    // rten wants what ONNX lets out
    let ones = || Attribute::Ints(vec![1, 1]);
    let pads = Attribute::Ints(vec![0; 4]);
    let attributes = [("group", Attribute::Int(2)), ("strides", ones()), ("dilations", ones()), ("pads", pads)];
    let conv = build.node("ConvTranspose", "conv", &[&x, &w], &attributes);
    let scale = build.constant("scale", &tensor(&[1, 6, 1, 1], 2));
    let shift = build.constant("shift", &tensor(&[6, 1, 1], 3));
    let mul = build.node("Mul", "mul", &[&scale, &conv], &[]);
    let add = build.node("Add", "add", &[&mul, &shift], &[]);
    let flat = build.node("Flatten", "flat", &[&add], &[]);
    let w = build.constant("full", &tensor(&[96, 5], 4));
    let full = build.node("Gemm", "gemm", &[&flat, &w], &[]);
    let bias = build.constant("bias", &tensor(&[5], 5));
    let y = build.node("Add", "y", &[&full, &bias], &[]);
    build.output(&y, DType::F32, &["n".into(), 5.into()]);
    build.finish().unwrap()
}

#[test]
fn products_and_sums_become_weights_and_biases() {
    let model = arithmetic();
    let (folded, count) = compress::fold(&model).unwrap();
    assert_eq!(count, 3);
    assert_eq!(folded.graph().node.len(), 3);
    assert_eq!(folded.outputs().unwrap()[0].name, "y");
    assert!(differ(&model, &folded, &[("x", &tensor(&[2, 4, 3, 3], 9))]) < 1e-5);
}

#[test]
fn version_11_becomes_13_and_answers_the_same() {
    let mut build = Builder::new("old", 11);
    let x = build.input("x", DType::F32, &[2.into(), 3.into(), 1.into(), 4.into()]);
    let squeezed = build.node("Squeeze", "squeezed", &[&x], &[("axes", Attribute::Ints(vec![2]))]);
    let wide = build.node("Unsqueeze", "wide", &[&squeezed], &[("axes", Attribute::Ints(vec![0]))]);
    let flat = build.node("Squeeze", "flat", &[&wide], &[("axes", Attribute::Ints(vec![0]))]);
    // over the last two dimensions as one row
    let y = build.node("Softmax", "y", &[&flat], &[]);
    build.output(&y, DType::F32, &[2.into(), 3.into(), 4.into()]);
    let model = build.finish().unwrap();
    let raised = compress::raise(&model).unwrap();
    assert_eq!(raised.opset(""), Some(13));
    let input = tensor(&[2, 3, 1, 4], 1);
    for engine in engines() {
        let found = run(&*engine, &raised, &[("x", &input)]);
        let sums: Vec<f32> = found.chunks(12).map(|row| row.iter().sum()).collect();
        assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{}: {sums:?}", engine.name());
        assert!(worst(&found, &run(&*engine, &model, &[("x", &input)])) < 1e-6, "{}", engine.name());
    }
    let mut build = Builder::new("ancient", 9);
    let x = build.input("x", DType::F32, &[1.into()]);
    let y = build.node("Relu", "y", &[&x], &[]);
    build.output(&y, DType::F32, &[1.into()]);
    assert!(compress::raise(&build.finish().unwrap()).unwrap_err().to_string().contains("version 9"));
}

fn samples() -> Vec<Vec<(String, Tensor)>> {
    (0..8).map(|seed| vec![("image".to_owned(), tensor(&[4, 1, 8, 8], 100 + seed))]).collect()
}

#[test]
fn eight_bits_stay_near_thirty_two() {
    let (model, _) = compress::fold(&tiny::cnn()).unwrap();
    let input = tensor(&[4, 1, 8, 8], 7);
    let wanted: Vec<f32> = input.f32s().unwrap().chunks_exact(64).flat_map(tiny::cnn_answer).collect();
    let methods = [Method::MinMax, Method::Percentile { percent: 99.99 }, Method::Entropy, Method::Mse];
    for engine in engines() {
        for (granularity, bits) in [(Granularity::Tensor, 8), (Granularity::Channel, 8), (Granularity::Channel, 7)] {
            for method in methods {
                let how = Quantise { granularity, method, bits, ..Quantise::default() };
                let ranges = compress::calibrate(&*engine, &model, &samples(), &how, &Options::default()).unwrap();
                let small = compress::quantise(&model, &ranges, &how).unwrap();
                assert_eq!(small.operators().get("QuantizeLinear"), Some(&4), "{:?}", small.operators());
                let found = run(&*engine, &small, &[("image", &input)]);
                let off = worst(&found, &wanted);
                println!("{} {granularity:?} {bits} {method:?}: {off}", engine.name());
                assert!(off < 0.08, "{} {granularity:?} {bits} {method:?}: {off}", engine.name());
            }
        }
    }
}

#[test]
fn what_cannot_be_quantised_is_said() {
    let Some(engine) = engines().into_iter().next() else { return };
    let how =
        Quantise { operators: ["Conv".to_owned()].into(), skip: ["conv".to_owned()].into(), ..Quantise::default() };
    let error = compress::calibrate(&*engine, &tiny::cnn(), &samples(), &how, &Options::default()).unwrap_err();
    assert!(error.to_string().contains("no activation that could be quantised"), "{error}");
    let how = Quantise::default();
    let error = compress::calibrate(&*engine, &tiny::cnn(), &[], &how, &Options::default()).unwrap_err();
    assert!(error.to_string().contains("there is no sample"), "{error}");
    let error = compress::quantise(&tiny::cnn(), &compress::Ranges::default(), &how).unwrap_err();
    assert!(error.to_string().contains("was not seen in calibration"), "{error}");
}

/// Names, doc strings and equal constants of a model with an inner graph.
fn wordy() -> Model {
    let branch = |factor: &str| {
        let mut build = Builder::new(factor, 13);
        let scale = build.constant("scale.of.the.branch", &tensor(&[1, 64], 8));
        let scaled = build.node("Mul", "scaled.by.the.branch", &["a.long.name.of.a.product", &scale], &[]);
        let out = build.node("Mul", &format!("{factor}.out"), &[&scaled, factor], &[]);
        build.output(&out, DType::F32, &["n".into(), 64.into()]);
        build.graph()
    };
    let mut build = Builder::new("wordy", 13);
    let x = build.input("x", DType::F32, &["n".into(), 64.into()]);
    let weights = build.constant("a.long.name.of.weights", &tensor(&[64, 64], 1));
    for name in ["two", "two.again"] {
        build.constant(name, &Tensor::scalar(vec![2.0_f32]).unwrap());
    }
    let product = build.node("MatMul", "a.long.name.of.a.product", &[&x, &weights], &[]);
    let zero = build.constant("zero", &Tensor::scalar(vec![0.0_f32]).unwrap());
    let sum = build.node("ReduceMax", "the.largest", &[&product], &[("keepdims", Attribute::Int(0))]);
    let large = build.node("Greater", "is.it.large", &[&sum, &zero], &[]);
    let branches =
        [("then_branch", Attribute::Graph(branch("two"))), ("else_branch", Attribute::Graph(branch("two.again")))];
    let y = build.node("If", "y", &[&large], &branches);
    build.output(&y, DType::F32, &["n".into(), 64.into()]);
    build.finish().unwrap()
}

#[test]
fn a_slim_model_is_smaller_and_the_same() {
    let model = wordy();
    let slim = compress::slim(&model).unwrap();
    let (before, after) = (model.write(), slim.write());
    assert!(after.len() + 200 < before.len(), "{} {}", before.len(), after.len());
    assert_eq!(slim.graph().initializer.len() + 1, model.graph().initializer.len());
    assert_eq!((slim.inputs().unwrap(), slim.outputs().unwrap()), (model.inputs().unwrap(), model.outputs().unwrap()));
    assert!(slim.graph().node.iter().all(|node| node.name.is_none() && node.output[0].len() == 1));
    assert!(differ(&model, &slim, &[("x", &tensor(&[3, 64], 2))]) < 1e-9);
    // and once more there is nothing left to do
    assert_eq!(compress::slim(&slim).unwrap().write().len(), after.len());
}

#[test]
fn stored_weights_come_back() {
    let model = wordy();
    let input = [("x", &tensor(&[3, 64], 2))];
    let bytes = |model: &Model| compress::slim(model).unwrap().write().len();
    for (storage, count, off, part) in [
        (Storage::Half, 3, 1e-3, 0.55),
        (Storage::Int8(Granularity::Channel), 3, 0.02, 0.35),
        (Storage::Int8(Granularity::Tensor), 3, 0.02, 0.35),
        (Storage::Int4, 3, 0.15, 0.25),
    ] {
        let (small, stored) = compress::store(&model, storage).unwrap();
        // the weights, and a constant of each branch
        assert_eq!(stored, count, "{storage:?}");
        let found = differ(&model, &small, &input);
        println!("{storage:?}: {found}, {} of {}", bytes(&small), bytes(&model));
        assert!(found > 0.0 && found < off, "{storage:?}: {found}");
        assert!((bytes(&small) as f64) < part * bytes(&model) as f64, "{storage:?}: {}", bytes(&small));
    }
    let error = compress::store(&tiny::counter(), Storage::Half).unwrap_err();
    assert!(error.to_string().contains("no constant of 64 or more"), "{error}");
}

#[test]
fn full_layers_find_their_ranges_in_each_run() {
    let mut build = Builder::new("full", 13);
    let x = build.input("x", DType::F32, &["n".into(), 32.into()]);
    let first = build.constant("first", &tensor(&[16, 32], 1));
    let bias = build.constant("bias", &tensor(&[16], 2));
    let gemm = build.node("Gemm", "gemm", &[&x, &first, &bias], &[("transB", Attribute::Int(1))]);
    let relu = build.node("Relu", "relu", &[&gemm], &[]);
    let second = build.constant("second", &tensor(&[16, 8], 3));
    let y = build.node("MatMul", "y", &[&relu, &second], &[]);
    build.output(&y, DType::F32, &["n".into(), 8.into()]);
    let model = build.finish().unwrap();
    for granularity in [Granularity::Tensor, Granularity::Channel] {
        let (small, layers) = compress::dynamic(&model, granularity).unwrap();
        assert_eq!((layers, small.operators().get("MatMulInteger")), (2, Some(&2)));
        let found = differ(&model, &small, &[("x", &tensor(&[5, 32], 9))]);
        assert!(found > 0.0 && found < 0.03, "{granularity:?}: {found}");
    }
    assert!(compress::dynamic(&tiny::counter(), Granularity::Tensor).is_err());
}

#[test]
fn a_constant_has_its_shape_by_itself() {
    let mut build = Builder::new("shaped", 13);
    let x = build.input("x", DType::F32, &[1.into(), 4.into(), 3.into(), 3.into()]);
    let w = build.constant("w", &tensor(&[4, 4, 1, 1], 1));
    let conv = build.node("Conv", "conv", &[&x, &w], &[("kernel_shape", Attribute::Ints(vec![1, 1]))]);
    let bias = build.constant("bias", &tensor(&[4], 2));
    let wide = build.constant("wide", &Tensor::new([4], vec![1_i32, -1, 1, 1]).unwrap());
    let shape = build.node("Cast", "shape", &[&wide], &[("to", Attribute::Int(7))]);
    let shaped = build.node("Reshape", "shaped", &[&bias, &shape], &[]);
    let y = build.node("Add", "y", &[&conv, &shaped], &[]);
    build.output(&y, DType::F32, &[1.into(), 4.into(), 3.into(), 3.into()]);
    let model = build.finish().unwrap();
    let (clean, what) = compress::clean(&model).unwrap();
    assert_eq!(what.shaped, 2);
    // so that it can be folded
    let (folded, count) = compress::fold(&clean).unwrap();
    assert_eq!((count, folded.graph().node.len()), (1, 1));
    assert!(differ(&model, &folded, &[("x", &tensor(&[1, 4, 3, 3], 7))]) < 1e-6);
}
