//! Text made comparable: normal forms and tokens.
//!
//! Two normal forms. The strict one (NFKC, lower case, blanks squeezed) is what makes a value *trusted*; what is invisible
//! or looks alike stays different in it. The loose one also drops invisible characters and folds letters that look
//! alike; it is what makes a value *untrusted*. So a trick with characters can only cost trust.

use unicode_normalization::UnicodeNormalization as _;

/// The strict normal form.
pub(super) fn strict(text: &str) -> String {
    if text.is_ascii() {
        return squeezed(text);
    }
    squeeze(text.nfkc().flat_map(char::to_lowercase))
}

/// The loose normal form.
pub(super) fn loose(text: &str) -> String {
    if text.is_ascii() {
        return squeezed(text);
    }
    squeeze(text.nfkc().filter(|c| !is_invisible(*c)).flat_map(char::to_lowercase).map(look_alike))
}

/// Both forms of a text in ASCII, in which nothing is composed, invisible or of another alphabet.
fn squeezed(ascii: &str) -> String {
    let mut out = String::with_capacity(ascii.len());
    let mut blank = false;
    for byte in ascii.bytes() {
        // The blanks of `char::is_whitespace`, which has the vertical tab among them.
        if matches!(byte, b'\t'..=b'\r' | b' ') {
            blank = !out.is_empty();
        } else {
            if blank {
                out.push(' ');
            }
            blank = false;
            out.push(char::from(byte.to_ascii_lowercase()));
        }
    }
    out
}

fn squeeze(chars: impl Iterator<Item = char>) -> String {
    let mut out = String::new();
    let mut blank = false;
    for c in chars {
        if c.is_whitespace() {
            blank = true;
        } else {
            if blank && !out.is_empty() {
                out.push(' ');
            }
            blank = false;
            out.push(c);
        }
    }
    out
}

/// Characters that show nothing: default ignorable code points (UAX #44) and tags.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// The Latin letter that a Greek, Cyrillic or Armenian one looks like (UTS #39, the pairs in common use).
fn look_alike(c: char) -> char {
    match c {
        'а' | 'α' => 'a',
        'в' => 'b',
        'с' | 'ϲ' => 'c',
        'ԁ' => 'd',
        'е' | 'є' => 'e',
        'ɡ' => 'g',
        'һ' | 'հ' => 'h',
        'і' | 'ι' | 'ı' | 'ӏ' => 'i',
        'ј' | 'ϳ' => 'j',
        'к' | 'κ' => 'k',
        'ⅼ' => 'l',
        'м' => 'm',
        'ո' => 'n',
        'о' | 'ο' | 'օ' | 'σ' => 'o',
        'р' | 'ρ' => 'p',
        'ԛ' => 'q',
        'г' => 'r',
        'ѕ' => 's',
        'т' | 'τ' => 't',
        'υ' | 'ս' => 'u',
        'ν' | 'ѵ' => 'v',
        'ԝ' | 'ω' => 'w',
        'х' | 'χ' => 'x',
        'у' | 'γ' => 'y',
        'ᴢ' => 'z',
        '‐' | '‑' | '–' | '—' | '−' => '-',
        '’' | '‘' | 'ʼ' => '\'',
        other => other,
    }
}

/// A canonical number: `1,250.00` is `1250`.
pub(super) fn number(text: &str) -> Option<String> {
    // Most numbers are written as they are.
    if matches!(text.as_bytes(), [b'1'..=b'9', rest @ ..] if rest.len() < 15 && rest.iter().all(u8::is_ascii_digit)) {
        return Some(text.to_owned());
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) || text.len() > 64 {
        return None;
    }
    let value: f64 = text.replace(',', "").parse().ok()?;
    value.is_finite().then(|| format!("{value}"))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The maximal runs of letters, digits and `_`: a whole-word occurrence of a text has its runs among the other's.
pub(super) fn runs(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c| !is_word(c)).filter(|run| !run.is_empty())
}

