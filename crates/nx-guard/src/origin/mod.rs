//! Where the parts of an argument came from: matching over the labelled leaves of a run.
