//! Bringing runs into memory: short ones at once, long ones in slices, so that nobody waits for them but those who want
//! them.

use std::fmt;

use nx_types::{Namespace, RunId};

use super::{Engine, Output, Ticket, commit::Mark, fold, rows, runs::unknown, slot::Slot};
use crate::{error::Error, machine::RunEvent};

/// Events read at once.
const PAGE: usize = 1024;

/// A run that is being loaded.
pub(super) struct Loading {
    slot: Box<Slot>,
    after: u64,
    then: Vec<(Option<Ticket>, Then)>,
}

type Then = Box<dyn FnOnce(&mut Engine) + Send>;

impl fmt::Debug for Loading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loading").field("run", &self.slot.id()).field("after", &self.after).finish_non_exhaustive()
    }
}

impl Loading {
    pub(super) fn namespace(&self) -> &Namespace {
        &self.slot.namespace
    }
}

/// Whether a run is in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loaded {
    /// It is.
    Now,
    /// It is long and will be: see [`Engine::once_loaded`].
    Later,
}

impl Engine {
    /// Brings a run into memory, or begins to.
    pub(super) fn load(&mut self, namespace: &Namespace, run: RunId) -> Result<Loaded, Error> {
        let known = self.runs.get(&run).map(|slot| (&slot.namespace, Loaded::Now));
        let known = known.or_else(|| self.loading.get(&run).map(|of| (of.namespace(), Loaded::Later)));
        if let Some((of, loaded)) = known {
            return if of == namespace { Ok(loaded) } else { Err(unknown(namespace, run)) };
        }
        let row = self.reader.state(namespace, rows::RUN, &run.to_string())?;
        let Some(row) = row else {
            self.dormant.remove(&run);
            self.refused.remove(&run);
            self.stuck.remove(&run);
            self.lines_dropped.remove(&run);
            return Err(unknown(namespace, run));
        };
        let mut slot = self.fresh_slot(namespace.clone(), run, rows::read_run(&row.bytes)?);
        let after = match slot.row.carried {
            Some(carried) => self.resume_from(&mut slot, carried)?,
            None => 0,
        };
        let mut loading = Loading { slot, after, then: Vec::new() };
        while loading.after < after + self.limits.load_at_once as u64 {
            if self.read_on(&mut loading)? {
                self.finish(loading);
                return Ok(Loaded::Now);
            }
        }
        self.dormant.remove(&run);
        self.loading.insert(run, loading);
        Ok(Loaded::Later)
    }

    /// Does something when a run is in memory. `ticket` is answered if it cannot be loaded.
    pub(super) fn once_loaded(
        &mut self,
        run: RunId,
        ticket: Option<Ticket>,
        then: impl FnOnce(&mut Self) + Send + 'static,
    ) {
        if let Some(loading) = self.loading.get_mut(&run) {
            loading.then.push((ticket, Box::new(then)));
        } else {
            then(self);
        }
    }

    /// Reads a slice of a run that is being loaded.
    pub(super) fn load_on(&mut self) {
        let Some((run, mut loading)) = self.loading.pop_first() else { return };
        match self.read_on(&mut loading) {
            Ok(false) => drop(self.loading.insert(run, loading)),
            Ok(true) => {
                let then = std::mem::take(&mut loading.then);
                self.finish(loading);
                for (_, then) in then {
                    then(self);
                }
            }
            Err(error) => {
                tracing::warn!(%run, %error, "a run cannot be loaded");
                for ticket in loading.then.into_iter().filter_map(|(ticket, _)| ticket) {
                    self.out.push(Output::Reply { ticket, answer: Err(error.clone()) });
                }
                self.dormant.insert(run, super::Dormant { namespace: loading.slot.namespace });
            }
        }
    }

    /// Takes in the next page. Whether it was the last.
    fn read_on(&self, loading: &mut Loading) -> Result<bool, Error> {
        let limit = self.limits.load_at_once.clamp(1, PAGE);
        let page = loading.slot.record.page(loading.after, limit)?;
        let last = page.len() < limit;
        for entry in page {
            loading.after = entry.header.version;
            self.take_in(&mut loading.slot, &entry)?;
        }
        Ok(last)
    }

    fn finish(&mut self, loading: Loading) {
        let mut slot = loading.slot;
        let run = slot.id();
        slot.row.summary.status = fold::status(slot.run.status());
        self.dormant.remove(&run);
        let obligations = slot.run.obligations();
        self.runs.insert(run, slot);
        self.oblige(run, obligations);
        self.make_good(run);
        self.arrange(run);
    }

    /// Takes in the beginning of a run and its last carry, in place of all that is between. Where to read on.
    fn resume_from(&self, slot: &mut Slot, carried: u64) -> Result<u64, Error> {
        let created = slot.record.event(1)?;
        let carry = slot.record.event(carried)?;
        slot.run.resume(&created.event, &carry.event, carried)?;
        slot.watch.replay(&created.event, 1);
        slot.watch.replay(&carry.event, carried);
        slot.causes.last = Some(carry.header.seq);
        slot.trace = created.header.trace;
        // Approvals that were asked for earlier and are still open stand in their rows alone.
        let of_run = rows::with_text(&slot.run.id().to_string());
        let mut after = None;
        loop {
            let page = self.reader.index(&slot.namespace, rows::APPROVAL, rows::BY_RUN, &of_run, after, PAGE, false)?;
            let short = page.len() < PAGE;
            after = page.last().map(|(value, row)| (value.clone(), row.key.clone()));
            for (_, row) in page {
                let row = rows::read_approval(&row.bytes)?;
                if row.view.status == "waiting" && row.version < carried {
                    slot.approvals.insert(row.view.id, row);
                }
            }
            if short {
                return Ok(carried);
            }
        }
    }

    fn take_in(&self, slot: &mut Slot, entry: &super::record::Entry) -> Result<(), Error> {
        slot.run.apply(&entry.event)?;
        slot.watch.replay(&entry.event, entry.header.version);
        slot.causes.note(Mark::of(&entry.event), entry.header.seq);
        slot.trace = slot.trace.or(entry.header.trace);
        slot.fold(&entry.event);
        let of = fold::Of { namespace: &slot.namespace, run: slot.run.id(), agent: &slot.row.summary.agent };
        let at = (entry.header.version, entry.header.recorded);
        fold::approval(&mut slot.approvals, &mut slot.decided, of, &entry.event, at);
        if let RunEvent::Created(_) = &entry.event {
            slot.limits = self.run_limits(&slot.namespace, &slot.row.summary.agent);
        }
        Ok(())
    }
}