/// Whether `part` stands in `whole` with no letter, digit or `_` right beside it.
pub(super) fn has_whole(whole: &str, part: &str) -> bool {
    !part.is_empty()
        && whole.match_indices(part).any(|(at, _)| {
            let before = whole.get(..at).and_then(|head| head.chars().next_back());
            let after = whole.get(at + part.len()..).and_then(|tail| tail.chars().next());
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
}

/// Words that say nothing of where a text is from.
pub(super) fn is_stop(token: &str) -> bool {
    matches!(
        token,
        "a" | "an"
            | "the"
            | "of"
            | "to"
            | "in"
            | "on"
            | "at"
            | "for"
            | "and"
            | "or"
            | "is"
            | "are"
            | "was"
            | "be"
            | "with"
            | "by"
            | "from"
            | "this"
            | "that"
            | "it"
            | "its"
            | "my"
            | "our"
            | "you"
            | "your"
            | "me"
            | "i"
            | "we"
            | "as"
            | "please"
            | "will"
            | "not"
            | "no"
            | "do"
            | "if"
            | "up"
            | "out"
            | "about"
            | "into"
            | "re"
            | "hi"
            | "hello"
            | "dear"
            | "regards"
    )
}

/// Tokens of a text in a normal form: e-mail addresses, URLs, account numbers, dates, times, canonical numbers, words.
pub(super) fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    let mut no_mail_before = 0;
    while at < chars.len() {
        let rest = chars.get(at..).unwrap_or_default();
        let len = match mail(rest, at, &mut no_mail_before) {
            0 => plain(rest),
            len => len,
        };
        if len == 0 {
            at += 1;
            continue;
        }
        let token: String = rest.iter().take(len).collect();
        let token = token.trim_matches('.');
        found.push(number(token).unwrap_or_else(|| token.to_owned()));
        at += len;
    }
    found
}

fn count(chars: &[char], fits: impl Fn(char) -> bool) -> usize {
    chars.iter().take_while(|c| fits(**c)).count()
}

/// The length of an e-mail address that starts here. A run of such characters that ends without `@` is walked once.
fn mail(chars: &[char], at: usize, no_mail_before: &mut usize) -> usize {
    if at < *no_mail_before {
        return 0;
    }
    let local = count(chars, |c| is_word(c) || matches!(c, '.' | '+' | '-'));
    if local == 0 || chars.get(local) != Some(&'@') {
        *no_mail_before = at + local;
        return 0;
    }
    let host = chars.get(local + 1..).unwrap_or_default();
    let first = count(host, |c| is_word(c) || c == '-');
    if first == 0 || host.get(first) != Some(&'.') {
        *no_mail_before = at + local;
        return 0;
    }
    let tail = host.get(first + 1..).unwrap_or_default();
    let mut rest = count(tail, |c| is_word(c) || c == '.');
    while rest > 0 && tail.get(rest - 1) == Some(&'.') {
        rest -= 1;
    }
    if rest < 2 {
        *no_mail_before = at + local;
        return 0;
    }
    local + 1 + first + 1 + rest
}

/// The length of a token that is no e-mail address.
fn plain(chars: &[char]) -> usize {
    let starts = |prefix: &str| chars.len() > prefix.len() && prefix.chars().zip(chars).all(|(a, b)| a == *b);
    if starts("http://") || starts("https://") {
        return count(chars, |c| !c.is_whitespace());
    }
    let digits = |from: usize| count(chars.get(from..).unwrap_or_default(), |c| c.is_ascii_digit());
    let letters = count(chars, |c| c.is_alphabetic());
    if letters >= 1 {
        let run = count(chars, |c| c.is_ascii_alphanumeric());
        if run >= 10 && digits(letters) > 0 {
            return run;
        }
        let apostrophe = matches!(chars.get(letters), Some('\'' | '’'));
        let more = count(chars.get(letters + 1..).unwrap_or_default(), char::is_alphabetic);
        return if apostrophe && more > 0 { letters + 1 + more } else { letters };
    }
    let whole = digits(0);
    if whole > 0 {
        if whole >= 4 && chars.get(4) == Some(&'-') && digits(5) >= 2 && chars.get(7) == Some(&'-') && digits(8) >= 2 {
            return 10;
        }
        if whole <= 2 && chars.get(whole) == Some(&':') && digits(whole + 1) >= 2 {
            return whole + 3;
        }
        let head = count(chars, |c| c.is_ascii_digit() || c == ',');
        return if chars.get(head) == Some(&'.') { head + 1 + digits(head + 1) } else { head };
    }
    count(chars, |c| is_word(c) || c == '-')
}

#[cfg(test)]
mod tests {
    use super::{loose, squeeze, squeezed, strict};

    #[test]
    fn ascii_has_one_form() {
        let all: String = (0..=127).map(char::from).collect();
        for text in ["", " ", "a", " A  b\t\u{b}\u{c}C \r\n", "x\u{1c}y\u{1f}z\u{0}", &all] {
            let slow = squeeze(text.chars().flat_map(char::to_lowercase));
            assert_eq!(squeezed(text), slow, "{text:?}");
            assert_eq!((strict(text), loose(text)), (slow.clone(), slow));
        }
    }
}
