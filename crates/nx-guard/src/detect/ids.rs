//! Numbers that carry their own check: cards, accounts, national ids.

/// The check of payment cards (ISO/IEC 7812-1, annex B), over digits as numbers.
pub(super) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(*digit);
            let doubled = digit * 2;
            if place % 2 == 0 {
                digit
            } else if doubled > 9 {
                doubled - 9
            } else {
                doubled
            }
        })
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|digit| *digit != 0)
}

/// Whether an issuer has cards that begin so and are so long.
pub(super) fn issuer(digits: &[u8]) -> bool {
    let head = |most: usize| digits.iter().take(most).fold(0_u32, |value, digit| value * 10 + u32::from(*digit));
    match digits.len() {
        14 => matches!(head(3), 300..=305 | 309) || matches!(head(2), 36 | 38 | 39),
        15 => matches!(head(2), 34 | 37) || matches!(head(4), 1800 | 2131),
        13 => head(1) == 4,
        16 => {
            head(1) == 4
                || matches!(head(2), 51..=55 | 65)
                || matches!(head(4), 2221..=2720 | 3528..=3589 | 6011)
                || matches!(head(3), 644..=649)
                || head(2) == 62
                || matches!(head(2), 50 | 56..=58 | 67)
        }
        17..=19 => head(1) == 4 || matches!(head(2), 62 | 65 | 50 | 56..=58 | 67) || head(4) == 6011,
        12 => matches!(head(2), 50 | 56..=58 | 67),
        _ => false,
    }
}

/// Lengths of account numbers by country (the registry of ISO 13616).
const IBAN_LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// How long an account number of the country is that these two upper-case letters name.
pub(super) fn iban_length(country: [u8; 2]) -> Option<usize> {
    IBAN_LENGTHS.iter().find(|(code, _)| **code == country).map(|(_, length)| *length)
}

/// The check of account numbers (ISO 7064, MOD 97-10), over upper-case letters and digits.
pub(super) fn iban(number: &[u8]) -> bool {
    let Some((head, tail)) = number.split_at_checked(4) else { return false };
    let mut rest = 0_u32;
    for byte in tail.iter().chain(head) {
        rest = match byte {
            b'0'..=b'9' => rest * 10 + u32::from(byte - b'0'),
            b'A'..=b'Z' => rest * 100 + u32::from(byte - b'A') + 10,
            _ => return false,
        } % 97;
    }
    // 02 to 98: others leave the same rest and are never given out
    let check = number
        .get(2..4)
        .map_or(0, |two| two.iter().fold(0, |value, byte| value * 10 + u32::from(byte.wrapping_sub(b'0'))));
    rest == 1 && (2..=98).contains(&check)
}

/// A social security number of the United States: three parts, of which none is nothing, and area codes that were given out.
pub(super) fn ssn(digits: &[u8]) -> bool {
    let part = |from: usize, to: usize| digits.get(from..to).map(value);
    let (Some(area), Some(group), Some(serial)) = (part(0, 3), part(3, 5), part(5, 9)) else { return false };
    digits.len() == 9 && area != 0 && area != 666 && area < 900 && group != 0 && serial != 0
}

/// A tax identification number of Germany: the check digit (ISO 7064, MOD 11,10) and the rule about repeated digits.
pub(super) fn de_tax_id(digits: &[u8]) -> bool {
    let (Some((last, body)), true) = (digits.split_last(), digits.len() == 11) else { return false };
    let mut counts = [0_u8; 10];
    for digit in body {
        if let Some(count) = counts.get_mut(usize::from(*digit)) {
            *count += 1;
        }
    }
    let repeated = counts.iter().filter(|count| **count > 1).count();
    let most = counts.iter().max().copied().unwrap_or(0);
    let mut product = 10_u8;
    for digit in body {
        let sum = (digit + product) % 10;
        product = if sum == 0 { 10 } else { sum } * 2 % 11;
    }
    let check = (11 - product) % 10;
    body.first() != Some(&0) && repeated == 1 && (2..=3).contains(&most) && check == *last
}

/// A social security number of France: 13 characters and two digits that check them; departments of Corsica are 2A and 2B.
pub(super) fn fr_nir(number: &[u8]) -> bool {
    if number.len() != 15 || !matches!(number.first(), Some(b'1' | b'2' | b'3' | b'4' | b'7' | b'8')) {
        return false;
    }
    let mut digits: Vec<u8> = Vec::with_capacity(15);
    for (place, byte) in number.iter().enumerate() {
        match byte {
            b'0'..=b'9' => digits.push(byte - b'0'),
            b'A' | b'B' if place == 6 && digits.last() == Some(&2) => {
                digits.pop();
                digits.extend_from_slice(if *byte == b'A' { &[1, 9] } else { &[1, 8] });
            }
            _ => return false,
        }
    }
    let month = digits.get(3..5).map_or(0, value);
    let body = digits.get(..13).map_or(0, value);
    let key = digits.get(13..).map_or(0, value);
    matches!(month, 1..=12 | 20..=42 | 50..=99) && 97 - body % 97 == key
}

/// An identity number of Spain: eight digits, or X, Y or Z and seven, and a letter that checks them.
pub(super) fn es_dni(number: &[u8]) -> bool {
    let (Some((letter, body)), true) = (number.split_last(), number.len() == 9) else { return false };
    let mut value = 0_u64;
    for (place, byte) in body.iter().enumerate() {
        value = value * 10
            + match byte {
                b'0'..=b'9' => u64::from(byte - b'0'),
                b'X' | b'Y' | b'Z' if place == 0 => u64::from(byte - b'X'),
                _ => return false,
            };
    }
    b"TRWAGMYFPDXBNJZSQVHLCKE".get((value % 23) as usize) == Some(letter)
}

/// A national insurance number of the United Kingdom: two letters that are given out, six digits, a letter from A to D.
pub(super) fn uk_nino(number: &[u8]) -> bool {
    let [first, second, digits @ .., suffix] = number else { return false };
    let never = |letter: u8| b"DFIQUV".contains(&letter) || !letter.is_ascii_uppercase();
    let pair = [*first, *second];
    digits.len() == 6
        && digits.iter().all(u8::is_ascii_digit)
        && !never(*first)
        && !never(*second)
        && *second != b'O'
        && ![*b"BG", *b"GB", *b"NK", *b"KN", *b"TN", *b"NT", *b"ZZ"].contains(&pair)
        && (b'A'..=b'D').contains(suffix)
}

/// A tax code of Italy: sixteen characters, the last of which checks the others. Digits may be replaced by letters
/// (omocodia) where two people would have the same.
pub(super) fn it_fiscal_code(code: &[u8]) -> bool {
    const ODD: [u8; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let (Some((last, body)), true) = (code.split_last(), code.len() == 16) else { return false };
    let mut sum = 0_u32;
    for (place, byte) in body.iter().enumerate() {
        let letter = matches!(place, 0..=5 | 8 | 11);
        let replaced = !letter && b"LMNPQRSTUV".contains(byte);
        if letter != byte.is_ascii_uppercase() && !replaced {
            return false;
        }
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'Z' => byte - b'A',
            _ => return false,
        };
        // places count from one: the first is odd
        sum += u32::from(if place % 2 == 0 { ODD.get(usize::from(value)).copied().unwrap_or(0) } else { value });
    }
    code.get(8).is_some_and(|month| b"ABCDEHLMPRST".contains(month)) && sum % 26 == u32::from(last.wrapping_sub(b'A'))
}

fn value(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |value, digit| value * 10 + u64::from(*digit))
}
