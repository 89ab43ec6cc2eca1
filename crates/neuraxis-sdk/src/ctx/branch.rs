//! Parallel branches: each is a scope with steps of its own, so that the order in which they finish does not matter.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use super::Ctx;

/// Where steps are counted.
pub(crate) struct Scope {
    path: String,
    groups: AtomicU32,
}

impl Scope {
    pub(super) fn root() -> Self {
        Self { path: String::new(), groups: AtomicU32::new(0) }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn is_root(&self) -> bool {
        self.path.is_empty()
    }

    /// Counts groups from the start again, as the next incarnation will after a carry.
    pub(super) fn start_over(&self) {
        self.groups.store(0, Ordering::Relaxed);
    }
}

/// A group of branches that run at the same time.
#[derive(Debug)]
pub struct Branches {
    parent: Ctx,
    prefix: String,
    next: AtomicU32,
}

impl Branches {
    pub(super) fn new(parent: &Ctx, name: Option<&str>) -> Self {
        let scope = &parent.scope;
        let group = match name {
            Some(name) => name.to_owned(),
            None => format!("g{}", scope.groups.fetch_add(1, Ordering::Relaxed)),
        };
        let prefix = if scope.is_root() { group } else { format!("{}/{group}", scope.path) };
        Self { parent: parent.clone(), prefix, next: AtomicU32::new(0) }
    }

    /// The next branch, counted from 0.
    pub fn branch(&self) -> Ctx {
        let place = self.next.fetch_add(1, Ordering::Relaxed);
        self.of(&place.to_string())
    }

    /// A branch with a name: stays itself when others come or go.
    pub fn named(&self, name: &str) -> Ctx {
        self.of(name)
    }

    fn of(&self, name: &str) -> Ctx {
        let path = format!("{}.{name}", self.prefix);
        Ctx { run: self.parent.run.clone(), scope: Arc::new(Scope { path, groups: AtomicU32::new(0) }) }
    }
}
