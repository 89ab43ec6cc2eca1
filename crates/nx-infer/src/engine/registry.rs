//! Which engines this build has.

use super::Engine;
use crate::Error;

/// The engines that are part of the binary, the default first.
pub fn embedded() -> Vec<Box<dyn Engine>> {
    vec![
        #[cfg(feature = "rten")]
        Box::new(super::rten::Rten),
        #[cfg(feature = "tract")]
        Box::new(super::tract::Tract),
    ]
}

/// The names of the embedded engines.
pub fn names() -> Vec<&'static str> {
    embedded().iter().map(|engine| engine.name()).collect()
}

/// The embedded engine of that name.
///
/// # Errors
/// `NoEngine` with the names that there are.
pub fn engine(name: &str) -> Result<Box<dyn Engine>, Error> {
    let known = names();
    embedded()
        .into_iter()
        .find(|engine| engine.name() == name)
        .ok_or_else(|| Error::NoEngine { name: name.to_owned(), known: known.join(", ") })
}
