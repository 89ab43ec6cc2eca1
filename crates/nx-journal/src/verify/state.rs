//! Keys, state rows, index entries and blobs, against what the headers say of them.

use std::{
    collections::{HashMap, HashSet},
    ops::ControlFlow,
};

use nx_types::{Header, KeyId};

use super::{
    Basis,
    ledger::{Ledger, MAX_HELD, half},
    report::{Place, Report},
};
use crate::{
    Error, IndexEntry,
    backend::{Rows, StateRecord},
    core::{meta, slot},
    reader::open_record,
    tlog::sha256,
};

/// Which data keys there are, and which were erased.
pub(super) struct Keys {
    erased: HashSet<u64>,
    /// One past the greatest key.
    end: u64,
    missing: HashSet<u64>,
    /// Hashes of namespace and data subject, where a keyring tells them.
    names: HashMap<u64, [u8; 16]>,
}

impl Keys {
    pub(super) fn read(rows: &dyn Rows, basis: &Basis<'_>, report: &mut Report) -> Result<Self, Error> {
        let mut keys = Self { erased: HashSet::new(), end: 0, missing: HashSet::new(), names: HashMap::new() };
        let max = basis.max_held.unwrap_or(MAX_HELD);
        rows.keys(None, &mut |row| {
            keys.missing.extend(keys.end..row.id.0);
            keys.end = row.id.0 + 1;
            match (&row.wrapped, basis.keyring) {
                (None, _) => drop(keys.erased.insert(row.id.0)),
                (Some(_), Some(keyring)) => match keyring.data_subject(&row) {
                    Ok(Some(name)) => {
                        let found = rows.key_of(&keyring.lookup(&row.namespace, &name))?;
                        if found.is_none_or(|found| found.id != row.id) {
                            report.find(Place::Key(row.id), "it is not found by the data subject that it seals for");
                        }
                        if keys.names.len() < max {
                            keys.names.insert(row.id.0, owner(row.namespace.as_str(), &name));
                        }
                    }
                    Ok(None) => {}
                    Err(_) => report.find(Place::Key(row.id), "it cannot be unwrapped: its row was changed"),
                },
                (Some(_), None) => {}
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let next = match rows.meta(meta::NEXT_KEY)? {
            Some(bytes) => bytes.try_into().map(u64::from_le_bytes).ok(),
            None => Some(1),
        };
        if let Some(next) = next {
            keys.missing.extend(keys.end..next);
            keys.missing.remove(&0);
            let mut missing: Vec<u64> = keys.missing.iter().copied().collect();
            missing.sort_unstable();
            for id in missing {
                report.find(Place::Key(KeyId(id)), "it is missing");
            }
        }
        if next.is_none_or(|next| next < keys.end) {
            report.find(Place::Stored("the number of the next data key".to_owned()), "it has been given already");
        }
        Ok(keys)
    }

    pub(super) fn is_erased(&self, id: KeyId) -> bool {
        self.erased.contains(&id.0)
    }

    pub(super) fn none_erased(&self) -> bool {
        self.erased.is_empty()
    }

    pub(super) fn is_known(&self, id: KeyId) -> bool {
        id.0 < self.end && !self.missing.contains(&id.0)
    }

    /// Whether an event must be found by its data key, since its data subject is not its subject; `None` if nothing
    /// tells.
    pub(super) fn found_by_key(&self, header: &Header) -> Option<bool> {
        let owner_hash = self.names.get(&header.key.0)?;
        Some(*owner_hash != owner(header.namespace.as_str(), header.subject.as_str()))
    }

    /// Every key that is gone must have an event that says so, and the other way round.
    pub(super) fn check_erasures(&self, recorded: &HashSet<u64>, report: &mut Report) {
        let mut odd: Vec<(u64, &str)> = Vec::new();
        odd.extend(
            self.erased.difference(recorded).map(|&id| (id, "it is gone, and no event says that it was erased")),
        );
        odd.extend(recorded.difference(&self.erased).map(|&id| (id, "an event says it was erased, and it is there")));
        odd.sort_unstable();
        for (id, detail) in odd {
            report.find(Place::Key(KeyId(id)), detail);
        }
    }
}

fn owner(namespace: &str, name: &str) -> [u8; 16] {
    half(sha256([namespace, name].join("\0").as_bytes()))
}

/// Compares the stored state rows and their index entries with the ledger's.
pub(super) fn check(
    rows: &dyn Rows,
    basis: &Basis<'_>,
    keys: &Keys,
    ledger: &mut Ledger,
    report: &mut Report,
) -> Result<(), Error> {
    let read = rows.all_states(&mut |record| {
        let id = slot(&record.namespace, &record.kind, &record.key);
        if ledger.holds(&id) {
            report.state_rows += 1;
            check_row(rows, basis, ledger, &id, &record, report);
        }
        Ok(ControlFlow::Continue(()))
    });
    match read {
        Ok(()) => ledger.tell_lost(&keys.erased, report),
        Err(Error::Corrupt { what, detail }) => report.find(Place::Stored(what), detail),
        Err(error) => return Err(error),
    }
    if basis.keyring.is_some() {
        check_index(rows, ledger, report)?;
    }
    Ok(())
}

fn check_row(
    rows: &dyn Rows,
    basis: &Basis<'_>,
    ledger: &mut Ledger,
    id: &[u8; 16],
    record: &StateRecord,
    report: &mut Report,
) {
    let place =
        || Place::State { namespace: record.namespace.clone(), kind: record.kind.clone(), key: record.key.clone() };
    let unproved = ledger.damaged.contains(&record.seq);
    let Some(expected) = ledger.states.get_mut(id) else {
        if !unproved {
            report.find(place(), "no event says that it is there");
        }
        return;
    };
    expected.found = true;
    if unproved {
        // the event that would prove it is a finding of its own
    } else if record.seq != expected.seq {
        report.find(place(), format!("it names event {}, but event {} wrote it last", record.seq, expected.seq));
    } else if sha256(&record.sealed) != expected.digest {
        report.find(place(), format!("its content is not the one that event {} wrote", expected.seq));
    } else if record.data_key.0 != expected.key {
        report.find(place(), format!("it names data key {}, but is sealed with {}", record.data_key, expected.key));
    } else if let Some(keyring) = basis.keyring {
        match open_record(keyring, rows, record) {
            Ok(Some((entries, _))) => {
                expected.opened = true;
                expected.entries = entries.iter().map(entry_hash).fold(0, u64::wrapping_add);
            }
            Ok(None) => {}
            Err(_) => report.find(place(), "it cannot be unsealed: its version or its key row was changed"),
        }
    }
}

/// Takes the stored index entries off the sealed ones: nothing must be left.
fn check_index(rows: &dyn Rows, ledger: &mut Ledger, report: &mut Report) -> Result<(), Error> {
    let read = rows.all_index(&mut |row| {
        let id = slot(&row.namespace, &row.kind, &row.key);
        if ledger.holds(&id) {
            match ledger.states.get_mut(&id) {
                Some(expected) => {
                    let entry = IndexEntry { name: row.name, value: row.value };
                    expected.entries = expected.entries.wrapping_sub(entry_hash(&entry));
                }
                None => report.find(
                    Place::Index { namespace: row.namespace, kind: row.kind, name: row.name, key: row.key },
                    "there is no such row",
                ),
            }
        }
        Ok(ControlFlow::Continue(()))
    });
    if let Err(error) = read {
        return match error {
            Error::Corrupt { what, detail } => {
                report.find(Place::Stored(what), detail);
                Ok(())
            }
            error => Err(error),
        };
    }
    if ledger.states.values().all(|row| row.entries == 0 || !row.opened) {
        return Ok(());
    }
    rows.all_states(&mut |record| {
        let id = slot(&record.namespace, &record.kind, &record.key);
        if ledger.states.get(&id).is_some_and(|row| row.opened && row.entries != 0) {
            let StateRecord { namespace, kind, key, .. } = record;
            report.find(Place::State { namespace, kind, key }, "its index entries are not the ones that it seals");
        }
        Ok(ControlFlow::Continue(()))
    })
}

fn entry_hash(entry: &IndexEntry) -> u64 {
    let mut bytes = entry.name.as_bytes().to_vec();
    bytes.push(0);
    bytes.extend_from_slice(&entry.value);
    sha256(&bytes).0.first_chunk().map_or(0, |head| u64::from_le_bytes(*head))
}

/// Compares the content of blobs with their names.
pub(super) fn check_blobs(rows: &dyn Rows, basis: &Basis<'_>, report: &mut Report) -> Result<(), Error> {
    let Some(blobs) = basis.blobs else { return Ok(()) };
    rows.all_blobs(&mut |row| {
        report.blobs += 1;
        match blobs.get(&row.id)? {
            Some(bytes) if blake3::hash(&bytes).as_bytes() == &row.id.0 => {}
            Some(_) => report.find(Place::Blob(row.id), "its bytes do not have its hash"),
            None => report.find(Place::Blob(row.id), "its content is missing"),
        }
        Ok(ControlFlow::Continue(()))
    })
}
