//! Personal data: addresses, telephone numbers, accounts, cards, national ids.
//!
//! A number counts where its check holds, or its form is unmistakable, or a word before it says what it is.

use super::{
    block::{Block, Found},
    ids,
    kind::Kind,
};

/// Up to where numbers and addresses were found already; across blocks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Claimed {
    until: usize,
}

/// Looks for what begins in the block.
pub(super) fn scan(block: &Block<'_>, claimed: &mut Claimed, found: &mut Found) {
    let mut place = block.low;
    if block.before(place).is_ascii_alphanumeric() {
        place = block.run(place, usize::MAX, |byte| byte.is_ascii_alphanumeric());
    }
    while place < block.high {
        let byte = block.at(place);
        let next = if byte.is_ascii_alphanumeric() {
            let mut digits = false;
            let end = block.run(place, usize::MAX, |byte| {
                digits |= byte.is_ascii_digit();
                byte.is_ascii_alphanumeric()
            });
            // of "AB 12 34 56 C" the first token has no digit
            digits |= end - place == 2 && block.at(end) == b' ' && block.at(end + 1).is_ascii_digit();
            if digits && end - place <= 40 && block.base + place >= claimed.until {
                if !found.spend(48) {
                    return;
                }
                if let Some((kind, until, score)) = number(block, place, end) {
                    claimed.claim(block, found, (kind, place, until, score));
                }
            }
            end
        } else {
            let candidate = match byte {
                b'@' => email(block, place),
                b'+' | b'(' if block.base + place >= claimed.until => {
                    phone(block, place).map(|(end, score)| (Kind::Phone, place, end, score))
                }
                _ => None,
            };
            if matches!(byte, b'@' | b'+' | b'(') && !found.spend(64) {
                return;
            }
            if let Some(candidate) = candidate {
                claimed.claim(block, found, candidate);
            }
            place + 1
        };
        place = next;
    }
}

impl Claimed {
    fn claim(&mut self, block: &Block<'_>, found: &mut Found, (kind, start, end, score): (Kind, usize, usize, u8)) {
        self.until = self.until.max(block.base + end);
        found.add(kind, block.base + start, block.base + end, score);
    }
}

/// What a token with a digit in it begins.
fn number(block: &Block<'_>, start: usize, end: usize) -> Option<(Kind, usize, u8)> {
    let before = block.before(start);
    // a part of something longer: a version, an address, a UUID, a path
    if matches!(before, b'_' | b'@' | b'#' | b'$') || (matches!(before, b'-' | b'.' | b'/') && start > 1) {
        let cut = block.before(start - 1);
        if before == b'_' || cut.is_ascii_alphanumeric() {
            return None;
        }
    }
    let token = block.slice(start, end);
    if token.first()?.is_ascii_digit() { digits(block, start, end) } else { lettered(block, start, token) }
}

/// Numbers that begin with letters.
fn lettered(block: &Block<'_>, start: usize, token: &[u8]) -> Option<(Kind, usize, u8)> {
    let [first, second, ..] = *token else { return None };
    if second.is_ascii_alphabetic() {
        let next = block.slice(start + 2, start + 4);
        let country = [first.to_ascii_uppercase(), second.to_ascii_uppercase()];
        if next.len() == 2
            && next.iter().all(u8::is_ascii_digit)
            && let Some(length) = ids::iban_length(country)
        {
            let (number, end) = spaced(block, start, length);
            if number.len() == length && !block.at(end).is_ascii_alphanumeric() && ids::iban(&number) {
                return Some((Kind::Iban, end, 95));
            }
        }
        if first.is_ascii_uppercase() && second.is_ascii_uppercase() && matches!(token.len(), 2 | 8 | 9) {
            let (number, end) = spaced(block, start, 9);
            if number.len() == 9 && !block.at(end).is_ascii_alphanumeric() && ids::uk_nino(&number) {
                return Some((Kind::UkNino, end, 80));
            }
        }
    }
    if token.len() == 16 && ids::it_fiscal_code(&token.to_ascii_uppercase()) {
        return Some((Kind::ItFiscalCode, start + 16, 95));
    }
    let foreigner = token.len() == 9 && matches!(first.to_ascii_uppercase(), b'X'..=b'Z');
    (foreigner && ids::es_dni(&token.to_ascii_uppercase())).then_some((Kind::EsDni, start + 9, 90))
}

/// `length` letters and digits from `start` on, in upper case, single spaces between them left out; and the place behind.
fn spaced(block: &Block<'_>, start: usize, length: usize) -> (Vec<u8>, usize) {
    let (mut number, mut place) = (Vec::with_capacity(length), start);
    while number.len() < length {
        let byte = block.at(place);
        if byte.is_ascii_alphanumeric() {
            number.push(byte.to_ascii_uppercase());
        } else if byte != b' ' || !block.at(place + 1).is_ascii_alphanumeric() {
            break;
        }
        place += 1;
    }
    (number, place)
}

