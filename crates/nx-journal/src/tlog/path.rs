//! Where C2SP tlog-tiles puts its files: `checkpoint`, `tile/<level>/<index>[.p/<width>]`,
//! `tile/entries/<index>[.p/<width>]`.

use super::{TILE_HEIGHT, TILE_WIDTH};

/// The file of the signed checkpoint.
pub const CHECKPOINT_PATH: &str = "checkpoint";

/// The path of a tile of hashes that is `width` wide.
pub fn tile_path(level: u8, index: u64, width: usize) -> String {
    format!("tile/{level}/{}", place(index, width))
}

/// The path of a bundle of entries that is `width` wide.
pub fn entries_path(index: u64, width: usize) -> String {
    format!("tile/entries/{}", place(index, width))
}

/// How many hashes the tile has in a tree of `size` leaves; 0 if the tree lacks it.
pub fn tile_width(size: u64, level: u8, index: u64) -> usize {
    let hashes = size.checked_shr(TILE_HEIGHT * u32::from(level)).unwrap_or(0);
    let first = index.saturating_mul(TILE_WIDTH as u64);
    hashes.saturating_sub(first).min(TILE_WIDTH as u64) as usize
}

/// Three digits a directory, all but the last behind an `x`, so that no directory grows without bound.
fn place(index: u64, width: usize) -> String {
    let mut path = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    if width < TILE_WIDTH { format!("{path}.p/{width}") } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        assert_eq!(tile_path(4, 1_234_067, 256), "tile/4/x001/x234/067");
        assert_eq!(tile_path(0, 7, 112), "tile/0/007.p/112");
        assert_eq!(entries_path(273, 112), "tile/entries/273.p/112");
        assert_eq!(tile_path(1, 1_000, 256), "tile/1/x001/000");
    }

    #[test]
    fn widths_are_those_of_the_specification() {
        // "a tree of size 70,000 will be represented by 273 full level 0 tiles, one partial level 0 tile of width 112,
        // one full level 1 tile, one partial level 1 tile of width 17, and one partial level 2 tile of width 1"
        let widths = |level, index| tile_width(70_000, level, index);
        assert_eq!((widths(0, 272), widths(0, 273), widths(0, 274)), (256, 112, 0));
        assert_eq!((widths(1, 0), widths(1, 1), widths(1, 2)), (256, 17, 0));
        assert_eq!((widths(2, 0), widths(3, 0), widths(40, 0)), (1, 0, 0));
    }
}
