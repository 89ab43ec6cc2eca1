//! Sources: what brings events in from outside.

pub(crate) mod table;
