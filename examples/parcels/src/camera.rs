//! The camera over the belts, simulated; what it takes pictures of is real: digits that people wrote by hand, of MNIST,
//! with the licence beside them. A parcel's digit is the door that it leaves by.
//!
//! The pictures are 58 in a row of the thousand that the network which reads them (`testdata/models/digits.md`) did not learn
//! from. They were chosen for two of them, of which the network is not sure; it misreads both. Which parcel has
//! which digit is made up: the parcels that are on the belts, by their numbers.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::json;

/// The pictures, as MNIST is published (idx): a head of 16 bytes, then the pixels.
pub const IMAGES: &[u8] = include_bytes!("../data/labels.images-idx3-ubyte");
/// The digits that were meant: a head of 8 bytes, then a byte for each. The dock does not know them.
pub const DIGITS: &[u8] = include_bytes!("../data/labels.digits-idx1-ubyte");
/// Their licences (CC BY-SA 3.0, MIT).
pub const LICENSE: &str = include_str!("../data/LICENSE-MNIST.txt");

/// The parcels in the order in which the camera sees them: the shop's that are on a belt.
pub const PARCELS: [&str; 58] = [
    "P72", "P74", "P76", "P79", "P83", "P85", "P86", "P87", "P88", "P90", "P93", "P96", "P101", "P102", "P104", "P106",
    "P107", "P115", "P121", "P122", "P123", "P124", "P126", "P129", "P134", "P138", "P139", "P145", "P146", "P148",
    "P156", "P157", "P158", "P160", "P164", "P165", "P174", "P176", "P181", "P190", "P191", "P194", "P195", "P199",
    "P200", "P209", "P215", "P222", "P223", "P232", "P236", "P247", "P255", "P257", "P258", "P264", "P265", "P271",
];
/// Milliseconds between two parcels: all have passed before the belt stops.
pub const INTERVAL_MS: u32 = 140;

/// Pixels of a side.
const SIDE: u32 = 28;
const HEAD: usize = 16;
const PIXELS: usize = (SIDE * SIDE) as usize;

/// What the camera sees, a JSON object a line: the parcel, and a picture of its label as a PNG.
pub fn replay() -> &'static [u8] {
    static REPLAY: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let lines = PARCELS.iter().zip(pictures()).map(|(parcel, pixels)| {
            let image = BASE64.encode(png(pixels));
            json!({ "camera": "cam0", "parcel": parcel, "image": image }).to_string() + "\n"
        });
        lines.collect::<String>().into_bytes()
    });
    &REPLAY
}

/// The pixels of each picture: rows from the top, a byte each, white on black.
fn pictures() -> impl Iterator<Item = &'static [u8]> {
    IMAGES.get(HEAD..).unwrap_or_default().chunks_exact(PIXELS)
}

#[expect(clippy::expect_used, reason = "a picture of fixed sides is written to memory")]
fn png(pixels: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, SIDE, SIDE);
    encoder.set_color(png::ColorType::Grayscale);
    let mut writer = encoder.write_header().expect("a head is written");
    writer.write_image_data(pixels).expect("the pixels are as many as the sides say");
    writer.finish().expect("the end is written");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parcel_has_a_picture_of_its_own() {
        assert_eq!(IMAGES[..HEAD], [0, 0, 8, 3, 0, 0, 0, 58, 0, 0, 0, 28, 0, 0, 0, 28]);
        assert_eq!(DIGITS[..8], [0, 0, 8, 1, 0, 0, 0, 58]);
        assert_eq!((pictures().count(), DIGITS.len() - 8), (PARCELS.len(), PARCELS.len()));
        assert!(DIGITS[8..].iter().all(|digit| *digit < 10));
        assert!(LICENSE.contains("Attribution-Share Alike 3.0") && LICENSE.contains("MIT License"));
        let lines: Vec<serde_json::Value> =
            replay().split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        assert_eq!(lines.len(), PARCELS.len());
        for (line, pixels) in lines.iter().zip(pictures()) {
            let picture = BASE64.decode(line["image"].as_str().unwrap()).unwrap();
            let mut reader = png::Decoder::new(std::io::Cursor::new(picture)).read_info().unwrap();
            let mut read = vec![0; reader.output_buffer_size().unwrap()];
            reader.next_frame(&mut read).unwrap();
            assert_eq!(read, pixels);
        }
    }

    #[test]
    fn all_have_passed_before_the_belt_stops() {
        let passed = PARCELS.len() as u32 * INTERVAL_MS;
        assert!(passed < 257 * crate::motor::REPLAY_INTERVAL_MS, "{passed} ms");
    }
}
