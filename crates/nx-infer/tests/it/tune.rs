//! Tuning and counting on a small network, with a clock that is the test's own.

use std::{collections::BTreeMap, time::Duration};

use nx_infer::{
    Error, Manifest, Tensor, bench,
    device::{Profile, Work},
    engine::{self, Engines},
    tune::{self, Choice, Plan},
};

use crate::tiny;

fn inputs() -> Vec<(String, Tensor)> {
    bench::inputs(&Manifest::of("tiny", &tiny::cnn()).unwrap(), &BTreeMap::new()).unwrap()
}

/// A clock on which every look takes so long.
fn clock(tick: Duration) -> impl FnMut() -> Duration {
    let mut time = Duration::ZERO;
    move || {
        time += tick;
        time
    }
}

fn measured(plan: &Plan, tick: Duration) -> Result<Vec<tune::Setting>, Error> {
    let inputs = inputs();
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    tune::measure(&Engines::default(), &tiny::cnn().write(), &inputs, plan, &mut clock(tick))
}

#[test]
fn every_setting_is_measured_within_the_time() {
    let plan = Plan { threads: vec![1, 2], engines: Vec::new(), time: Duration::from_hours(1) };
    let settings = measured(&plan, Duration::from_micros(10)).unwrap();
    assert_eq!(settings.len(), 2 * engine::names().len());
    assert!(settings.iter().all(|setting| setting.runs == 200 && setting.p50_us == Some(10.0)), "{settings:?}");
    // a second for each look at the clock: half a minute is all that there is, and everyone had a turn
    let settings = measured(&plan, Duration::from_secs(1)).unwrap();
    assert!(settings.iter().all(|setting| (1..=30).contains(&setting.runs)), "{settings:?}");
    let choice = Choice::of(b"tiny", &Profile::here(), settings).unwrap();
    assert_eq!(choice.setting.threads, 1, "another thread gained nothing");
}

#[test]
fn what_cannot_be_measured_is_said() {
    let plan = Plan { threads: vec![1], engines: vec!["abacus".to_owned()], time: Duration::from_secs(1) };
    assert!(matches!(measured(&plan, Duration::from_micros(1)).unwrap_err(), Error::NoEngine { .. }));
    let plan = Plan { threads: vec![1], engines: Vec::new(), time: Duration::from_secs(1) };
    let wrong = Tensor::zeros([1, 1, 8, 9], nx_infer::DType::F32).unwrap();
    let inputs = [("image", &wrong)];
    let model = tiny::cnn().write();
    let now = &mut clock(Duration::from_micros(1));
    let settings = tune::measure(&Engines::default(), &model, &inputs, &plan, now).unwrap();
    assert!(settings.iter().all(|setting| setting.left_out.as_deref().unwrap_or_default().contains("the model takes")));
    assert_eq!(Choice::of(&model, &Profile::here(), settings), None);
}

#[test]
fn products_are_counted() {
    let inputs = inputs();
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    for engine in engine::embedded() {
        let work = Work::of(&*engine, &tiny::cnn(), &inputs).unwrap();
        // 4 channels of 8 × 8 of a kernel of 3 × 3, and 10 classes of 64 values
        assert_eq!((work.products, work.products_int8, work.uncounted), (4 * 64 * 9 + 640, 0, 0), "{}", engine.name());
        assert_eq!(work.inner_bytes, 4 * (4 * 64 + 10));
        assert!(work.weight_bytes >= 4 * (36 + 640), "{}", work.weight_bytes);
    }
}

#[test]
fn inputs_are_made_of_shapes_and_steps() {
    let manifest = Manifest::of("tiny", &tiny::cnn()).unwrap();
    let shape = |sides: &[usize]| BTreeMap::from([("image".to_owned(), sides.to_vec())]);
    assert_eq!(bench::inputs(&manifest, &shape(&[5, 1, 8, 8])).unwrap()[0].1.shape(), [5, 1, 8, 8]);
    assert!(bench::inputs(&manifest, &shape(&[5, 1, 8, 9])).is_err());
    let unknown = BTreeMap::from([("picture".to_owned(), vec![1])]);
    assert!(bench::inputs(&manifest, &unknown).unwrap_err().to_string().contains("the model takes `image`"));
}
