//! One suite for all engines: the same small networks, the same answers, the same refusals.

use nx_infer::{
    DType, Data, Error, Tensor,
    engine::{self, Engine, Optimize, Options, Session, State, Stateful},
    onnx::Builder,
};

use crate::tiny;

/// Every engine of this build; ONNX Runtime too, where its library is found.
pub(crate) fn engines() -> Vec<Box<dyn Engine>> {
    #[cfg_attr(not(feature = "ort"), expect(unused_mut, reason = "one more engine may come"))]
    let mut engines = engine::embedded();
    #[cfg(feature = "ort")]
    match onnxruntime() {
        Ok(engine) => engines.push(engine),
        Err(error) => println!("skipped: onnxruntime: {error}"),
    }
    engines
}

#[cfg(feature = "ort")]
fn onnxruntime() -> Result<Box<dyn Engine>, Error> {
    use nx_infer::engine::ort::{OnnxRuntime, find::Search};
    let variable = |name: &str| std::env::var_os(name).map(std::path::PathBuf::from);
    let environments = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(variable).collect();
    let search = Search { library: variable("ORT_DYLIB_PATH"), ..Search::system(environments) };
    let path = search.run()?;
    Ok(Box::new(OnnxRuntime::open(&path)?))
}

fn load(engine: &dyn Engine, model: &nx_infer::onnx::Model, options: &Options) -> Session {
    Session::load_model(engine, model, options).unwrap_or_else(|error| panic!("{}: {error}", engine.name()))
}

/// The largest difference, as a part of the largest number that is wanted.
pub(crate) fn worst(found: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(found.len(), wanted.len());
    let scale = wanted.iter().fold(1e-6_f32, |most, value| most.max(value.abs()));
    found.iter().zip(wanted).fold(0.0_f32, |most, (a, b)| {
        let off = (a - b).abs() / scale;
        if off.is_nan() { f32::INFINITY } else { most.max(off) }
    })
}

#[test]
fn a_network_answers_as_plain_loops_do() {
    let images = tiny::numbers(3 * 64, 11);
    let wanted: Vec<f32> = images.chunks_exact(64).flat_map(tiny::cnn_answer).collect();
    let input = Tensor::new([3, 1, 8, 8], images).unwrap();
    for engine in engines() {
        for (threads, optimize) in [(1, Optimize::Full), (2, Optimize::Full), (1, Optimize::Off)] {
            let mut session = load(&*engine, &tiny::cnn(), &Options { threads, optimize, ..Options::default() });
            for _ in 0..2 {
                let outputs = session.run(&[("image", &input)]).unwrap();
                assert_eq!(outputs[0].shape(), [3, 10], "{}", engine.name());
                let off = worst(outputs[0].f32s().unwrap(), &wanted);
                assert!(off < 1e-5, "{} {threads} {optimize:?}: {off}", engine.name());
            }
        }
    }
}

#[test]
fn another_batch_is_another_shape() {
    for engine in engines() {
        let mut session = load(&*engine, &tiny::cnn(), &Options { plans: 2, ..Options::default() });
        for batch in [1, 4, 2, 1, 3] {
            let images = tiny::numbers(batch * 64, batch as u64);
            let wanted: Vec<f32> = images.chunks_exact(64).flat_map(tiny::cnn_answer).collect();
            let outputs = session.run(&[("image", &Tensor::new([batch, 1, 8, 8], images).unwrap())]).unwrap();
            assert!(worst(outputs[0].f32s().unwrap(), &wanted) < 1e-5, "{} {batch}", engine.name());
        }
    }
}

#[test]
fn whole_numbers_stay_whole() {
    for engine in engines() {
        let mut session = load(&*engine, &tiny::whole(), &Options::default());
        let outputs = session.run(&[("a", &Tensor::new([3], vec![-2_i64, 0, 1000]).unwrap())]).unwrap();
        assert_eq!(outputs[0].data(), &Data::I64(vec![-2, 0, 1_003_000]), "{}", engine.name());
        // what an engine cannot hold is refused or right, never silently another number
        let large = Tensor::new([1], vec![1_i64 << 20]).unwrap();
        let result = session.run(&[("a", &large)]);
        let exact = (1_i64 << 20) * ((1 << 20) + 3);
        match result {
            Ok(outputs) if engine.name() != "rten" => assert_eq!(outputs[0].data(), &Data::I64(vec![exact])),
            Ok(_) => println!("known: rten computes i64 in 32 bits and wraps"),
            Err(error) => println!("{}: {error}", engine.name()),
        }
        let huge = session.run(&[("a", &Tensor::new([1], vec![1_i64 << 40]).unwrap())]);
        assert_eq!(huge.is_err(), engine.name() == "rten", "{}", engine.name());
    }
}

