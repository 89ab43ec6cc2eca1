//! Secrets: the formats of services, private keys, tokens, passwords in URLs, and whatever is called a password.
//!
//! Literals find the candidates in one pass; each then reads a bounded stretch.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::{
    block::{AHEAD, Block, Found},
    kind::Kind,
};

/// The literals that secrets begin with, and the names that stand before them.
#[derive(Debug)]
pub(super) struct Literals {
    automaton: AhoCorasick,
}

/// What follows a literal.
#[derive(Debug, Clone, Copy)]
enum Tail {
    /// So many characters of a class, at least and at most.
    Run(Class, usize, usize),
    /// A key in PEM.
    Pem,
    Jwt,
    Url,
    /// A name; then `=` or `:` and a value.
    Assignment,
    /// The middle of a client secret of Azure.
    Inner,
}

#[derive(Debug, Clone, Copy)]
enum Class {
    /// Letters and digits.
    Alnum,
    /// Upper-case letters and digits 2 to 7.
    Base32,
    /// Letters, digits, `_` and `-`.
    Url64,
    /// Letters, digits, `+`, `/` and `=`.
    Base64,
    Hex,
    /// What URLs and tokens hold: letters, digits and `-._~/`.
    Token,
}

impl Class {
    const fn holds(self, byte: u8) -> bool {
        match self {
            Self::Alnum => byte.is_ascii_alphanumeric(),
            Self::Base32 => matches!(byte, b'A'..=b'Z' | b'2'..=b'7'),
            Self::Url64 => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Self::Base64 => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='),
            Self::Hex => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            Self::Token => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/'),
        }
    }
}

use Class::{Alnum, Base32, Base64, Hex, Token, Url64};
use Tail::{Assignment, Inner, Jwt, Pem, Run, Url};

/// Literal, kind, what follows, score. Letters match in either case and are compared again where it matters.
const FORMATS: &[(&str, Kind, Tail, u8)] = &[
    ("AKIA", Kind::AwsKey, Run(Base32, 16, 16), 95),
    ("ASIA", Kind::AwsKey, Run(Base32, 16, 16), 95),
    ("AIza", Kind::GoogleKey, Run(Url64, 35, 35), 95),
    ("ya29.", Kind::GoogleKey, Run(Url64, 20, 1024), 90),
    ("GOCSPX-", Kind::GoogleKey, Run(Url64, 24, 32), 95),
    ("AccountKey=", Kind::AzureKey, Run(Base64, 44, 88), 95),
    ("SharedAccessKey=", Kind::AzureKey, Run(Base64, 43, 88), 95),
    ("8Q~", Kind::AzureKey, Inner, 90),
    ("ghp_", Kind::GithubToken, Run(Alnum, 36, 251), 95),
    ("gho_", Kind::GithubToken, Run(Alnum, 36, 251), 95),
    ("ghu_", Kind::GithubToken, Run(Alnum, 36, 251), 95),
    ("ghs_", Kind::GithubToken, Run(Alnum, 36, 251), 95),
    ("ghr_", Kind::GithubToken, Run(Alnum, 36, 251), 95),
    ("github_pat_", Kind::GithubToken, Run(Url64, 60, 100), 95),
    ("glpat-", Kind::GitlabToken, Run(Url64, 20, 64), 95),
    ("xoxb-", Kind::SlackToken, Run(Url64, 20, 255), 95),
    ("xoxp-", Kind::SlackToken, Run(Url64, 20, 255), 95),
    ("xoxa-", Kind::SlackToken, Run(Url64, 20, 255), 95),
    ("xoxr-", Kind::SlackToken, Run(Url64, 20, 255), 95),
    ("xoxs-", Kind::SlackToken, Run(Url64, 20, 255), 95),
    ("xapp-", Kind::SlackToken, Run(Url64, 20, 255), 95),
    ("hooks.slack.com/services/", Kind::SlackToken, Run(Token, 30, 80), 95),
    ("sk_live_", Kind::StripeKey, Run(Alnum, 16, 255), 95),
    ("rk_live_", Kind::StripeKey, Run(Alnum, 16, 255), 95),
    ("sk_test_", Kind::StripeKey, Run(Alnum, 16, 255), 60),
    ("rk_test_", Kind::StripeKey, Run(Alnum, 16, 255), 60),
    ("whsec_", Kind::StripeKey, Run(Base64, 24, 128), 90),
    ("sk-ant-", Kind::AnthropicKey, Run(Url64, 24, 255), 95),
    ("sk-proj-", Kind::OpenaiKey, Run(Url64, 32, 255), 95),
    ("sk-svcacct-", Kind::OpenaiKey, Run(Url64, 32, 255), 95),
    ("sk-", Kind::OpenaiKey, Run(Alnum, 40, 64), 90),
    ("npm_", Kind::ServiceToken, Run(Alnum, 36, 36), 95),
    ("pypi-AgE", Kind::ServiceToken, Run(Url64, 50, 1024), 95),
    ("hf_", Kind::ServiceToken, Run(Alnum, 34, 40), 90),
    ("SG.", Kind::ServiceToken, Run(Token, 60, 80), 90),
    ("dop_v1_", Kind::ServiceToken, Run(Hex, 64, 64), 95),
    ("shpat_", Kind::ServiceToken, Run(Hex, 32, 32), 95),
    ("lin_api_", Kind::ServiceToken, Run(Alnum, 32, 64), 90),
    ("-----BEGIN ", Kind::PrivateKey, Pem, 98),
    ("eyJ", Kind::Jwt, Jwt, 85),
    ("://", Kind::UrlPassword, Url, 85),
    ("bearer ", Kind::Assigned, Run(Token, 20, 1024), 75),
    ("password", Kind::Assigned, Assignment, 80),
    ("passwd", Kind::Assigned, Assignment, 80),
    ("passphrase", Kind::Assigned, Assignment, 80),
    ("passwort", Kind::Assigned, Assignment, 80),
    ("pwd", Kind::Assigned, Assignment, 80),
    ("secret", Kind::Assigned, Assignment, 75),
    ("token", Kind::Assigned, Assignment, 70),
    ("api_key", Kind::Assigned, Assignment, 75),
    ("apikey", Kind::Assigned, Assignment, 75),
    ("api-key", Kind::Assigned, Assignment, 75),
    ("api key", Kind::Assigned, Assignment, 75),
    ("access_key", Kind::Assigned, Assignment, 75),
    ("accesskey", Kind::Assigned, Assignment, 75),
    ("private_key", Kind::Assigned, Assignment, 75),
    ("credentials", Kind::Assigned, Assignment, 70),
];

