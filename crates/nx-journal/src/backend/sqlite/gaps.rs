//! Erasing what the engine leaves between the cells of a page. It overwrites cells that it frees and pages that it gives
//! back, but where it shares cells out among pages anew, copies of those that moved away stay in the gap behind a page's
//! cell pointers ([file format, section 1.6](https://www.sqlite.org/fileformat2.html#b_tree_pages)). No reader looks
//! there, so gaps are overwritten in the file, and nothing that stands in cells is touched: neither a reader at work nor
//! a crash can see half of anything.
//!
//! The write-ahead log must be empty, and the writer must hold no copy of a page: it would bring the gap back.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use super::schema::PAGE_BYTES;
use crate::Error;

type Page = [u8; PAGE_BYTES];

/// Overwrites the gaps of all pages of the trees with these roots, durably, and says in how many there was something.
pub(super) fn overwrite(file: &File, roots: &[u64]) -> Result<u64, Error> {
    let failed = |error| Error::Storage { what: "overwrite the gaps of pages", source: std::sync::Arc::new(error) };
    let bytes = file.metadata().map_err(failed)?.len();
    let mut left = bytes / PAGE_BYTES as u64;
    let mut todo = roots.to_vec();
    let mut page = [0; PAGE_BYTES];
    let mut overwritten = 0;
    while let Some(number) = todo.pop() {
        let damaged = |what| Error::corrupt(format!("page {number} of the database"), what);
        // A page that is its own ancestor must not keep us here.
        left = left.checked_sub(1).ok_or_else(|| damaged("its tree holds more pages than the file"))?;
        let place = number.checked_sub(1).ok_or_else(|| damaged("there is no such page"))? * PAGE_BYTES as u64;
        file.read_exact_at(&mut page, place).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged("it lies beyond the end of the file"),
            _ => failed(error),
        })?;
        let layout = Layout::of(&page, number == 1).ok_or_else(|| damaged("it is no page of a tree"))?;
        if page.get(layout.gap.clone()).is_some_and(|gap| gap.iter().any(|byte| *byte != 0)) {
            let zeros = [0; PAGE_BYTES];
            let zeros = zeros.get(..layout.gap.len()).unwrap_or_default();
            file.write_all_at(zeros, place + layout.gap.start as u64).map_err(failed)?;
            overwritten += 1;
        }
        layout.children(&page, &mut todo).ok_or_else(|| damaged("a cell lies outside of it"))?;
    }
    if overwritten > 0 {
        file.sync_data().map_err(failed)?;
    }
    Ok(overwritten)
}

/// Where things stand in a page.
struct Layout {
    /// The pointers to its cells.
    pointers: std::ops::Range<usize>,
    /// Between the pointers and the first cell.
    gap: std::ops::Range<usize>,
    /// The last child, of a page that has some.
    last: Option<u64>,
}

impl Layout {
    fn of(page: &Page, first: bool) -> Option<Self> {
        // The first page begins with the file's header.
        let start = if first { 100 } else { 0 };
        let header = page.get(start..)?.first_chunk::<12>()?;
        let (inner, size) = match header[0] {
            2 | 5 => (true, 12),
            10 | 13 => (false, 8),
            _ => return None,
        };
        let cells = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let content = match u16::from_be_bytes([header[5], header[6]]) {
            0 => 1 << 16,
            content => usize::from(content),
        };
        let pointers = start + size..start + size + 2 * cells;
        if pointers.end > content || content > PAGE_BYTES {
            return None;
        }
        let last = inner.then(|| u64::from(u32::from_be_bytes([header[8], header[9], header[10], header[11]])));
        Some(Self { gap: pointers.end..content, pointers, last })
    }

    /// Appends the pages below this one, which each cell of an inner page begins with.
    fn children(&self, page: &Page, todo: &mut Vec<u64>) -> Option<()> {
        let Some(last) = self.last else { return Some(()) };
        let (pointers, _) = page.get(self.pointers.clone())?.as_chunks::<2>();
        for pointer in pointers {
            let child = page.get(usize::from(u16::from_be_bytes(*pointer))..)?.first_chunk::<4>()?;
            todo.push(u64::from(u32::from_be_bytes(*child)));
        }
        todo.push(last);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use nx_types::{Rng as _, env::SeededRng};

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    /// A page of a kind with these cells' places, the rest filled with `x`.
    fn page(kind: u8, cells: &[(u16, u32)], last: u32) -> Vec<u8> {
        let mut page = vec![b'x'; PAGE_BYTES];
        let size = if kind < 10 { 12 } else { 8 };
        let content = cells.iter().map(|(place, _)| *place).min().unwrap_or(0);
        page[0] = kind;
        page[3..5].copy_from_slice(&(cells.len() as u16).to_be_bytes());
        page[5..7].copy_from_slice(&content.to_be_bytes());
        page[8..12].copy_from_slice(&last.to_be_bytes());
        for (n, (place, child)) in cells.iter().enumerate() {
            page[size + 2 * n..size + 2 * n + 2].copy_from_slice(&place.to_be_bytes());
            page[usize::from(*place)..usize::from(*place) + 4].copy_from_slice(&child.to_be_bytes());
        }
        page
    }

    #[test]
    fn gaps_are_overwritten_and_nothing_else() {
        let first = vec![b'x'; PAGE_BYTES];
        let pages = [first, page(2, &[(4000, 3)], 4), page(10, &[(3000, 9), (3500, 9)], 0), page(10, &[(100, 9)], 0)];
        let whole = pages.concat();
        let file = file(&whole);
        assert_eq!(overwrite(&file, &[2]).unwrap(), 3);
        let mut expected = whole;
        for (number, gap) in [(1, 14..4000), (2, 12..3000), (3, 10..100)] {
            expected[number * PAGE_BYTES..][gap].fill(0);
        }
        let mut found = vec![0; expected.len()];
        file.read_exact_at(&mut found, 0).unwrap();
        assert!(found == expected);
        assert_eq!(overwrite(&file, &[2]).unwrap(), 0);
    }

    #[test]
    fn damaged_trees_are_errors() {
        let own_child = [page(2, &[(4000, 1)], 1)].concat();
        for (bytes, root) in [
            (own_child.clone(), 0),
            (own_child.clone(), 2),
            (own_child[..100].to_vec(), 1),
            ([vec![0; PAGE_BYTES], own_child].concat(), 2),
            ([vec![0; PAGE_BYTES], page(10, &[(9, 0)], 0)].concat(), 2),
            ([vec![0; PAGE_BYTES], page(2, &[(4000, 0)], 7)].concat(), 2),
        ] {
            let damaged = overwrite(&file(&bytes), &[root]).unwrap_err();
            assert!(matches!(damaged, Error::Corrupt { .. }), "{damaged:?}");
        }
        let rng = SeededRng::new(1);
        for round in 0..500 {
            let mut bytes = vec![0; 3 * PAGE_BYTES];
            rng.fill(&mut bytes);
            bytes[PAGE_BYTES] = [2, 5, 10, 13][round % 4];
            drop(overwrite(&file(&bytes), &[2]));
        }
    }
}
