//! What several tests need.

use std::{fs, num::NonZeroUsize, ops::ControlFlow, path::PathBuf};

use nx_train::{Dataset, Network, Options, Spec, digits, train::History};
use nx_types::env::SeededRng;

pub(crate) fn testdata(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(path)
}

/// The digits that ship: those to learn from, those to judge by.
pub(crate) fn digits() -> (Dataset, Dataset) {
    let file = |name: &str| fs::read(testdata("digits").join(name)).unwrap();
    let data = digits::read(&file("images-idx3-ubyte.gz"), &file("labels-idx1-ubyte.gz")).unwrap();
    data.split(digits::TO_LEARN)
}

pub(crate) fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

/// A fresh network of the options' seed, trained.
pub(crate) fn trained(spec: &Spec, data: &Dataset, options: &Options) -> (Network, History) {
    let mut network = Network::new(spec, &SeededRng::new(options.seed)).unwrap();
    let history = nx_train::train(&mut network, data, options, &mut |_| ControlFlow::Continue(())).unwrap();
    (network, history)
}
