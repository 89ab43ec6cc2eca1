//! Networks as bytes and back.

use nx_train::{Network, digits, store};
use nx_types::{ErrorCode as _, env::SeededRng};
use proptest::prelude::*;

fn stored() -> (Network, Vec<u8>) {
    let network = Network::new(&digits::network(), &SeededRng::new(9)).unwrap();
    let bytes = store::write(&network).unwrap();
    (network, bytes)
}

#[test]
fn a_network_comes_back_as_it_was() {
    let (network, bytes) = stored();
    assert_eq!(store::read(&bytes).unwrap(), network);
    assert_eq!(store::write(&network).unwrap(), bytes);
    // the header says what it is
    assert!(bytes.windows(16).any(|window| window == b"neuraxis.network"));
}

#[test]
fn what_is_no_number_is_refused() {
    let (_, mut bytes) = stored();
    let end = bytes.len() - 4;
    bytes[end..].copy_from_slice(&f32::NAN.to_le_bytes());
    let error = store::read(&bytes).unwrap_err();
    assert_eq!(error.code().as_str(), "NX-TRN-0008");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn broken_bytes_are_refused_or_give_a_network(at in 0_usize..2000, byte: u8, cut in 0_usize..3000) {
        let (_, mut bytes) = stored();
        bytes[at] = byte;
        if cut % 2 == 0 {
            bytes.truncate(bytes.len() - cut);
        }
        let _result = store::read(&bytes);
    }
}
