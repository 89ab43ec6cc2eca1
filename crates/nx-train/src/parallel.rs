//! Work on several threads whose results do not depend on how many there are.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    thread,
};

/// Does `work` on each item. Items know nothing of each other, so any number of threads gives the same; where a thread
/// can't be had, the others do its share.
pub(crate) fn each<T: Send>(threads: NonZeroUsize, items: &mut [T], work: impl Fn(&mut T) + Sync) {
    let helpers = threads.get().min(items.len()).saturating_sub(1);
    let queue = Mutex::new(items.iter_mut());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let drain = || {
        while let Some(item) = next() {
            work(item);
        }
    };
    thread::scope(|scope| {
        for helper in 0..helpers {
            if thread::Builder::new().name(format!("train-{helper}")).spawn_scoped(scope, drain).is_err() {
                break;
            }
        }
        drain();
    });
}
