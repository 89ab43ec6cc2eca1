//! The value store of one run: encodes the values in events so that what the run has stored before is referred to, not
//! stored again. A list that grows by a message costs the message.
//!
//! Five forms stand for values, each an object with one reserved key; an object of the user's that has such a key is
//! wrapped in `$esc`. A place is a text: the version of an event of the run and a JSON pointer into its data as stored,
//! in which `v` stands for `/value` and `a` for `/step/args`: `17v/0/content`.
//!
//! | form | is |
//! |---|---|
//! | `{"$ref": PLACE}` | the value there |
//! | `{"$ext": [PLACE, ITEMS]}` | the array there and more items |
//! | `{"$str": [PLACE, TEXT]}` | the text there and more |
//! | `{"$set": [PLACE, FIELDS, DEPTH]}` | the object there, these fields being different |
//! | `{"$cat": [PLACE, …]}` | the arrays or texts there in one; only within `$ext` and `$str`, in the place of a place; pieces at even distances are `[POINTER, VERSION, COUNT, DISTANCE]` |
//!
//! Places are always where a value stands in full, or begins to: there are no references to references. What is *not*
//! here: I/O (events are fetched by a function), and knowledge of what the values mean.

mod decode;
mod encode;
mod learn;
mod measure;
mod table;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use serde_json::Value;

use crate::{
    Error,
    machine::{ARGS, RunEvent, digest, is_no_hash, no_hash},
};
use table::Table;

/// Values of fewer bytes are stored as they are.
const MIN_BYTES: usize = 64;
/// Longest chain of extensions.
const MAX_DEPTH: u64 = 64;
/// Largest value that decoding makes, in bytes.
const MAX_EXPANSION: usize = 64 << 20;
/// Most bytes of stored events that are kept for references to them.
const CACHE_BYTES: usize = 8 << 20;

const REF: &str = "$ref";
const EXT: &str = "$ext";
const CAT: &str = "$cat";
const STR: &str = "$str";
const SET: &str = "$set";
const ESC: &str = "$esc";
const RESERVED: [&str; 6] = [REF, EXT, CAT, STR, SET, ESC];

/// Gives an event of the run by its version: type and data as stored.
pub type Fetch<'a> = &'a mut dyn FnMut(u64) -> Result<(String, Vec<u8>), Error>;

/// The store of one run. It may be dropped at any time: it then shares nothing with what was stored before.
#[derive(Debug, Default)]
pub struct Store {
    table: Table,
    cache: Cache,
}

/// Stored events, parsed, the latest used last.
#[derive(Debug, Default)]
struct Cache {
    events: BTreeMap<u64, (Arc<Value>, usize)>,
    order: VecDeque<u64>,
    bytes: usize,
}

impl Cache {
    fn get(&self, version: u64) -> Option<Arc<Value>> {
        self.events.get(&version).map(|(event, _)| event.clone())
    }

    fn put(&mut self, version: u64, event: Arc<Value>, bytes: usize) {
        if self.events.insert(version, (event, bytes)).is_none() {
            self.order.push_back(version);
            self.bytes += bytes;
        }
        while self.bytes > CACHE_BYTES
            && let Some(oldest) = self.order.pop_front()
        {
            if let Some((_, bytes)) = self.events.remove(&oldest) {
                self.bytes -= bytes;
            }
        }
    }
}

impl Store {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The data of the event that will be the run's event of this version.
    pub fn encode(&mut self, version: u64, event: &RunEvent) -> Result<Vec<u8>, Error> {
        // Other readers of the log take an agent's own events as they are.
        if matches!(event, RunEvent::Emitted(_)) {
            return event.encode();
        }
        let mut shared = None;
        let values = event.values();
        for (place, (pointer, value)) in values.iter().enumerate() {
            if measure::is_plain(value) {
                continue;
            }
            let encoded = self.encode_value(version, pointer, value);
            let copy = shared.get_or_insert_with(|| event.clone());
            if *pointer == ARGS
                && let Some(step) = copy.identity_mut().filter(|step| !step.refs)
            {
                step.hash = no_hash();
            }
            if let Some((_, field)) = copy.values_mut().into_iter().nth(place) {
                *field = Arc::new(encoded);
            }
        }
        shared.as_ref().unwrap_or(event).encode()
    }

    /// The event that was stored as this version, its values in full. Remembers them, so that later ones may refer to
    /// them: load a run by decoding its events in order.
    pub fn decode(&mut self, version: u64, kind: &str, data: &[u8], fetch: Fetch<'_>) -> Result<RunEvent, Error> {
        let mut event = RunEvent::decode(kind, data)?;
        if matches!(event, RunEvent::Emitted(_)) {
            return Ok(event);
        }
        let mut budget = MAX_EXPANSION;
        for (pointer, value) in event.values_mut() {
            if measure::is_plain(value) {
                continue;
            }
            let stored = value.clone();
            let resolved = self.resolve(&stored, (version, data), fetch, &mut budget)?;
            self.remember(version, pointer, &stored, &resolved);
            *value = Arc::new(resolved);
        }
        if let Some(step) = event.identity_mut().filter(|step| is_no_hash(&step.hash)) {
            step.hash = digest::of(&step.args)?;
        }
        Ok(event)
    }
}
