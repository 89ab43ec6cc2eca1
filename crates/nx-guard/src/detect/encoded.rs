//! Text that is written in another form: base64, hexadecimal, percent and backslash escapes. It is decoded once and read by the
//! classifier. Long runs of letters and digits are judged as secrets by the way.

use super::{
    block::{Block, Found},
    classifier::{Classifier, FAINT, Model, Passage},
    kind::Kind,
    text::Words,
};

/// Runs shorter than that are not looked at.
const SHORTEST: usize = 24;
/// Characters of a run that are decoded in one go, and the step to the next ones.
const STRETCH: usize = 4096;
const STEP: usize = 3072;
/// Characters that tell whether decoding is worth it.
const PROBE: usize = 24;
/// Escapes around which a stretch of text is decoded, and how much of it.
const ESCAPES: usize = 3;
const ESCAPED: usize = 2048;

/// Up to where escapes were decoded; across blocks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Runs {
    escaped_until: usize,
}

const fn in_run(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'_' | b'-' | b'=')
}

impl Runs {
    /// Looks for what begins in the block.
    pub(super) fn scan(&mut self, block: &Block<'_>, model: &Model, found: &mut Found) {
        runs(block, model, found);
        self.escapes(block, model, found);
    }

    fn escapes(&mut self, block: &Block<'_>, model: &Model, found: &mut Found) {
        let bytes = block.slice(block.low, block.high);
        for (place, _) in bytes.iter().enumerate().filter(|(_, byte)| matches!(byte, b'%' | b'\\' | b'&')) {
            let start = block.low + place;
            if block.base + start < self.escaped_until || escape(block.slice(start, start + 12)).is_none() {
                continue;
            }
            let (decoded, end, count) = unescaped(block, start);
            self.escaped_until = block.base + end;
            if !found.spend(end - start) {
                return;
            }
            if count >= ESCAPES {
                judge(&String::from_utf8_lossy(&decoded), (block.base + start, block.base + end), model, found);
            }
        }
    }
}

/// A run of at least `SHORTEST` covers a place that is a multiple of it: only those are looked at.
fn runs(block: &Block<'_>, model: &Model, found: &mut Found) {
    let mut place = block.low;
    while place < block.high {
        if !in_run(block.at(place)) {
            place += SHORTEST;
            continue;
        }
        let back = block.slice(block.low, place).iter().rev().take_while(|byte| in_run(**byte)).count();
        let start = place - back;
        let end = line_broken(block, start);
        let cut = start == block.low && in_run(block.before(start));
        if end - start >= SHORTEST {
            if !found.spend(PROBE) {
                return;
            }
            if !cut && let Some(score) = random(block, start, end) {
                found.add(Kind::Random, block.base + start, block.base + end, score);
            }
            if !stretches(block, (start, end), model, found) {
                return;
            }
        }
        place = end.max(place) + SHORTEST;
    }
}

/// The end of a run that goes on in the next line, as base64 in mails does.
fn line_broken(block: &Block<'_>, start: usize) -> usize {
    let mut end = block.run(start, usize::MAX, in_run);
    let mut line = end - start;
    while line >= 60 {
        let gap = block.run(end, 2, |byte| matches!(byte, b'\r' | b'\n'));
        let next = block.run(gap, usize::MAX, in_run);
        if gap == end || next == gap {
            break;
        }
        (line, end) = (next - gap, next);
    }
    end
}

/// Decodes a run stretch by stretch; false if there are no steps left.
fn stretches(block: &Block<'_>, (start, end): (usize, usize), model: &Model, found: &mut Found) -> bool {
    let mut place = start;
    while place < end && place < block.high {
        let until = end.min(place + STRETCH);
        if until - place < SHORTEST {
            break;
        }
        // where a run was cut, any of its characters may begin a group
        for skip in 0..4 {
            if !found.spend(PROBE) {
                return false;
            }
            let probe = block.slice(place + skip, until.min(place + skip + PROBE));
            if probe.len() < PROBE || !promising(probe) {
                continue;
            }
            let run: Vec<u8> = block.slice(place + skip, until).iter().copied().filter(|byte| in_run(*byte)).collect();
            if !found.spend(4 * run.len()) {
                return false;
            }
            if let Some(decoded) = decoded(&run) {
                judge(&decoded, (block.base + place, block.base + until), model, found);
                break;
            }
        }
        place += STEP;
    }
    true
}

/// Whether the first characters of a run, line breaks aside, may stand for text.
fn promising(probe: &[u8]) -> bool {
    if probe.iter().all(u8::is_ascii_hexdigit) {
        return true;
    }
    let (mut held, mut bits) = (0_u32, 0);
    for byte in probe {
        let Some(six) = six(*byte) else { continue };
        held = held << 6 | six;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            let byte = (held >> bits) as u8;
            if byte < b' ' && !byte.is_ascii_whitespace() || byte == 0x7f || byte == 0xff {
                return false;
            }
            held &= (1 << bits) - 1;
        }
    }
    true
}

/// Text, if hexadecimal or base64 gives some.
fn decoded(run: &[u8]) -> Option<String> {
    if run.get(..PROBE)?.iter().all(u8::is_ascii_hexdigit) {
        let pairs = run.chunks_exact(2).map_while(|two| Some(hex(*two.first()?)? << 4 | hex(*two.last()?)?));
        return readable(&pairs.collect::<Vec<u8>>());
    }
    readable(&base64(run))
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// The bytes of base64 in either alphabet, up to the first character that is none.
fn base64(run: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(run.len() / 4 * 3 + 3);
    let (mut held, mut bits) = (0_u32, 0);
    for byte in run {
        let Some(six) = six(*byte) else { break };
        held = held << 6 | six;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    bytes
}

/// The six bits of a character of base64, in either alphabet.
fn six(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    }))
}

