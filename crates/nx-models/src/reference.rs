//! How a request names a model: `digits`, `digits@live`, `digits@3`.

use std::{fmt, str::FromStr};

use crate::Error;

/// The alias that a bare name stands for.
pub(crate) const LIVE: &str = "live";

/// A model, and which of its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The artifact's name.
    pub name: String,
    /// Which version.
    pub which: Which,
}

/// Which version of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The one that an alias points to.
    Alias(String),
    /// That one.
    Version(u32),
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (name, which) = text.split_once('@').unwrap_or((text, LIVE));
        check_name("model", name)?;
        let which = match which.parse::<u32>() {
            Ok(version) if version > 0 && !which.starts_with(['+', '0']) => Which::Version(version),
            _ => {
                check_name("alias or version", which)?;
                Which::Alias(which.to_owned())
            }
        };
        Ok(Self { name: name.to_owned(), which })
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alias(alias) => write!(f, "alias `{alias}`"),
            Self::Version(version) => write!(f, "version {version}"),
        }
    }
}

/// Names and aliases: as resources are named, and an alias is no number.
pub(crate) fn check_name(what: &'static str, text: &str) -> Result<(), Error> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let inner = text.bytes().all(|byte| fits(byte) || byte == b'-');
    let ends = text.bytes().next().is_some_and(fits) && text.bytes().next_back().is_some_and(fits);
    let number = what != "model" && text.bytes().all(|byte| byte.is_ascii_digit());
    if inner && ends && text.len() <= 63 && !number {
        return Ok(());
    }
    Err(Error::invalid(what, text, "is not a name: 1 to 63 of a-z, 0-9 and `-`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_name_an_alias_or_a_version() {
        let read =
            |text: &str| text.parse::<Reference>().map(|reference| (reference.name, reference.which.to_string()));
        assert_eq!(read("digits").unwrap(), ("digits".to_owned(), "alias `live`".to_owned()));
        assert_eq!(read("digits@canary").unwrap().1, "alias `canary`");
        assert_eq!(read("digits@12").unwrap().1, "version 12");
        for wrong in ["", "@", "digits@", "Digits", "digits@0", "digits@01", "digits@-1", "digits@a@b", "a/b", "d-"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
