//! Examining the log: the storage engine's structures, the disk, keys and blobs. It reads, and it never repairs.

use std::{collections::BTreeSet, ops::ControlFlow};

use crate::{Error, Reader, backend::Rows, seal::Keyring};

/// What an examination found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DoctorReport {
    /// Each thing looked at, in order.
    pub checks: Vec<Check>,
}

impl DoctorReport {
    /// Whether nothing is wrong.
    pub fn is_healthy(&self) -> bool {
        self.checks.iter().all(|check| check.problems.is_empty())
    }
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// What was seen, in one line.
    pub seen: String,
    /// What is wrong, each with its fix; empty if nothing is.
    pub problems: Vec<String>,
}

impl Reader {
    /// Examines the log; with fewer bytes free than `reserve` the disk is a problem. Takes as long as reading the whole
    /// database does, and holds up nobody.
    pub fn examine(&self, reserve: u64) -> Result<DoctorReport, Error> {
        let mut checks = self.rows(|rows| Ok(vec![storage(rows)?, keys(rows, self.keyring())?]))?;
        checks.push(self.blob_files()?);
        let space = self.space()?;
        let mut problems = Vec::new();
        if space.free < reserve {
            problems.push(Error::LowDisk { free: space.free, reserve }.to_string());
        }
        let seen = format!("{} used, {} free", size(space.used), size(space.free));
        checks.push(Check { name: "disk", seen, problems });
        Ok(DoctorReport { checks })
    }

    fn blob_files(&self) -> Result<Check, Error> {
        let mut rows = BTreeSet::new();
        self.rows(|view| {
            view.all_blobs(&mut |row| {
                rows.insert(row.id);
                Ok(ControlFlow::Continue(()))
            })
        })?;
        let count = rows.len();
        let (mut bytes, mut orphans) = (0, 0u64);
        self.sealed_blobs().list(&mut |(id, size, _)| {
            bytes += size;
            if !rows.remove(&id) {
                orphans += 1;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let problems = rows.iter().map(|id| format!("blob {id} is missing; restore it from a backup")).collect();
        let seen = format!("{count} blobs, {}, {orphans} without a row (garbage collection removes them)", size(bytes));
        Ok(Check { name: "blobs", seen, problems })
    }
}

fn storage(rows: &dyn Rows) -> Result<Check, Error> {
    let problems = rows.check()?;
    Ok(Check { name: "storage", seen: format!("{} events", rows.head()?), problems })
}

fn keys(rows: &dyn Rows, keyring: &Keyring) -> Result<Check, Error> {
    let (mut living, mut erased, mut problems) = (0u64, 0u64, Vec::new());
    rows.keys(None, &mut |row| {
        match keyring.data_subject(&row) {
            Ok(Some(_)) => living += 1,
            Ok(None) => erased += 1,
            Err(error) => problems.push(error.to_string()),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(Check { name: "keys", seen: format!("{living} data keys, {erased} erased"), problems })
}

/// A number of bytes for people, in powers of 1,000: `16.4 MB`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    let (mut scaled, mut unit) = (bytes as f64, None);
    for name in UNITS {
        if scaled < 1000.0 {
            break;
        }
        scaled /= 1000.0;
        unit = Some(name);
    }
    unit.map_or_else(|| format!("{bytes} bytes"), |unit| format!("{scaled:.1} {unit}"))
}