/// The text that bytes are, if they are; a character that is cut at the end is left out.
fn readable(bytes: &[u8]) -> Option<String> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if bytes.len() - error.valid_up_to() < 4 => {
            std::str::from_utf8(bytes.get(..error.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    let odd = text.chars().filter(|char| char.is_control() && !char.is_whitespace()).count();
    (text.len() >= 12 && odd == 0).then(|| text.to_owned())
}

/// One escape at the start of `bytes`: the byte or character it stands for, and its length.
fn escape(bytes: &[u8]) -> Option<(char, usize)> {
    let number = |from: usize, to: usize| {
        bytes.get(from..to)?.iter().try_fold(0_u32, |value, byte| Some(value << 4 | u32::from(hex(*byte)?)))
    };
    let char = |value: u32| char::from_u32(value).filter(|char| !char.is_control() || char.is_whitespace());
    match bytes {
        [b'%', ..] => Some((char(number(1, 3)?)?, 3)),
        [b'\\', b'x', ..] => Some((char(number(2, 4)?)?, 4)),
        [b'\\', b'u', b'{', ..] => {
            let close = bytes.iter().position(|byte| *byte == b'}')?;
            Some((char(number(3, close)?)?, close + 1))
        }
        [b'\\', b'u', ..] => Some((char(number(2, 6)?)?, 6)),
        [b'&', b'#', rest @ ..] => {
            let close = rest.iter().position(|byte| *byte == b';')?;
            let hexadecimal = matches!(rest.first(), Some(b'x' | b'X'));
            let digits = std::str::from_utf8(rest.get(usize::from(hexadecimal)..close)?).ok()?;
            let value = u32::from_str_radix(digits, if hexadecimal { 16 } else { 10 }).ok()?;
            Some((char(value)?, close + 3))
        }
        _ => None,
    }
}

/// The text from an escape to the next white space, without escapes; its end, and how many there were.
fn unescaped(block: &Block<'_>, start: usize) -> (Vec<u8>, usize, usize) {
    let (mut decoded, mut place, mut count) = (Vec::new(), start, 0);
    let mut utf8 = [0; 4];
    // the word before the first escape belongs to it
    let word = block.slice(start.saturating_sub(64), start);
    let head = word.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    decoded.extend_from_slice(word.get(word.len() - head..).unwrap_or_default());
    while place < start + ESCAPED {
        if let Some((char, length)) = escape(block.slice(place, place + 12)) {
            // an escaped byte beyond ASCII is a part of a character
            if block.at(place) == b'%' || block.at(place + 1) == b'x' {
                decoded.push(char as u32 as u8);
            } else {
                decoded.extend_from_slice(char.encode_utf8(&mut utf8).as_bytes());
            }
            (place, count) = (place + length, count + 1);
            continue;
        }
        match block.at(place) {
            0..=b' ' => break,
            b'+' => decoded.push(b' '),
            byte => decoded.push(byte),
        }
        place += 1;
    }
    (decoded, block.text.floor_char_boundary(place), count)
}

/// Reads what was decoded, and says where it stood.
fn judge(text: &str, (start, end): (usize, usize), model: &Model, found: &mut Found) {
    let (mut words, mut classifier, mut worst) = (Words::new(), Classifier::new(), 0);
    let mut keep = |passage: Passage| worst = passage.score.max(worst);
    words.push(text, 0, &mut |word| classifier.push(model, word, &mut keep));
    words.finish(&mut |word| classifier.push(model, word, &mut keep));
    classifier.finish(model, &mut keep);
    if worst >= FAINT {
        found.add(Kind::Encoded, start, end, worst);
    }
}

/// How likely a run is a random token: many changes between kinds of characters, high entropy; not a hash, an id, a path.
fn random(block: &Block<'_>, start: usize, end: usize) -> Option<u8> {
    let mut run = block.slice(start, end);
    while let [rest @ .., b'=' | b'-' | b'/' | b'_'] = run {
        run = rest;
    }
    if !(SHORTEST..=128).contains(&run.len())
        || run.iter().filter(|byte| b"/-_=+".contains(byte)).count() * 8 > run.len()
    {
        return None;
    }
    let names_hash =
        block.names(start, 8, &["sha1-", "sha256-", "sha384-", "sha512-", "sha256:", "base64,", "#", "md5"]);
    let hash = run.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    let prefixed = [&b"sha1-"[..], b"sha256-", b"sha384-", b"sha512-"].iter().any(|prefix| run.starts_with(prefix));
    let class = |byte: &u8| match byte {
        b'a'..=b'z' => 0_u8,
        b'A'..=b'Z' => 1,
        b'0'..=b'9' => 2,
        _ => 3,
    };
    let kinds = (0..3).filter(|kind| run.iter().any(|byte| class(byte) == *kind)).count();
    let changes = run.windows(2).filter(|two| class(&two[0]) != class(&two[1])).count();
    let mut counts = [0_u16; 256];
    for byte in run {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let length = run.len() as f64;
    let entropy: f64 =
        counts.iter().filter(|c| **c > 0).map(|c| f64::from(*c) / length).map(|share| -share * share.log2()).sum();
    let fits = !names_hash && !hash && !prefixed && kinds == 3 && changes * 5 >= run.len() * 2 && entropy >= 3.9;
    fits.then_some(45)
}