#[test]
fn a_state_goes_from_run_to_run() {
    for engine in engines() {
        let session = load(&*engine, &tiny::counter(), &Options::default());
        let first = Tensor::new([2], vec![10.0_f32, 20.0]).unwrap();
        let state = State { input: "state".to_owned(), output: "next".to_owned(), first };
        let mut stateful = Stateful::new(session, vec![state]).unwrap();
        let one = Tensor::new([2], vec![1.0_f32, 2.0]).unwrap();
        let step = |stateful: &mut Stateful| stateful.run(&[("x", &one)]).unwrap()[0].f32s().unwrap().to_vec();
        assert_eq!(step(&mut stateful), [11.0, 22.0], "{}", engine.name());
        assert_eq!(step(&mut stateful), [12.0, 24.0], "{}", engine.name());
        stateful.reset();
        assert_eq!(step(&mut stateful), [11.0, 22.0], "{}", engine.name());
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    for engine in engines() {
        let mut session = load(&*engine, &tiny::cnn(), &Options::default());
        let image = Tensor::zeros([1, 1, 8, 8], DType::F32).unwrap();
        for (inputs, says) in [
            (vec![], "`image`: is not given"),
            (vec![("image", &image), ("x", &image)], "`x`: is not an input; the model takes `image`"),
            (vec![("image", &Tensor::zeros([1, 1, 8, 9], DType::F32).unwrap())], "the model takes [batch, 1, 8, 8]"),
            (vec![("image", &Tensor::zeros([1, 1, 8, 8], DType::U8).unwrap())], "is of u8, the model takes f32"),
        ] {
            let error = session.run(&inputs).unwrap_err().to_string();
            assert!(error.contains(says), "{}: {error}", engine.name());
        }
        // and the session still works
        assert!(session.run(&[("image", &image)]).is_ok(), "{}", engine.name());
    }
}

#[test]
fn an_operator_that_nobody_knows_is_named() {
    let mut build = Builder::new("unknown", 17);
    let x = build.input("x", DType::F32, &[1.into()]);
    let y = build.node("Frobnicate", "y", &[&x], &[]);
    build.output(&y, DType::F32, &[1.into()]);
    let model = build.finish().unwrap();
    for engine in engines() {
        let error = Session::load_model(&*engine, &model, &Options::default()).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{}: {error}", engine.name());
        assert!(error.to_string().contains("Frobnicate"), "{}: {error}", engine.name());
    }
}

#[test]
fn limits_hold_before_an_engine_sees_the_model() {
    for engine in engines() {
        let small = Options { memory_bytes: 1000, ..Options::default() };
        let error = Session::load_model(&*engine, &tiny::cnn(), &small).unwrap_err();
        assert!(matches!(error, Error::Limit { .. }), "{}: {error}", engine.name());
        assert!(Session::load(&*engine, b"nothing".to_vec(), &Options::default()).is_err());
    }
}

#[test]
fn a_file_with_packed_numbers_loads() {
    // as nx-train writes it: `strides` and the like packed, which protocol buffers allow
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/models/digits.onnx");
    let bytes = std::fs::read(file).unwrap();
    let input = Tensor::zeros([1, 1, 28, 28], DType::F32).unwrap();
    for engine in engines() {
        let session = Session::load(&*engine, bytes.clone(), &Options::default());
        let mut session = session.unwrap_or_else(|error| panic!("{}: {error}", engine.name()));
        assert_eq!(session.run(&[("input", &input)]).unwrap()[0].shape(), [1, 10], "{}", engine.name());
    }
}

#[test]
fn an_engine_is_found_by_its_name() {
    for name in engine::names() {
        assert_eq!(engine::engine(name).unwrap().name(), name);
    }
    assert!(engine::engine("abacus").unwrap_err().to_string().contains("no engine `abacus` here"));
}

#[test]
fn what_an_engine_would_answer_wrongly_it_refuses() {
    let mut build = Builder::new("sign", 13);
    let x = build.input("x", DType::F32, &[3.into()]);
    let y = build.node("Sign", "y", &[&x], &[]);
    build.output(&y, DType::F32, &[3.into()]);
    let model = build.finish().unwrap();
    let input = Tensor::new([3], vec![-2.0_f32, 0.0, 3.0]).unwrap();
    for engine in engines() {
        match Session::load_model(&*engine, &model, &Options::default()) {
            Ok(mut session) => {
                let outputs = session.run(&[("x", &input)]).unwrap();
                assert_eq!(outputs[0].data(), &Data::F32(vec![-1.0, 0.0, 1.0]), "{}", engine.name());
            }
            Err(error) => {
                assert_eq!(engine.name(), "rten", "{error}");
                assert!(error.to_string().contains("Sign `y`: the sign of 0 would be 1"), "{error}");
            }
        }
    }
}
