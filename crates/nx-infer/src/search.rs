//! The compression search: the fastest form of a model whose accuracy is shown to be within a budget.
//!
//! A search looks at one part of the data only, however often it likes. The claim is made on the other part, which decided
//! nothing before: candidates are put in an order, the safest first and each faster than those before, and tested one after
//! the other until one fails; the fastest of those that passed is released. In such a fixed sequence each test may use the
//! whole error probability, because the first candidate that truly breaks the budget has to pass for anything worse than the
//! budget to be released (Maurer, Hothorn and Lehmacher 1995; for models Angelopoulos et al. 2021, "Learn then Test").
//! Splitting the error over candidates, as Bonferroni does, would cost samples for each of them.
//!
//! [`Search`] decides what to measure next and knows neither clock nor engine; a [`Runner`] measures. What was measured is a
//! list of [`Fact`]s that may be stored and gone on from. There is always an answer: the model as it was, if nothing else.

pub mod bound;
mod data;
mod decide;
mod device;
mod fact;
mod folder;
mod metric;
mod options;
mod plot;
mod recipe;
mod report;
mod run;
mod table;
mod times;

pub use data::hash_of_bytes as sha256;
pub use data::{Part, Sample, Samples, Split};
pub(crate) use data::{digest, shuffled};
pub use decide::{Search, Step, Subject, Test, Verdict};
pub use device::Device;
pub use fact::{Fact, Purpose, State};
pub use folder::{Folder, Statement};
pub use metric::{Metric, Reading};
pub use options::{Aim, Options};
pub use recipe::{Recipe, grid};
pub use report::{Claim, Latency, Released, Report, Row};
pub use run::{Ended, Progress, Runner, run};
pub use times::{Ratio, Speed, margin};
