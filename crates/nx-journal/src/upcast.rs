//! Reading what older releases wrote: the log's own format is brought up when it is opened, the data of events when it
//! is read. Every released format keeps a golden file under `tests/golden`.

use std::collections::BTreeMap;

use nx_types::EventType;

use crate::{Data, Error, Event, backend::Backend};

/// Brings the log from one format to the next, within an open group.
type FormatStep = fn(&mut dyn Backend) -> Result<(), Error>;

/// `FORMAT_STEPS[n]` leads from format n + 1 to n + 2. Format 1 is the first.
const FORMAT_STEPS: &[FormatStep] = &[];

/// Brings a log of an older format to the present one.
pub(crate) fn format(backend: &mut dyn Backend, found: u64) -> Result<(), Error> {
    FORMAT_STEPS.iter().skip(found.saturating_sub(1) as usize).try_for_each(|step| step(backend))
}

/// Turns the data of one schema version into that of the next.
pub type DataStep = fn(&[u8]) -> Result<Vec<u8>, String>;

/// How the data of older schema versions is read, by type and version. Each frontier registers its own.
#[derive(Debug, Default, Clone)]
pub struct Upcasters {
    steps: BTreeMap<(EventType, u16), DataStep>,
}

impl Upcasters {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads `schema` of a type as `schema + 1`.
    #[must_use]
    pub fn with(mut self, kind: EventType, schema: u16, step: DataStep) -> Self {
        self.steps.insert((kind, schema), step);
        self
    }

    /// The event with its data in the newest schema, and that schema's version. The header stays as it was recorded.
    pub fn read(&self, mut event: Event) -> Result<(Event, u16), Error> {
        let mut schema = event.header.schema;
        while let Some(step) = self.steps.get(&(event.header.kind.clone(), schema)) {
            if let Data::Open(bytes) = &event.data {
                let what = || format!("the data of event {}", event.header.seq);
                event.data = Data::Open(step(bytes).map_err(|detail| Error::corrupt(what(), detail))?);
            }
            schema += 1;
        }
        Ok((event, schema))
    }
}

#[cfg(test)]
mod tests {
    use nx_types::{Env, Namespace, Subject};

    use super::*;
    use crate::{
        Commit, Core, Filter, NewEvent, Options,
        backend::memory::{Disk, MemoryBackend},
    };

    #[test]
    fn data_is_read_step_by_step() {
        let kind = EventType::new("thing.done").unwrap();
        let upcasters = Upcasters::new().with(kind.clone(), 1, |bytes| Ok([bytes, b" two"].concat())).with(
            kind.clone(),
            2,
            |bytes| Ok([bytes, b" three"].concat()),
        );
        let options =
            Options { master: crate::MasterKeySource::Bytes([1; 32].into()), min_free_bytes: 0, ..Options::new("") };
        let mut core = Core::open(MemoryBackend::open(&Disk::new()), &options, Env::seeded(1).0).unwrap();
        for schema in 1..=3 {
            let subject = Subject::new("thing/1").unwrap();
            let mut new = NewEvent::new(Namespace::default(), kind.clone(), subject, b"one".to_vec());
            new.schema = schema;
            core.append(&[Commit::of([new])]).remove(0).unwrap();
        }
        let events = core.reader().events(nx_types::Seq(1), 9, &Filter::default()).unwrap();
        let texts: Vec<_> = events
            .into_iter()
            .map(|event| {
                let (event, schema) = upcasters.read(event).unwrap();
                (String::from_utf8(event.data.bytes().unwrap().to_vec()).unwrap(), schema)
            })
            .collect();
        let expected =
            [("one two three", 3), ("one three", 3), ("one", 3)].map(|(text, schema)| (text.to_owned(), schema));
        assert_eq!(texts, expected);
    }
}