/// Numbers that begin with a digit: groups of digits with one separator between each two.
struct Groups {
    digits: Vec<u8>,
    /// How many digits each group has, and the place behind it.
    groups: Vec<(usize, usize)>,
    /// The separators between them.
    between: Vec<u8>,
}

impl Groups {
    fn read(block: &Block<'_>, start: usize) -> Self {
        let mut all = Self { digits: Vec::with_capacity(20), groups: Vec::new(), between: Vec::new() };
        let mut place = start;
        while all.digits.len() <= 20 && all.groups.len() < 8 {
            let end = block.run(place, 24, |byte| byte.is_ascii_digit());
            if end == place {
                break;
            }
            all.digits.extend(block.slice(place, end).iter().map(|byte| byte - b'0'));
            all.groups.push((end - place, end));
            if !matches!(block.at(end), b' ' | b'-' | b'.' | b'/') {
                break;
            }
            all.between.push(block.at(end));
            place = end + 1;
        }
        all
    }

    /// The first groups, if they have these lengths and one of these separators throughout: their digits and the end.
    fn first(&self, lengths: &[usize], separators: &[u8]) -> Option<(&[u8], usize)> {
        let groups = self.groups.get(..lengths.len())?;
        let same = groups.iter().map(|(length, _)| length).eq(lengths);
        let between = self.between.get(..lengths.len() - 1)?;
        let one = between.first().is_none_or(|first| separators.contains(first) && between.iter().all(|s| s == first));
        let digits = self.digits.get(..lengths.iter().sum())?;
        (same && one).then_some((digits, groups.last()?.1))
    }
}

fn digits(block: &Block<'_>, start: usize, end: usize) -> Option<(Kind, usize, u8)> {
    // most numbers are short; one with a department of Corsica has six digits before its letter
    let near = block.slice(start, start + 24);
    let run = near.iter().take_while(|byte| byte.is_ascii_digit() || b" -./()".contains(byte));
    if run.filter(|byte| byte.is_ascii_digit()).count() < 6 {
        return None;
    }
    let token = block.slice(start, end);
    let all = Groups::read(block, start);
    let letters = !token.iter().all(u8::is_ascii_digit);
    if let Some(found) = dni(block, start, token).or_else(|| nir(block, start)) {
        return Some(found);
    }
    if letters {
        return None;
    }
    let single = [all.groups.first()?.0];
    let forms: [&[usize]; 5] = [&single, &[4, 4, 4, 4], &[4, 6, 5], &[4, 6, 4], &[4, 4, 4, 4, 3]];
    for form in forms {
        if let Some((card, end)) = all.first(form, b" -")
            && ids::issuer(card)
            && ids::luhn(card)
            && !block.at(end).is_ascii_alphanumeric()
        {
            return Some((Kind::Card, end, 95));
        }
    }
    if let Some((number, end)) = all.first(&[3, 2, 4], b"-")
        && ids::ssn(number)
        && !continues(block, end)
    {
        return Some((Kind::UsSsn, end, 85));
    }
    if single[0] == 9 && all.digits.get(..9).is_some_and(ids::ssn) && block.names(start, 40, SSN_WORDS) {
        return Some((Kind::UsSsn, end, 85));
    }
    let tax = all.first(&[11], b" ").or_else(|| all.first(&[2, 3, 3, 3], b" "));
    if let Some((number, end)) = tax
        && ids::de_tax_id(number)
        && block.names(start, 64, TAX_WORDS)
    {
        return Some((Kind::DeTaxId, end, 95));
    }
    phone(block, start).map(|(end, score)| (Kind::Phone, end, score))
}

const SSN_WORDS: &[&str] = &["ssn", "social security", "social-security", "socialsecurity"];
const TAX_WORDS: &[&str] = &["steuer", "idnr", "id-nr", "tax id", "tax_id", "taxid", "tax-id", "tin", "tax number"];
const PHONE_WORDS: &[&str] = &[
    "phone",
    "tel.",
    "tel:",
    "tel ",
    "call ",
    "call:",
    "mobile",
    "mobil",
    "cell",
    "fax",
    "telefon",
    "téléphone",
    "teléfono",
    "telefono",
    "handy",
    "whatsapp",
    "hotline",
    "sms",
    "rufnummer",
    "numéro",
];

/// Whether a number goes on behind a place.
fn continues(block: &Block<'_>, end: usize) -> bool {
    let next = block.at(end);
    next.is_ascii_alphanumeric()
        || next == b'_'
        || (matches!(next, b'-' | b'.' | b'/') && block.at(end + 1).is_ascii_digit())
}

