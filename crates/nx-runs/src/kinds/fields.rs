//! Reads fields of a spec strictly: an unknown one is an error that names the nearest.

use nx_types::FieldError;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Checks that an object has no other fields than these.
pub(super) fn known(value: &Value, pointer: &str, names: &[&str], errors: &mut Vec<FieldError>) {
    let Value::Object(fields) = value else {
        errors.push(FieldError { pointer: pointer.to_owned(), message: "must be a mapping".to_owned() });
        return;
    };
    for name in fields.keys().filter(|name| !names.contains(&name.as_str())) {
        let nearest = nearest(name, names);
        let pointer = format!("{pointer}/{}", nx_types::json::escape(name));
        errors.push(FieldError { pointer, message: format!("unknown field `{name}`; the nearest is `{nearest}`") });
    }
}

/// Reads a value as a type, or says what is wrong with it.
pub(super) fn read<T: DeserializeOwned>(value: &Value, pointer: &str, errors: &mut Vec<FieldError>) -> Option<T> {
    match serde_json::from_value(value.clone()) {
        Ok(read) => Some(read),
        Err(error) => {
            errors.push(FieldError { pointer: pointer.to_owned(), message: error.to_string() });
            None
        }
    }
}

/// The name that is most like the given one, by edit distance.
pub(crate) fn nearest<'a>(name: &str, names: &[&'a str]) -> &'a str {
    names.iter().copied().min_by_key(|candidate| distance(name, candidate)).unwrap_or("")
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(128).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(128).enumerate() {
        let mut corner = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let best = (corner + usize::from(x != *y)).min(left + 1).min(*cell + 1);
            corner = *cell;
            *cell = best;
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_named() {
        assert_eq!(nearest("efect", &["effect", "undo", "probe"]), "effect");
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