impl Literals {
    pub(super) fn new() -> Option<Self> {
        let automaton = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::DFA))
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::LeftmostLongest)
            .build(FORMATS.iter().map(|format| format.0))
            .ok()?;
        Some(Self { automaton })
    }
}

/// Looks for what begins in the block.
pub(super) fn scan(block: &Block<'_>, literals: &Literals, found: &mut Found) {
    // a literal may begin in this block and end behind it
    let until = block.text.ceil_char_boundary((block.high + 32).min(block.text.len()));
    let Some(text) = block.text.get(..until) else { return };
    for hit in literals.automaton.find_iter(aho_corasick::Input::new(text).range(block.low..until)) {
        if hit.start() >= block.high {
            break;
        }
        if !found.spend(8) {
            return;
        }
        let Some((literal, kind, tail, score)) = FORMATS.get(hit.pattern().as_usize()) else { continue };
        let exact = block.slice(hit.start(), hit.end()) == literal.as_bytes();
        let place = (hit.start(), hit.end());
        let (matched, read) = match tail {
            Run(..) if !exact && *kind != Kind::Assigned => continue,
            Run(class, least, most) => run(block, place, *class, (*least, *most)),
            Pem if exact => pem(block, place),
            Jwt if exact => jwt(block, place),
            Url => url(block, place),
            Assignment => assignment(block, place),
            Inner if exact => inner(block, place),
            Pem | Jwt | Inner => continue,
        };
        if !found.spend(read) {
            return;
        }
        if let Some((start, end)) = matched {
            found.add(*kind, block.base + start, block.base + end, *score);
        }
    }
}

/// What matched, if anything, and how many bytes were read.
type Matched = (Option<(usize, usize)>, usize);

