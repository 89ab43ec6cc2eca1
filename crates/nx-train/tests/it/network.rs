//! Networks are checked when they are made, and judged by numbers.

use expect_test::expect;
use nx_train::{Dataset, Evaluation, Network, Shape, Spec, digits, network::LayerSpec};
use nx_types::{ErrorCode as _, env::SeededRng};

use crate::support::threads;

fn made(input: Shape, layers: Vec<LayerSpec>) -> String {
    match Network::new(&Spec { input, layers }, &SeededRng::new(0)) {
        Ok(network) => format!("{:?}", network.output()),
        Err(error) => format!("{}: {error}", error.code()),
    }
}

#[test]
fn layers_that_do_not_fit_together_are_refused() {
    let image = Shape { channels: 1, height: 8, width: 8 };
    let conv = |outputs, size| LayerSpec::Conv2d { outputs, size, bias: true };
    let found = [
        made(image, vec![conv(3, 3), LayerSpec::MaxPool { size: 3 }]),
        made(image, vec![conv(3, 2)]),
        made(image, vec![conv(0, 3)]),
        made(image, vec![LayerSpec::MaxPool { size: 9 }]),
        made(image, vec![LayerSpec::Dense { outputs: 3 }]),
        made(image, vec![LayerSpec::Softmax]),
        made(Shape::vector(5), vec![conv(3, 3)]),
        made(Shape::vector(0), vec![LayerSpec::Relu]),
        made(Shape::vector(5), vec![LayerSpec::Softmax, LayerSpec::Relu]),
        made(Shape::vector(5), vec![LayerSpec::Dense { outputs: 1 << 19 }; 3]),
        made(Shape { channels: usize::MAX, ..image }, vec![LayerSpec::Relu]),
        made(image, vec![conv(usize::MAX, 31)]),
        made(image, vec![LayerSpec::Relu; 257]),
    ];
    expect![[r"
        Shape { channels: 3, height: 2, width: 2 }
        NX-TRN-0004: layer 0: a convolution has an output and an odd size of at most 31
        NX-TRN-0004: layer 0: a convolution has an output and an odd size of at most 31
        NX-TRN-0004: layer 0: a pool's square is at least 1 and fits into the image
        NX-TRN-0004: layer 0: a dense layer wants a vector; put `flatten` or `global_average_pool` before it
        NX-TRN-0004: layer 0: a softmax wants a vector; put a dense layer before it
        NX-TRN-0004: layer 0: a convolution wants an image; put it before what makes a vector
        NX-TRN-0004: layer 0: nothing goes in; give it an input of at least one number
        NX-TRN-0004: layer 1: stands behind a softmax; let the softmax be the last
        NX-TRN-0002: an example on its way through the network has 1048581, more than the 1048576 that are taken in
        NX-TRN-0002: an example on its way through the network has 18446744073709551615, more than the 1048576 that are taken in
        NX-TRN-0002: an example on its way through the network has 18446744073709551615, more than the 1048576 that are taken in
        NX-TRN-0002: the network's list of layers has 257, more than the 256 that are taken in"]].assert_eq(&found.join("\n"));
}

#[test]
fn the_network_that_reads_digits_is_small() {
    let network = Network::new(&digits::network(), &SeededRng::new(0)).unwrap();
    expect!["66170"].assert_eq(&network.parameters().to_string());
    assert_eq!(network.output(), Shape::vector(digits::CLASSES));
}

#[test]
fn predictions_do_not_depend_on_threads_nor_on_company() {
    let network = Network::new(&digits::network(), &SeededRng::new(4)).unwrap();
    let (_, judge) = crate::support::digits();
    let (some, _) = judge.split(50);
    let inputs: Vec<f32> = (0..50).flat_map(|at| Dataset::numbers(some.get(at).unwrap().0)).collect();
    let together = network.predict(&inputs, threads(1)).unwrap();
    assert_eq!(network.predict(&inputs, threads(4)).unwrap(), together);
    let alone: Vec<f32> = inputs.chunks(784).flat_map(|one| network.predict(one, threads(1)).unwrap()).collect();
    assert_eq!(alone, together);
    assert!(together.chunks(10).all(|p| (p.iter().sum::<f32>() - 1.0).abs() < 1e-5));
    assert!(network.predict(&inputs[1..], threads(1)).is_err());
}

#[test]
fn an_evaluation_counts_what_it_sees() {
    // sure and right, sure and wrong, unsure and right
    let found = Evaluation::of(2, &[0.9, 0.1, 0.8, 0.2, 0.4, 0.6], &[0, 1, 1]);
    assert_eq!((found.count, found.correct, &found.confusion), (3, 2, &vec![vec![1, 0], vec![1, 1]]));
    let wanted_loss = -(0.9_f64.ln() + 0.2_f64.ln() + 0.6_f64.ln()) / 3.0;
    assert!((found.loss - wanted_loss).abs() < 1e-6);
    assert!((found.calibration_error - (0.1 + 0.8 + 0.4) / 3.0).abs() < 1e-6);
    // Wilson's formula, worked out in Python
    assert!((found.interval.0 - 0.207_659_601).abs() < 1e-6 && (found.interval.1 - 0.938_508_055).abs() < 1e-6);
    assert_eq!(Evaluation::of(2, &[], &[]).interval, (0.0, 1.0));
}
