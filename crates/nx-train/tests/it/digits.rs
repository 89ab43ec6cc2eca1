//! The network that ships is what its command makes, and as good as its card says.

use std::fs;

use nx_train::{digits, evaluate, onnx, store};

use crate::support::{digits, testdata, threads, trained};

#[test]
fn the_data_is_split_as_its_page_says() {
    let (learn, judge) = digits();
    assert_eq!((learn.len(), judge.len()), (7000, 1000));
    assert_eq!((learn.shape(), learn.classes()), (digits::IMAGE, digits::CLASSES));
}

#[test]
fn the_network_that_ships_is_as_good_as_its_card_says() {
    let network = store::read(&fs::read(testdata("models/digits.safetensors")).unwrap()).unwrap();
    let found = evaluate(&network, &digits().1, threads(2)).unwrap();
    let card = fs::read_to_string(testdata("models/digits.md")).unwrap();
    assert!(card.contains(&format!("| right | {} of 1000 |", found.correct)), "{}", found.correct);
    assert!(found.correct >= 990);
    let options = digits::options(digits::SEED, threads(1));
    let model = onnx::write(&network, &digits::onnx_card(&options));
    assert!(model == fs::read(testdata("models/digits.onnx")).unwrap(), "the ONNX model is another");
}

#[test]
#[ignore = "learns for a minute: cargo test --release -p nx-train --test it -- --ignored"]
fn training_anew_gives_the_network_that_ships() {
    let (network, _) = trained(&digits::network(), &digits().0, &digits::options(digits::SEED, threads(2)));
    let bytes = store::write(&network).unwrap();
    assert!(bytes == fs::read(testdata("models/digits.safetensors")).unwrap(), "the network is another");
}