fn run(block: &Block<'_>, (start, end): (usize, usize), class: Class, (least, most): (usize, usize)) -> Matched {
    let until = block.run(end, most + 1, |byte| class.holds(byte));
    let length = until - end;
    let begins = !matches!(block.before(start), b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z');
    // a sentence's stop belongs to no token
    let until = if block.before(until) == b'.' { until - 1 } else { until };
    let varied = distinct(block.slice(end, until)) >= 6;
    ((begins && varied && (least..=most).contains(&length)).then_some((start, until)), length)
}

fn distinct(bytes: &[u8]) -> u32 {
    let mut seen = [0_u64; 4];
    for byte in bytes.iter().take(64) {
        if let Some(word) = seen.get_mut(usize::from(byte >> 6)) {
            *word |= 1 << (byte & 63);
        }
    }
    seen.iter().map(|word| word.count_ones()).sum()
}

fn pem(block: &Block<'_>, (start, end): (usize, usize)) -> Matched {
    let line = block.run(end, 48, |byte| byte != b'-' && byte != b'\n');
    let name = block.slice(end, line);
    if !name.ends_with(b"PRIVATE KEY") && !name.ends_with(b"PRIVATE KEY BLOCK") {
        return (None, 48);
    }
    let body = block.slice(line, start + AHEAD);
    let footer = b"-----END ";
    let until = body.windows(footer.len()).position(|window| window == footer);
    let until = match until {
        Some(place) => {
            let name = line + place + footer.len();
            block.run(block.run(name, 48, |byte| byte != b'-' && byte != b'\n'), 5, |byte| byte == b'-')
        }
        None => block.text.floor_char_boundary(line + body.len()),
    };
    (Some((start, until)), body.len())
}

/// Three parts of base64 for URLs, the first of which begins as a JSON object does.
fn jwt(block: &Block<'_>, (start, _): (usize, usize)) -> Matched {
    let url64 = |byte| Url64.holds(byte);
    let header = block.run(start, 1024, url64);
    let claims = block.run(header + 1, 3072, url64);
    let signature = block.run(claims + 1, 1024, url64);
    let read = signature.saturating_sub(start);
    let parts = block.at(header) == b'.' && block.at(claims) == b'.';
    let fits =
        parts && header - start >= 16 && block.slice(header + 1, header + 4) == b"eyJ" && signature - claims > 16;
    ((fits && !Url64.holds(block.before(start))).then_some((start, signature)), read)
}

/// `://user:password@`: the password.
fn url(block: &Block<'_>, (_, end): (usize, usize)) -> Matched {
    let part = |byte: u8| byte > b' ' && byte < 0x7f && !b"/?#@\"'<>\\`".contains(&byte);
    let until = block.run(end, 192, part);
    let user = block.run(end, 192, |byte| part(byte) && byte != b':');
    let password = block.slice(user + 1, until);
    let fits = block.at(until) == b'@' && user < until && password.len() >= 3 && !stands_in(password);
    (fits.then_some((user + 1, until)), until - end)
}

/// `password = value`, in all the ways that configurations, JSON, code and people write it: the value.
fn assignment(block: &Block<'_>, (_, end): (usize, usize)) -> Matched {
    let name = block.run(end, 24, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let quote = block.run(name, 2, |byte| matches!(byte, b'"' | b'\'' | b'`' | b']'));
    let mut place = block.run(quote, 4, |byte| byte == b' ');
    let is = block.slice(place, place + 3) == b"is ";
    let sign = if is { place + 3 } else { block.run(place, 2, |byte| matches!(byte, b'=' | b':' | b'>')) };
    if sign == place {
        return (None, place - end + 2);
    }
    place = block.run(sign, 4, |byte| byte == b' ');
    let open = block.run(place, 1, |byte| matches!(byte, b'"' | b'\'' | b'`'));
    let quoted = open > place;
    // in a query, `&` begins the next name
    let query = !quoted && block.before(open) == b'=';
    let value_end = block.run(open, 256, |byte| {
        byte > b' '
            && byte != 0x7f
            && !matches!(byte, b'"' | b'\'' | b'`' | b',' | b';' | b'<')
            && !(query && byte == b'&')
    });
    let stop = !quoted && value_end > open && matches!(block.before(value_end), b'.' | b')' | b'?' | b':' | b'}');
    let value_end = if stop { value_end - 1 } else { value_end };
    let value = block.slice(open, value_end);
    (secretive(value).then_some((open, value_end)), value_end - end)
}

/// Whether a value looks like a password and not like a word, a reference or a place to fill in.
fn secretive(value: &[u8]) -> bool {
    let some = |test: fn(&u8) -> bool| value.iter().any(test);
    let (lower, upper) = (some(u8::is_ascii_lowercase), some(u8::is_ascii_uppercase));
    let (digit, other) = (some(u8::is_ascii_digit), some(|byte| byte.is_ascii_punctuation()));
    let wordlike =
        !digit && value.iter().all(|byte| byte.is_ascii_alphabetic() || b"-_./".contains(byte) || *byte > 0x7f);
    let kinds = [lower, upper, digit, other].iter().filter(|held| **held).count();
    let call =
        value.contains(&b'(') && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-()[]".contains(byte));
    (6..=255).contains(&value.len())
        && kinds >= 2
        && !wordlike
        && !call
        && !stands_in(value)
        && distinct(value) >= 4
        && !value.windows(3).any(|window| window == b"://")
}

/// What stands where a secret goes: `<password>`, `${PASSWORD}`, `****`, `xxxx`.
fn stands_in(value: &[u8]) -> bool {
    let low = value.to_ascii_lowercase();
    let holds = |word: &[u8]| low.windows(word.len()).any(|window| window == word);
    matches!(value.first(), Some(b'<' | b'$' | b'{' | b'%' | b'['))
        || [
            &b"***"[..],
            b"xxxx",
            b"...",
            b"example",
            b"placeholder",
            b"redacted",
            b"your_",
            b"your-",
            b"changeme",
            b"{{",
            b"${",
        ]
        .iter()
        .any(|word| holds(word))
        || distinct(&low) <= 2
}

/// A client secret of Azure: three characters, `8Q~`, 31 to 34 more.
fn inner(block: &Block<'_>, (start, end): (usize, usize)) -> Matched {
    let begin = start.saturating_sub(3);
    let class = |byte| Token.holds(byte) && byte != b'/';
    let until = block.run(end, 35, class);
    let head = block.slice(begin, start);
    let fits = head.len() == 3 && head.iter().all(|byte| class(*byte)) && (31..=34).contains(&(until - end));
    (fits.then_some((begin, until)), 40)
}
