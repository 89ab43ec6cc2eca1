//! Random commits against a model that is too simple to be wrong.

use std::collections::BTreeMap;

use nx_journal::{Commit, Filter, IndexRange, Precondition};
use nx_types::{Namespace, Seq};
use proptest::prelude::*;

use crate::support::{InMemory, Log, OnDisk, Place, delete, event, put, subject};

#[derive(Debug, Clone)]
struct Step {
    subject: u8,
    /// How far off the expected version is.
    off: u8,
    events: u8,
    put: Option<(u8, u8, Vec<u8>)>,
    delete: Option<u8>,
    erase: bool,
    reopen: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (
        0..4u8,
        prop_oneof![9 => Just(0u8), 1 => 1..3u8],
        0..4u8,
        prop::option::of((0..5u8, 0..3u8, prop::collection::vec(any::<u8>(), 0..40))),
        prop::option::of(0..5u8),
        prop::bool::weighted(0.05),
        prop::bool::weighted(0.1),
    );
    let step = step.prop_map(|(subject, off, events, put, delete, erase, reopen)| Step {
        subject,
        off,
        events,
        put,
        delete,
        erase,
        reopen,
    });
    prop::collection::vec(step, 1..40)
}

#[derive(Debug, Default)]
struct Model {
    /// Texts by subject; `None` is erased.
    subjects: BTreeMap<u8, Vec<Option<String>>>,
    /// Version, index value, content by key.
    rows: BTreeMap<u8, (u64, u8, Vec<u8>)>,
}

fn run<P: Place>(steps: &[Step]) {
    let mut log = Log::<P>::new();
    let mut model = Model::default();
    for (place, step) in steps.iter().enumerate() {
        if step.reopen {
            log.reopen();
        }
        apply(&mut log, &mut model, place, step);
        compare(&mut log, &model);
    }
}

fn apply<P: Place>(log: &mut Log<P>, model: &mut Model, place: usize, step: &Step) {
    let about = format!("run/{}", step.subject);
    let texts = model.subjects.entry(step.subject).or_default();
    if step.erase {
        let living = texts.iter().any(Option::is_some);
        let result = log.core().erase(&[(Namespace::default(), about)], "asked", "test");
        assert!(result.is_ok() || !living);
        texts.fill(None);
        return;
    }
    let mut commit = Commit::of((0..step.events).map(|number| event(&about, "a", &format!("{place}.{number}"))));
    commit.preconditions = vec![Precondition::SubjectAt {
        namespace: Namespace::default(),
        subject: subject(&about),
        version: texts.len() as u64 + u64::from(step.off),
    }];
    commit.puts.extend(step.put.iter().map(|(key, value, bytes)| {
        let mut row = put("row", &key.to_string(), "", &[("value", &[*value])]);
        row.bytes.clone_from(bytes);
        row
    }));
    commit.deletes.extend(step.delete.map(|key| delete("row", &key.to_string())));
    let valid = step.off == 0 && (step.events > 0 || (step.put.is_none() && step.delete.is_none()));
    let result = log.core().append(&[commit]).remove(0);
    assert_eq!(result.is_ok(), valid, "{result:?}");
    if !valid {
        return;
    }
    texts.extend((0..step.events).map(|number| Some(format!("{place}.{number}"))));
    if let Some((key, value, bytes)) = &step.put {
        let version = model.rows.get(key).map_or(0, |row| row.0) + 1;
        assert_eq!(result.unwrap().versions, [version]);
        model.rows.insert(*key, (version, *value, bytes.clone()));
    }
    if let Some(key) = step.delete {
        model.rows.remove(&key);
    }
}

fn compare<P: Place>(log: &mut Log<P>, model: &Model) {
    let default = Namespace::default();
    let reader = log.core().reader();
    for (number, texts) in &model.subjects {
        let about = subject(&format!("run/{number}"));
        let events = reader.by_subject(&default, &about, None, 1000, false).unwrap();
        let found: Vec<Option<String>> = events
            .iter()
            .map(|event| event.data.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
            .collect();
        assert_eq!(&found, texts);
        let filter = Filter { namespace: Some(default.clone()), subject: Some(about.clone()), ..Filter::default() };
        assert_eq!(reader.events(Seq(0), 1000, &filter).unwrap(), events);
        if let Some(middle) = events.get(events.len() / 2) {
            assert_eq!(reader.events(middle.header.seq, 1000, &filter).unwrap(), events[events.len() / 2..]);
        }
    }
    let rows: Vec<(String, u64, Vec<u8>)> = reader
        .state_scan(&default, "row", None, 100)
        .unwrap()
        .into_iter()
        .map(|row| (row.key, row.version, row.bytes))
        .collect();
    let expected: Vec<_> = model.rows.iter().map(|(key, row)| (key.to_string(), row.0, row.2.clone())).collect();
    assert_eq!(rows, expected);
    let mut expected: Vec<_> = model.rows.iter().map(|(key, row)| (vec![row.1], key.to_string())).collect();
    expected.sort();
    let found = reader.index(&default, "row", "value", &IndexRange::Prefix(Vec::new()), None, 100, false).unwrap();
    let found: Vec<_> = found.into_iter().map(|(value, row)| (value, row.key)).collect();
    assert_eq!(found, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_agrees_with_the_model(steps in steps()) {
        run::<InMemory>(&steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_agrees_with_the_model(steps in steps()) {
        run::<OnDisk>(&steps);
    }
}