fn dni(block: &Block<'_>, start: usize, token: &[u8]) -> Option<(Kind, usize, u8)> {
    if token.len() == 9 && token.last().is_some_and(u8::is_ascii_alphabetic) {
        return ids::es_dni(&token.to_ascii_uppercase()).then_some((Kind::EsDni, start + 9, 85));
    }
    if token.len() == 8 && block.at(start + 8) == b'-' && !block.at(start + 10).is_ascii_alphanumeric() {
        let mut number = token.to_vec();
        number.push(block.at(start + 9));
        return ids::es_dni(&number).then_some((Kind::EsDni, start + 10, 85));
    }
    None
}

/// The number in one piece, or as it is printed: 1 85 05 78 006 084 36.
fn nir(block: &Block<'_>, start: usize) -> Option<(Kind, usize, u8)> {
    let (number, end) = spaced(block, start, 15);
    let printed = end - start == 15 || (2..=6).contains(&(end - start - number.len()));
    (printed && !continues(block, end) && ids::fr_nir(&number)).then_some((Kind::FrNir, end, 90))
}

/// A telephone number from `start` on: with a country's code, in the form of North America, or named as one.
fn phone(block: &Block<'_>, start: usize) -> Option<(usize, u8)> {
    let international = block.at(start) == b'+';
    if block.before(start).is_ascii_alphanumeric() || (international && !matches!(block.at(start + 1), b'1'..=b'9')) {
        return None;
    }
    let (mut digits, mut groups, mut separators) = (Vec::with_capacity(16), Vec::with_capacity(8), 0);
    let (mut place, mut end, mut open) = (start + usize::from(international), start, false);
    while digits.len() <= 16 && groups.len() < 8 {
        let until = block.run(place, 17, |byte| byte.is_ascii_digit());
        if until > place {
            digits.extend(block.slice(place, until).iter().map(|byte| byte - b'0'));
            groups.push(until - place);
            (place, end) = (until, until);
        }
        let gap = block.run(place, 3, |byte| matches!(byte, b' ' | b'-' | b'.' | b'(' | b')' | b'/'));
        let paren = block.slice(place, gap).contains(&b'(');
        if (gap == place && until == end && groups.is_empty()) || (paren && open) || !block.at(gap).is_ascii_digit() {
            break;
        }
        if gap == place {
            break;
        }
        open |= paren;
        separators += 1;
        place = gap;
    }
    if block.at(end).is_ascii_alphanumeric() || continues(block, end) {
        return None;
    }
    if international {
        return ((8..=15).contains(&digits.len()) && groups.len() <= 7).then_some((end, 70));
    }
    if let ([3, 3, 4], [area, _, _, exchange, ..]) = (groups.as_slice(), digits.as_slice())
        && *area > 1
        && *exchange > 1
    {
        return Some((end, 60));
    }
    let named = (7..=15).contains(&digits.len())
        && separators > 0
        && groups.iter().all(|group| (2..=11).contains(group))
        && !date(&groups)
        && block.names(start, 24, PHONE_WORDS);
    named.then_some((end, 60))
}

/// Groups as a date has them.
fn date(groups: &[usize]) -> bool {
    matches!(groups, [4, 2, 2, ..] | [2, 2, 4, ..] | [2, 2, 2])
}

/// An address around the `@` at `at` (the common part of RFC 5321).
fn email(block: &Block<'_>, at: usize) -> Option<(Kind, usize, usize, u8)> {
    let local = |byte: u8| byte.is_ascii_alphanumeric() || b"._%+-".contains(&byte);
    let length = block.slice(at.saturating_sub(64), at).iter().rev().take_while(|byte| local(**byte)).count();
    let mut start = at - length;
    while start < at && matches!(block.at(start), b'.' | b'-' | b'%' | b'+') {
        start += 1;
    }
    let mut end = block.run(at + 1, 253, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    while end > at && matches!(block.before(end), b'.' | b'-') {
        end -= 1;
    }
    let domain = block.slice(at + 1, end);
    let mut labels = domain.split(|byte| *byte == b'.');
    let top = labels.next_back()?;
    let named = labels.next().is_some_and(|label| !label.is_empty()) && !domain.windows(2).any(|two| two == b"..");
    let fits = start < at && named && (2..=24).contains(&top.len()) && top.iter().all(u8::is_ascii_alphabetic);
    let found = (Kind::Email, start, end, 70);
    (fits && block.before(at) != b'.' && !authority(block, start)).then_some(found)
}

/// Whether a place lies in the authority of a URL, where `user@host` is no address.
fn authority(block: &Block<'_>, place: usize) -> bool {
    let before = block.slice(place.saturating_sub(96), place);
    let part = |byte: &&u8| !matches!(**byte, b'/' | b'?' | b'#' | b'"' | b'<' | 0..=b' ');
    let user = before.iter().rev().take_while(part).count();
    before.get(..before.len() - user).is_some_and(|head| head.ends_with(b"://"))
}
