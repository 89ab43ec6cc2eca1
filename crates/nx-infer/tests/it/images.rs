//! Pixels against Pillow 13.0 and `OpenCV` 5.0: what they make of the same small image.

use nx_infer::process::{
    Image,
    image::{Channels, Filter},
};

fn image() -> Image {
    let value = |x: usize, y: usize, c: usize| ((x * 37 + y * 11 + c * 53 + x * y * 7) % 256) as u8;
    let pixels = (0..6).flat_map(|y| (0..7).flat_map(move |x| (0..3).map(move |c| value(x, y, c))));
    Image::new(7, 6, 3, pixels.collect()).unwrap()
}

#[track_caller]
fn close(found: &Image, wanted: &[u8], most: u8) {
    assert_eq!(found.pixels().len(), wanted.len());
    let worst = found.pixels().iter().zip(wanted).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(worst <= Some(most), "{worst:?}: {:?}\n{wanted:?}", found.pixels());
}

#[test]
fn grey_as_both_compute_it() {
    let wanted = [
        43, 80, 117, 154, 191, 199, 86, 54, 98, 142, 186, 201, 95, 62, 65, 116, 167, 189, 90, 64, 115, 76, 134, 192,
        71, 52, 110, 168, 87, 152, 188, 103, 91, 156, 192, 98, 170, 213, 58, 130, 173, 95,
    ];
    close(&image().with_channels(Channels::Grey), &wanted, 0);
}

#[test]
fn linear_is_opencvs() {
    // cv2.resize(a, (3, 2), interpolation=cv2.INTER_LINEAR)
    let down = [40, 93, 146, 143, 196, 249, 160, 43, 96, 87, 140, 193, 239, 36, 89, 135, 188, 155];
    close(&image().resized(3, 2, Filter::Linear).unwrap(), &down, 1);
    // the first two rows of cv2.resize(a, (9, 8), interpolation=cv2.INTER_LINEAR)
    let up = [
        0, 53, 106, 25, 77, 131, 53, 106, 159, 82, 135, 188, 111, 164, 217, 140, 193, 246, 168, 221, 132, 197, 165, 47,
        222, 19, 72, 7, 60, 113, 34, 87, 140, 67, 119, 173, 99, 152, 205, 131, 184, 237, 163, 216, 145, 195, 159, 88,
        174, 88, 78, 95, 52, 105,
    ];
    let found = image().resized(9, 8, Filter::Linear).unwrap();
    close(&Image::new(9, 2, 3, found.pixels()[..54].to_vec()).unwrap(), &up, 1);
}

#[test]
fn smooth_and_cubic_are_pillows() {
    // Image.resize((3, 2), Image.BILINEAR) and BICUBIC
    let smooth = [53, 106, 159, 138, 157, 157, 132, 108, 113, 96, 149, 167, 137, 116, 115, 117, 141, 132];
    close(&image().resized(3, 2, Filter::Smooth).unwrap(), &smooth, 1);
    let cubic = [46, 102, 159, 145, 164, 161, 132, 106, 111, 97, 151, 170, 137, 116, 112, 115, 137, 132];
    close(&image().resized(3, 2, Filter::Cubic).unwrap(), &cubic, 1);
    let nearest = [55, 108, 161, 143, 196, 249, 231, 28, 81, 109, 162, 215, 239, 36, 89, 113, 166, 219];
    close(&image().resized(3, 2, Filter::Nearest).unwrap(), &nearest, 0);
}

#[test]
fn channels_and_light() {
    let pixel = Image::new(1, 1, 3, vec![1, 2, 3]).unwrap();
    assert_eq!(pixel.with_channels(Channels::Bgr).pixels(), [3, 2, 1]);
    assert_eq!(pixel.with_channels(Channels::Grey).with_channels(Channels::Rgb).pixels(), [2, 2, 2]);
    assert_eq!(pixel.inverted().pixels(), [254, 253, 252]);
    let alpha = Image::new(1, 1, 4, vec![1, 2, 3, 0]).unwrap();
    assert_eq!(alpha.with_channels(Channels::Rgb), pixel);
}

#[test]
fn a_fit_keeps_proportions() {
    let (fitted, scale) = image().fitted(14, 6, Filter::Linear).unwrap();
    assert_eq!((fitted.width(), fitted.height(), scale), (7, 6, 1.0));
    let (fitted, scale) = image().fitted(3, 100, Filter::Linear).unwrap();
    assert_eq!((fitted.width(), fitted.height()), (3, 2));
    assert!((scale - 3.0 / 7.0).abs() < 1e-12);
}

#[test]
fn what_is_no_image() {
    assert!(Image::new(0, 1, 1, vec![]).is_err());
    assert!(Image::new(1, 1, 2, vec![0, 0]).is_err());
    assert!(Image::new(2, 2, 1, vec![0; 3]).is_err());
    assert!(Image::new(usize::MAX, 2, 1, vec![]).is_err());
    assert!(image().resized(0, 4, Filter::Linear).is_err());
    assert!(image().resized(1 << 20, 1 << 20, Filter::Linear).is_err());
}
