//! Lines off a socket: ended by CR LF and by nothing else, and never longer than RFC 5321 allows.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Longest text line with its CR LF: RFC 5321 section 4.5.3.1.6.
pub(super) const MAX_LINE_BYTES: usize = 1000;

/// What stood between two line ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line without its CR LF.
    Text(Vec<u8>),
    /// A line with a CR or LF of its own. Servers that disagree on such a line let mail be smuggled.
    Bare,
    /// A line that was too long; it was skipped.
    TooLong,
}

/// Reads lines, in memory bounded by the longest of them.
#[derive(Debug)]
pub(super) struct LineReader<R> {
    read: R,
    buffer: Vec<u8>,
    /// The line in progress is already too long.
    skipping: bool,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    pub(super) fn new(read: R) -> Self {
        Self { read, buffer: Vec::with_capacity(4096), skipping: false }
    }

    /// Whether a whole line was received already: the client pipelines.
    pub(super) fn has_more(&self) -> bool {
        end_of_line(&self.buffer).is_some()
    }

    /// The next line; `None` at the end of the stream. A line cut off by the end is no line.
    ///
    /// Cancel safe: nothing that was read is lost.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(line) = self.take() {
                return Ok(Some(line));
            }
            if self.read.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn take(&mut self) -> Option<Line> {
        if let Some(end) = end_of_line(&self.buffer) {
            let mut line: Vec<u8> = self.buffer.drain(..end + 2).collect();
            line.truncate(end);
            if std::mem::take(&mut self.skipping) || line.len() + 2 > MAX_LINE_BYTES {
                return Some(Line::TooLong);
            }
            let bare = line.iter().any(|byte| matches!(byte, b'\r' | b'\n'));
            return Some(if bare { Line::Bare } else { Line::Text(line) });
        }
        if self.buffer.len() > MAX_LINE_BYTES {
            // Keep the last byte: it may be the CR of the line's end.
            self.buffer.drain(..self.buffer.len() - 1);
            self.skipping = true;
        }
        None
    }
}

fn end_of_line(buffer: &[u8]) -> Option<usize> {
    buffer.windows(2).position(|pair| pair == b"\r\n")
}

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy as _;

    use super::*;

    async fn all(bytes: &[u8]) -> Vec<Line> {
        let mut reader = LineReader::new(bytes);
        let mut lines = Vec::new();
        while let Some(line) = reader.next().await.unwrap() {
            lines.push(line);
        }
        lines
    }

    #[tokio::test]
    async fn only_cr_lf_ends_a_line() {
        assert_eq!(all(b"a\r\nb\nc\r\nd").await, [Line::Text(b"a".to_vec()), Line::Bare]);
        assert_eq!(all(b"a\rb\r\n\r\n").await, [Line::Bare, Line::Text(Vec::new())]);
    }

    #[tokio::test]
    async fn long_lines_are_skipped_whole() {
        let fits = [b"x".repeat(998), b"\r\nnext\r\n".to_vec()].concat();
        assert_eq!(all(&fits).await, [Line::Text(b"x".repeat(998)), Line::Text(b"next".to_vec())]);
        for length in [999, 1000, 1001, 50_000] {
            let long = [b"x".repeat(length), b"\r\nnext\r\n".to_vec()].concat();
            assert_eq!(all(&long).await, [Line::TooLong, Line::Text(b"next".to_vec())], "{length}");
        }
    }

    /// A reader that hands out its bytes in pieces of the given sizes.
    struct Pieces(Vec<u8>, Vec<usize>);

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _cx: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            let size = self.1.pop().unwrap_or(usize::MAX).min(self.0.len()).min(buffer.remaining());
            buffer.put_slice(&self.0.drain(..size).collect::<Vec<_>>());
            std::task::Poll::Ready(Ok(()))
        }
    }

    proptest::proptest! {
        /// However the bytes arrive, the lines are those between CR LF.
        #[test]
        fn pieces_make_the_same_lines(
            bytes in proptest::collection::vec(proptest::prop_oneof![
                8 => proptest::strategy::Just(b"\r\n".to_vec()), 4 => proptest::strategy::Just(vec![b'\r']),
                4 => proptest::strategy::Just(vec![b'\n']), 8 => proptest::strategy::Just(b".".to_vec()),
                2 => (990usize..1010).prop_map(|length| vec![b'x'; length]),
            ], 0..40),
            sizes in proptest::collection::vec(1usize..700, 0..80),
        ) {
            use proptest::prelude::*;
            let bytes = bytes.concat();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let found = runtime.block_on(async {
                let mut reader = LineReader::new(Pieces(bytes.clone(), sizes));
                let mut lines = Vec::new();
                while let Some(line) = reader.next().await.unwrap() {
                    lines.push(line);
                }
                lines
            });
            let text = String::from_utf8(bytes).unwrap();
            let mut parts: Vec<&str> = text.split("\r\n").collect();
            parts.pop();
            let expected: Vec<Line> = parts.into_iter().map(|part| match part {
                long if long.len() + 2 > MAX_LINE_BYTES => Line::TooLong,
                bare if bare.contains(['\r', '\n']) => Line::Bare,
                text => Line::Text(text.into()),
            }).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
