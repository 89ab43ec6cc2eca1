//! Foreign code at the border: a panic becomes an error.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::Error;

/// Runs an engine's code. What it may have left half done is behind `&mut` of a plan, which the caller drops.
pub(super) fn guarded<T>(engine: &'static str, run: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let reason = format!("it panicked: {}", message(&*panic));
        Err(Error::Engine { engine, reason })
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error() {
        let result: Result<(), Error> = guarded("test", || panic!("index {} of 3", 7));
        assert_eq!(result.unwrap_err().to_string(), "engine `test` failed: it panicked: index 7 of 3");
    }
}
