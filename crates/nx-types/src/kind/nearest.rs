//! The nearest valid name to a mistyped one.

/// The valid name that is nearest to `given`, however far; ties go to the first. `None` only if there is none.
pub fn nearest<'a>(given: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = fold(given);
    let mut best: Option<(usize, &str)> = None;
    for name in valid {
        let folded = fold(name);
        // A name that starts alike is nearer than its length says: `conf` for `confidence`.
        let distance = if folded == given {
            0
        } else if !given.is_empty() && (folded.starts_with(&given) || given.starts_with(&folded)) {
            1
        } else {
            2 * strsim::damerau_levenshtein(&given, &folded)
        };
        if best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, name));
        }
    }
    best.map(|(_, name)| name)
}

/// Spelling that people mix up: case, `_` and `-`. Cut, because the distance costs the product of the lengths.
fn fold(name: &str) -> String {
    name.chars().take(64).filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// `` `a`, `b` or `c` ``, at most 16 of them.
pub(super) fn list(names: &[&str]) -> String {
    const MOST: usize = 16;
    let quoted: Vec<String> = names.iter().take(MOST).map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        None => "none".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) if names.len() <= MOST => format!("{} or {last}", rest.join(", ")),
        Some(_) => format!("{}, …", quoted.join(", ")),
    }
}
