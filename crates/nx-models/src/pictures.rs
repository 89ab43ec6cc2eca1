//! Pictures from outside: PNG and JPEG to pixels, with a bound on how many before any is decoded.

use std::io::Cursor;

use nx_infer::process::Image;
use zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};
use zune_jpeg::JpegDecoder;

/// Most pixels of a picture.
const MAX_PIXELS: usize = 32 << 20;
/// Longest side of a picture, in pixels.
const MAX_SIDE: usize = 1 << 15;

/// The media type of what the bytes begin with.
pub(crate) fn media(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some("image/png")
    } else if bytes.starts_with(b"\xff\xd8\xff") {
        Some("image/jpeg")
    } else {
        None
    }
}

/// Decodes a picture, PNG or JPEG; the reason where it cannot be.
///
/// # Errors
/// The reason, to follow the name of what holds it.
pub fn decode(bytes: &[u8]) -> Result<Image, String> {
    match media(bytes) {
        Some("image/png") => png(bytes),
        Some(_) => jpeg(bytes),
        None => Err("is neither PNG nor JPEG; send one of them, or pixels with their sides".to_owned()),
    }
}

fn fits(width: usize, height: usize) -> Result<(), String> {
    if width <= MAX_SIDE && height <= MAX_SIDE && width.saturating_mul(height) <= MAX_PIXELS {
        return Ok(());
    }
    Err(format!("is a picture of {width} × {height}; {MAX_PIXELS} pixels and sides of {MAX_SIDE} are the limit"))
}

fn png(bytes: &[u8]) -> Result<Image, String> {
    let wrong = |error: png::DecodingError| format!("is no PNG that can be read: {error}");
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: 8 * MAX_PIXELS });
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    decoder.set_ignore_text_chunk(true);
    let mut reader = decoder.read_info().map_err(wrong)?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    fits(width, height)?;
    let size = reader.output_buffer_size().ok_or("is too large for this machine")?;
    let mut pixels = vec![0; size];
    let frame = reader.next_frame(&mut pixels).map_err(wrong)?;
    pixels.truncate(frame.buffer_size());
    image(width, height, pixels)
}

fn jpeg(bytes: &[u8]) -> Result<Image, String> {
    let wrong = |error: zune_jpeg::errors::DecodeErrors| format!("is no JPEG that can be read: {error:?}");
    let options = DecoderOptions::default()
        .set_max_width(MAX_SIDE)
        .set_max_height(MAX_SIDE)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(wrong)?;
    let (width, height) = decoder.dimensions().ok_or("is a JPEG without sides")?;
    fits(width, height)?;
    let pixels = decoder.decode().map_err(wrong)?;
    image(width, height, pixels)
}

fn image(width: usize, height: usize, pixels: Vec<u8>) -> Result<Image, String> {
    let channels = pixels.len().checked_div(width.saturating_mul(height)).unwrap_or_default();
    let (channels, pixels) = match channels {
        // grey with transparency
        2 => (1, pixels.chunks_exact(2).filter_map(|pair| pair.first().copied()).collect()),
        other => (other, pixels),
    };
    Image::new(width, height, channels, pixels).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PNG of one colour type.
    fn written(width: u32, height: u32, color: png::ColorType, pixels: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(color);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header().unwrap().write_image_data(pixels).unwrap();
        bytes
    }

    #[test]
    fn pixels_come_back() {
        let grey = decode(&written(3, 2, png::ColorType::Grayscale, &[0, 50, 100, 150, 200, 250])).unwrap();
        assert_eq!((grey.width(), grey.height(), grey.channels()), (3, 2, 1));
        assert_eq!(grey.pixels(), [0, 50, 100, 150, 200, 250]);
        let pale = decode(&written(2, 1, png::ColorType::GrayscaleAlpha, &[10, 255, 20, 0])).unwrap();
        assert_eq!((pale.channels(), pale.pixels()), (1, [10, 20].as_slice()));
        let colour = decode(&written(1, 1, png::ColorType::Rgb, &[1, 2, 3])).unwrap();
        assert_eq!(colour.channels(), 3);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let whole = written(3, 2, png::ColorType::Grayscale, &[0; 6]);
        for end in 8..whole.len() - 13 {
            assert!(decode(&whole[..end]).unwrap_err().contains("no PNG"), "{end}");
        }
        assert!(decode(b"GIF89a").unwrap_err().contains("neither PNG nor JPEG"));
        assert!(decode(b"\xff\xd8\xff\xe0\x00\x10JFIF").unwrap_err().contains("no JPEG"));
        // sides of a picture that would take 4 GiB
        let mut huge = whole;
        huge[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
        assert!(decode(&huge).is_err());
    }
}
