//! What a simulation has come to: rows, events, results, bytes.

use std::ops::ControlFlow;

use nx_journal::backend::Sealed;
use nx_types::{Namespace, RunId};
use serde_json::Value;

use super::harness::{Failure, Sim};
use crate::{
    engine::{
        record::{Entry, Record},
        request::{ApprovalFilter, Page, RunFilter},
        view::{ApprovalView, RunSummary},
    },
    machine::{self, Recorded},
    service::lists,
};

impl Sim {
    /// Approvals that wait for a person.
    pub fn waiting(&self) -> Result<Vec<ApprovalView>, Failure> {
        let page = Page { cursor: None, limit: Some(100) };
        let found = lists::approvals(&self.reader()?, &Namespace::default(), &ApprovalFilter::default(), &page);
        Ok(found.map_err(|error| error.to_string())?.items)
    }

    /// The rows of all runs, newest first.
    pub fn runs(&self) -> Result<Vec<RunSummary>, Failure> {
        let page = Page { cursor: None, limit: Some(1000) };
        let found = lists::runs(&self.reader()?, &Namespace::default(), &RunFilter::default(), &page);
        Ok(found.map_err(|error| error.to_string())?.items)
    }

    /// The row of a run.
    pub fn summary(&self, run: RunId) -> Result<Option<RunSummary>, Failure> {
        lists::summary(&self.reader()?, &Namespace::default(), run).map_err(|error| error.to_string())
    }

    /// Every event's bytes as the log keeps them, header and sealed data, for comparison.
    pub fn journal_bytes(&self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let read = self.reader()?.rows(|rows| {
            rows.events(0, &mut |row| {
                bytes.extend_from_slice(row.header);
                match row.sealed {
                    Sealed::Data(sealed) => bytes.extend_from_slice(sealed),
                    Sealed::Digest(digest) => bytes.extend_from_slice(&digest.0),
                }
                Ok(ControlFlow::Continue(()))
            })
        });
        read.map(|()| bytes).map_err(|error| error.to_string())
    }

    /// The decoded events of a run.
    pub fn events(&self, run: RunId) -> Result<Vec<Entry>, Failure> {
        let mut record = Record::new(self.reader()?, Namespace::default(), run);
        record.page(0, 100_000).map_err(|error| error.to_string())
    }

    /// The result of a run.
    pub fn result(&self, run: RunId) -> Result<Value, Failure> {
        let end = self.events(run)?;
        let end = end.iter().rev().find_map(|entry| machine::end_of(&entry.event));
        match end {
            Some(Recorded::Value(value)) => Ok((*value).clone()),
            Some(Recorded::Error(error)) => Ok(serde_json::json!({ "failed": error.name })),
            None => Err(format!("run {run} has not ended")),
        }
    }
}
