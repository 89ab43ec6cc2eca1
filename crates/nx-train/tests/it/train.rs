//! Training is a function of network, data and options, and can be broken off.

use std::{num::NonZeroUsize, ops::ControlFlow};

use expect_test::expect;
use nx_train::{
    Dataset, Error, Network, Options, Shape, Spec, digits, evaluate,
    network::LayerSpec,
    optimise::{Optimiser, Schedule},
    store, train,
};
use nx_types::{ErrorCode as _, env::SeededRng};

use crate::support::{digits, threads, trained};

/// Two epochs on 500 digits.
fn short(seed: u64, threads: NonZeroUsize) -> (Network, Vec<u8>) {
    let (few, _) = digits().0.split(500);
    let options = Options { epochs: 2, ..digits::options(seed, threads) };
    let (network, _) = trained(&digits::network(), &few, &options);
    let bytes = store::write(&network).unwrap();
    (network, bytes)
}

#[test]
fn the_same_seed_gives_the_same_bytes_with_any_number_of_threads_and_on_any_machine() {
    let (network, bytes) = short(1, threads(1));
    for count in [2, 3] {
        assert_eq!(short(1, threads(count)).1, bytes, "{count} threads");
    }

    // taken on one machine, and the same on all
    expect!["881ef6c189758ffa76b662d611784004e13cf71edec81f954f6e1af2d5234cd7"]
        .assert_eq(&blake3::hash(&bytes).to_hex());
    let found = evaluate(&network, &digits().1, threads(2)).unwrap();
    expect!["750"].assert_eq(&found.correct.to_string());
}

/// Two classes of vectors that a plane divides.
fn divided(count: usize) -> Dataset {
    let rng = SeededRng::new(5);
    let mut bytes = vec![0; count * 4];
    nx_types::Rng::fill(&rng, &mut bytes);
    let label = |x: &[u8]| u8::from(u16::from(x[0]) + u16::from(x[1]) > u16::from(x[2]) + u16::from(x[3]));
    let labels = bytes.chunks(4).map(label).collect();
    Dataset::new(Shape::vector(4), 2, bytes, labels).unwrap()
}

fn linear() -> Spec {
    Spec { input: Shape::vector(4), layers: vec![LayerSpec::Dense { outputs: 2 }, LayerSpec::Softmax] }
}

#[test]
fn a_linear_model_finds_the_plane_with_each_optimiser() {
    let (learn, judge) = divided(2000).split(1500);
    for optimiser in [Optimiser::Sgd { momentum: 0.9 }, Optimiser::default()] {
        let schedule = Schedule::Constant { rate: 0.1 };
        let options = Options { epochs: 20, optimiser, schedule, weight_decay: 0.0, ..Options::default() };
        let (network, history) = trained(&linear(), &learn, &options);
        let found = evaluate(&network, &judge, threads(1)).unwrap();
        assert!(found.accuracy > 0.98, "{optimiser:?}: {found:?}");
        assert!(history.epochs.last().unwrap().loss < history.epochs.first().unwrap().loss / 2.0);
        assert_eq!(history.steps.len(), 20 * (1500 / 64));
    }
}

fn refused(spec: &Spec, data: &Dataset, options: &Options) -> String {
    let mut network = Network::new(spec, &SeededRng::new(0)).unwrap();
    let error = train(&mut network, data, options, &mut |_| ControlFlow::Continue(())).unwrap_err();
    format!("{}: {error}", error.code())
}

#[test]
fn what_does_not_fit_is_refused() {
    let data = divided(64);
    let options = Options::default();
    let none = data.clone().split(0).0;
    let bare = Spec { layers: vec![LayerSpec::Dense { outputs: 2 }], ..linear() };
    let narrow = Spec { layers: vec![LayerSpec::Dense { outputs: 1 }, LayerSpec::Softmax], ..linear() };
    let found = [
        refused(&linear(), &none, &options),
        refused(&bare, &data, &options),
        refused(&narrow, &data, &options),
        refused(&digits::network(), &data, &options),
        refused(&linear(), &data, &Options { epochs: 0, ..options.clone() }),
        refused(&linear(), &data, &Options { shard: 257, ..options.clone() }),
        refused(&linear(), &data, &Options { shift_px: usize::MAX, ..options.clone() }),
        refused(&linear(), &data, &Options { weight_decay: f32::NAN, ..options.clone() }),
        refused(&linear(), &data, &Options { optimiser: Optimiser::Sgd { momentum: 1.0 }, ..options.clone() }),
        refused(&linear(), &data, &Options { schedule: Schedule::Constant { rate: -1.0 }, ..options }),
    ];
    expect![[r"
        NX-TRN-0003: data does not fit: there are no examples
        NX-TRN-0003: data does not fit: the network gives no probabilities; let its last layer be `softmax`
        NX-TRN-0003: data does not fit: there are 2 classes and the network gives 1
        NX-TRN-0003: data does not fit: images are Shape { channels: 4, height: 1, width: 1 } and the network takes Shape { channels: 1, height: 28, width: 28 }
        NX-TRN-0005: option `epochs` is `0`; it lies from 1 to 10000
        NX-TRN-0005: option `shard` is `257`; it lies from 1 to 256
        NX-TRN-0005: option `shift_px` is `18446744073709551615`; it is at most 32
        NX-TRN-0005: option `weight_decay` is `NaN`; it lies from 0 to 1000
        NX-TRN-0005: option `optimiser` is `1`; it lies from 0 to below 1
        NX-TRN-0005: option `schedule.rate` is `-1`; it lies from 0 to 1000"]].assert_eq(&found.join("\n"));
}

#[test]
fn it_can_be_broken_off_and_says_where_it_stands() {
    let data = divided(640);
    let mut network = Network::new(&linear(), &SeededRng::new(0)).unwrap();
    let before = network.clone();
    let mut heard = Vec::new();
    let result = train(&mut network, &data, &Options::default(), &mut |progress| {
        heard.push((progress.step, progress.epoch));
        if progress.step == 12 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Cancelled { step: 12 }) && error.retryable());
    assert_eq!(heard.last(), Some(&(12, 2)));
    assert_ne!(network, before);
}

#[test]
fn a_loss_that_is_no_number_ends_it() {
    let options = Options { schedule: Schedule::Constant { rate: 1000.0 }, weight_decay: 1000.0, ..Options::default() };
    expect!["NX-TRN-0006: training diverged at step 7: the loss is no number any more; try a lower learning rate"]
        .assert_eq(&refused(&linear(), &divided(640), &options));
}
