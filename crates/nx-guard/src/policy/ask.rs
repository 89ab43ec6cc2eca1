//! The terms of `@ask`: `lead within 4h`, `2 of security within 1h`, `lead or security`, `2 of ops and lead`.

use std::collections::BTreeSet;

use nx_types::Duration;

use crate::decision::{Ask, Need};

/// Most people that one need may want.
const MAX_QUORUM: u32 = 100;
/// The word for anyone who may decide at all.
const ANYONE: &str = "anyone";
/// What the terms look like, for messages.
const FORM: &str = "write it as `@ask(\"lead within 4h\")`, `@ask(\"2 of security or lead within 1h\")` or `@ask(\"lead and security\")`";

/// Reads terms: `NEED [and NEED]… [within DURATION]`, a need being `[N of] ROLE [or ROLE]…`.
pub(super) fn parse(text: &str) -> Result<Ask, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (terms, within) = match words.iter().position(|word| *word == "within") {
        Some(at) => (words.get(..at).unwrap_or_default(), Some(words.get(at + 1..).unwrap_or_default())),
        None => (words.as_slice(), None),
    };
    let within_ms = match within {
        None => None,
        Some([time]) => match time.parse::<Duration>() {
            Ok(time) if time.as_millis() > 0 => Some(time.as_millis()),
            Ok(_) => return Err(format!("the time in `@ask(\"{text}\")` must be longer; {FORM}")),
            Err(error) => return Err(error.to_string()),
        },
        Some(_) => return Err(format!("`within` in `@ask(\"{text}\")` needs one duration at the end; {FORM}")),
    };
    let needs = terms.split(|word| *word == "and").map(|words| need(words, text)).collect::<Result<Vec<_>, _>>()?;
    let empty = Ask { needs: BTreeSet::new(), within_ms };
    Ok(needs.into_iter().fold(empty, |ask, need| ask.merge(&Ask { needs: [need].into(), within_ms: None })))
}

fn need(words: &[&str], text: &str) -> Result<Need, String> {
    let (quorum, names) = match words {
        [number, "of", names @ ..] => match number.parse::<u32>() {
            Ok(quorum) if (1..=MAX_QUORUM).contains(&quorum) => (quorum, names),
            _ => return Err(format!("`{number} of` in `@ask(\"{text}\")` must be 1 to {MAX_QUORUM}; {FORM}")),
        },
        names => (1, names),
    };
    let mut who = BTreeSet::new();
    for (n, name) in names.iter().enumerate() {
        match (n % 2, *name) {
            (1, "or") => {}
            (0, name) if is_name(name) => {
                who.insert(name.to_owned());
            }
            _ => return Err(format!("`{name}` in `@ask(\"{text}\")` is not understood; {FORM}")),
        }
    }
    if names.len() % 2 == 0 {
        return Err(format!("`@ask(\"{text}\")` does not say who; {FORM}"));
    }
    if who.contains(ANYONE) {
        who.clear();
    }
    Ok(Need { who, quorum })
}

fn is_name(word: &str) -> bool {
    !matches!(word, "or" | "of" | "and" | "within")
        && word.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '@' | ':' | '/'))
        && word.chars().any(char::is_alphabetic)
}

/// The terms in words.
pub(super) fn words(ask: &Ask) -> String {
    let need = |need: &Need| {
        let who: Vec<&str> = need.who.iter().map(String::as_str).collect();
        let who = if who.is_empty() { ANYONE.to_owned() } else { who.join(" or ") };
        if need.quorum == 1 { who } else { format!("{} of {who}", need.quorum) }
    };
    let needs: Vec<String> = ask.needs.iter().map(need).collect();
    let within = ask.within_ms.map(|ms| format!(" within {}", Duration::from_millis(ms))).unwrap_or_default();
    format!("{}{within}", needs.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_read_and_said() {
        for (text, said) in [
            ("lead within 4h", "lead within 4h"),
            ("2 of  security within 90m", "2 of security within 1h30m"),
            ("security or lead", "lead or security"),
            ("lead and 2 of ops or lead", "lead and 2 of lead or ops"),
            ("lead and lead or ops", "lead"),
            ("anyone", "anyone"),
            ("3 of anyone or lead", "3 of anyone"),
            ("ann@example.org", "ann@example.org"),
        ] {
            assert_eq!(parse(text).map(|ask| words(&ask)).as_deref(), Ok(said), "{text}");
        }
    }

    #[test]
    fn what_is_no_terms_is_refused() {
        for text in [
            "",
            "within 4h",
            "lead within",
            "lead within soon",
            "lead within 4h please",
            "0 of lead",
            "two of lead",
            "2 of",
            "lead or",
            "lead security",
            "or lead",
            "lead and",
            "lead, ops",
            "lead within 0s",
            "999 of lead",
            "-",
        ] {
            let error = parse(text).unwrap_err();
            assert!(!error.is_empty(), "{text}");
        }
    }
}
