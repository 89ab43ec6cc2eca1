//! The whole way on a small network, with a clock that is the test's own.

use std::{ops::ControlFlow, time::Duration};

use nx_infer::{
    Tensor,
    engine::{self, Engine},
    onnx::Model,
    search::{Aim, Device, Ended, Metric, Options, Recipe, Report, Runner, Sample, Samples, Search, State, run},
};

use crate::tiny;

fn samples() -> Samples {
    let sample = |seed: u64| Sample {
        inputs: vec![("image".to_owned(), Tensor::new([1, 1, 8, 8], tiny::numbers(64, 1000 + seed)).unwrap())],
        truth: None,
    };
    Samples::new((0..300).map(sample).collect())
}

fn options(aim: Aim) -> Options {
    Options { max_drop: 0.1, aim, rounds: 15, chunk: 50, probe: 8, calibration: 32, ..Options::default() }
}

/// Searches; breaks off after so many steps and goes on from what was stored.
fn search(engine: &dyn Engine, aim: Aim, stop_after: usize) -> (Report, Model, State) {
    let (samples, metric, engines) = (samples(), Metric::Class { output: 0 }, [engine]);
    let model = tiny::cnn();
    let device = Device::here(Some("test".to_owned()));
    let mut ticks = 0_u64;
    let mut now = || {
        ticks += 1;
        Duration::from_micros(ticks * 10)
    };
    let mut stored: Option<State> = None;
    loop {
        // as another process would: nothing but what was stored is left
        let mut runner = Runner::new(&model, &samples, &metric, &engines, engine::Options::default()).unwrap();
        let subject = runner.subject(256);
        let mut search = match stored.take() {
            Some(state) => {
                let text = serde_json::to_string(&state).unwrap();
                Search::resume(options(aim), subject, serde_json::from_str(&text).unwrap()).unwrap()
            }
            None => Search::new(options(aim), subject).unwrap(),
        };
        let mut steps = 0;
        let mut last = 0;
        let mut watch = |_: &Search, progress: &nx_infer::search::Progress| {
            assert!(progress.done >= last && progress.done <= progress.total, "{progress:?}");
            last = progress.done;
            steps += 1;
            if steps > stop_after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        match run(&mut search, &mut runner, &device, &mut now, &mut watch).unwrap() {
            Ended::Done(done) => return (done.0, done.1, search.state().clone()),
            Ended::Stopped => stored = Some(search.state().clone()),
        }
    }
}

#[test]
fn where_nothing_is_faster_the_model_stays_and_the_table_shows_why() {
    for engine in engine::embedded() {
        // every run takes one tick of this clock
        let (report, model, _) = search(&*engine, Aim::Latency, usize::MAX);
        assert_eq!(report.released.recipe, Recipe::Clean, "{}", report.markdown());
        assert!(report.tests.is_empty() && report.released.claim.bound.abs() < 1e-12);
        assert!(report.released.claim.text.starts_with("No candidate was shown to be faster"));
        assert_eq!(model, nx_infer::compress::clean(&tiny::cnn()).unwrap().0);
        assert!(report.candidates.len() >= 14, "{}", report.markdown());
        let told = report.markdown();
        assert!(told.contains("| int8 channel entropy |") && told.contains("layer, alone in int8"), "{told}");
        assert!(!told.contains("faster than the original"), "{told}");
        assert!(report.candidates.iter().any(|row| row.name.contains("but 1 layers")), "{told}");
    }
}

#[test]
fn the_smallest_within_the_budget_is_released_with_its_claim() {
    for engine in engine::embedded() {
        let (report, model, _) = search(&*engine, Aim::Size, usize::MAX);
        let released = &report.released;
        assert!(released.bytes[0] < released.bytes[1], "{}", report.markdown());
        assert_eq!(released.bytes[0], model.write().len() as u64);
        assert!(released.claim.bound <= 0.1 && released.claim.p_value <= 0.05, "{released:?}");
        assert_eq!((released.claim.samples, report.samples), (150, [150, 150]));
        assert_eq!(report.against, "the original's own answers");
        let bytes = report.canonical().unwrap();
        let read: Report = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(read.canonical().unwrap(), bytes);
        let svg = report.plot();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.contains("budget"), "{svg}");
    }
}

#[test]
fn a_search_that_was_broken_off_comes_to_the_same() {
    let Some(engine) = engine::embedded().into_iter().next() else { return };
    let (whole, _, facts) = search(&*engine, Aim::Size, usize::MAX);
    let (again, _, same) = search(&*engine, Aim::Size, usize::MAX);
    assert_eq!((whole.canonical().unwrap(), &facts), (again.canonical().unwrap(), &same));
    let (pieces, _, stored) = search(&*engine, Aim::Size, 7);
    assert_eq!((whole.canonical().unwrap(), facts), (pieces.canonical().unwrap(), stored));
}

#[test]
fn measurements_of_something_else_are_refused() {
    let Some(engine) = engine::embedded().into_iter().next() else { return };
    let (samples, metric, engines) = (samples(), Metric::Class { output: 0 }, [&*engine]);
    let runner = Runner::new(&tiny::cnn(), &samples, &metric, &engines, engine::Options::default()).unwrap();
    let state = Search::new(options(Aim::Size), runner.subject(256)).unwrap().state().clone();
    let error = Search::resume(options(Aim::Latency), runner.subject(256), state).unwrap_err();
    assert!(error.to_string().contains("of another model, other data"), "{error}");
}
