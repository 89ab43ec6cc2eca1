//! What every backend must do, run against each of them.

use std::collections::BTreeSet;

use nx_journal::{
    Cause, Commit, Data, Error, Filter, IndexRange, MasterKeySource, Precondition, RetentionPolicy, index,
};
use nx_types::{Causation, Duration, ErrorCode as _, Label, Namespace, Seq, Timestamp};

use crate::support::{InMemory, Log, OnDisk, Place, change, delete, event, kind, ns, on_both, put, subject};

on_both!(
    events_are_gapless_and_read_back,
    data_of_every_size_reads_back,
    preconditions_see_the_group_and_refuse_alone,
    state_rows_and_indexes_follow_their_commits,
    index_pages_meet_without_gap_or_overlap,
    labels_are_defined_once_per_namespace,
    causes_within_a_commit_become_places,
    invalid_commits_are_refused_and_change_nothing,
    a_reopened_log_goes_on_where_it_stood,
    cursors_and_checkpoints_are_kept,
    blobs_are_sealed_and_collected_when_unnamed,
    erasing_leaves_headers_and_nothing_else,
    an_erased_subject_can_start_anew,
    retention_erases_what_is_old,
    the_master_key_can_be_rotated,
    recorded_time_never_goes_back,
    a_fenced_writer_writes_nothing,
);

fn all() -> Filter {
    Filter::default()
}

fn texts(events: &[nx_journal::Event]) -> Vec<String> {
    events.iter().map(|event| String::from_utf8_lossy(event.data.bytes().unwrap_or(b"-")).into_owned()).collect()
}

fn events_are_gapless_and_read_back<P: Place>() {
    let mut log = Log::<P>::new();
    for number in 0..10 {
        let about = if number % 2 == 0 { "run/even" } else { "run/odd" };
        let what = if number % 3 == 0 { "step.completed" } else { "step.started" };
        let receipt = log.events([event(about, what, &number.to_string())]);
        assert_eq!((receipt.first, receipt.last), (Seq(number + 1), Seq(number + 1)));
    }
    let reader = log.core().reader();
    let events = reader.events(Seq(0), 100, &all()).unwrap();
    assert_eq!(events.iter().map(|event| event.header.seq.0).collect::<Vec<_>>(), (0..11).collect::<Vec<_>>());
    assert_eq!(events[0].header.kind.as_str(), "log.opened");
    assert_eq!(texts(&events[1..]), (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(reader.event(Seq(3)).unwrap().unwrap().data, Data::Open(b"2".to_vec()));
    assert_eq!(reader.event(Seq(99)).unwrap(), None);
    assert_eq!(reader.head().unwrap(), Seq(11));

    let default = Namespace::default();
    let even = subject("run/even");
    let by = |after, limit, reverse| texts(&reader.by_subject(&default, &even, after, limit, reverse).unwrap());
    assert_eq!(by(None, 9, false), ["0", "2", "4", "6", "8"]);
    assert_eq!(by(Some(2), 2, false), ["4", "6"]);
    assert_eq!(by(None, 2, true), ["8", "6"]);
    assert_eq!(by(Some(3), 9, true), ["2", "0"]);
    assert_eq!(reader.subject_version(&default, &even).unwrap(), 5);
    assert_eq!(reader.subject_version(&ns("other"), &even).unwrap(), 0);
    let versions: Vec<u64> =
        reader.by_subject(&default, &even, None, 9, false).unwrap().iter().map(|event| event.header.version).collect();
    assert_eq!(versions, [1, 2, 3, 4, 5]);

    let completed = kind("step.completed");
    let by = |after, limit, reverse| texts(&reader.by_type(&completed, after, limit, reverse).unwrap());
    assert_eq!(by(None, 9, false), ["0", "3", "6", "9"]);
    assert_eq!(by(Some(Seq(4)), 1, false), ["6"]);
    assert_eq!(by(Some(Seq(7)), 9, true), ["3", "0"]);

    let only = |filter: Filter| texts(&reader.events(Seq(3), 3, &filter).unwrap());
    assert_eq!(only(Filter { types: vec!["step.c".to_owned()], ..all() }), ["3", "6", "9"]);
    assert_eq!(
        only(Filter { namespace: Some(default.clone()), subject: Some(even.clone()), ..all() }),
        ["2", "4", "6"]
    );
    assert_eq!(only(Filter { subject: Some(even), ..all() }), ["2", "4", "6"]);
    assert_eq!(only(Filter { namespace: Some(ns("other")), ..all() }), Vec::<String>::new());
}

fn data_of_every_size_reads_back<P: Place>() {
    let mut log = Log::<P>::new();
    let sizes = [0, 1, 11, 12, 32, 483, 484, 485, 1000, 4031, 4032, 4033, 4060, 4096, 8000, 12_000, 16_384];
    for round in 0..3u8 {
        for size in sizes {
            let mut new = event("run/1", "step.completed", "");
            new.data = vec![round; size];
            log.events([new]);
        }
        log.reopen();
    }
    let events = log.core().reader().events(Seq(1), 1000, &all()).unwrap();
    let mut expected = (0..3u8).flat_map(|round| sizes.map(|size| vec![round; size]));
    for event in events {
        assert_eq!(event.data, Data::Open(expected.next().unwrap()), "event {}", event.header.seq);
    }
    assert_eq!(expected.next(), None);
}

fn preconditions_see_the_group_and_refuse_alone<P: Place>() {
    let mut log = Log::<P>::new();
    let at = |version, text: &str| Commit {
        preconditions: vec![Precondition::SubjectAt {
            namespace: Namespace::default(),
            subject: subject("run/1"),
            version,
        }],
        ..Commit::of([event("run/1", "step.completed", text)])
    };
    let row_at = |version| Commit {
        preconditions: vec![Precondition::StateAt {
            namespace: Namespace::default(),
            kind: "run".to_owned(),
            key: "1".to_owned(),
            version,
        }],
        ..change(vec![put("run", "1", "x", &[])], vec![])
    };
    let group = [at(0, "a"), at(0, "b"), at(1, "c"), row_at(0), row_at(0), row_at(1), row_at(7)];
    let results = log.core().append(&group);
    let codes: Vec<String> = results
        .iter()
        .map(|result| result.as_ref().map_or_else(|error| error.code().to_string(), |_| "ok".to_owned()))
        .collect();
    assert_eq!(codes, ["ok", "NX-JRN-0001", "ok", "ok", "NX-JRN-0002", "ok", "NX-JRN-0002"]);
    assert!(matches!(results[1], Err(Error::SubjectConflict { expected: 0, actual: 1, .. })));
    assert_eq!(results[5].as_ref().unwrap().versions, [2]);
    let events = log.core().reader().events(Seq(1), 9, &all()).unwrap();
    assert_eq!(texts(&events), ["a", "c", "", ""]);
    // Only refusals: nothing is written, nothing is left open.
    assert!(log.core().append(&[at(0, "z")])[0].is_err());
    log.events([event("run/1", "step.completed", "d")]);
    assert_eq!(log.core().head(), Seq(6));
}

fn state_rows_and_indexes_follow_their_commits<P: Place>() {
    let mut log = Log::<P>::new();
    let default = Namespace::default();
    let receipt = log.commit(change(
        vec![
            put("run", "b", "B", &[("status", b"open"), ("time", &index::u64(2))]),
            put("run", "a", "A", &[("status", b"open"), ("time", &index::u64(300))]),
            put("job", "a", "J", &[("status", b"open")]),
        ],
        vec![],
    ));
    assert_eq!(receipt.versions, [1, 1, 1]);
    let reader = log.core().reader();
    let row = reader.state(&default, "run", "a").unwrap().unwrap();
    assert_eq!((row.version, row.seq, row.bytes.as_slice()), (1, receipt.last, b"A".as_slice()));
    assert_eq!(reader.state(&ns("other"), "run", "a").unwrap(), None);
    let keys = |name: &str, range: IndexRange, reverse| -> Vec<String> {
        let rows = reader.index(&default, "run", name, &range, None, 10, reverse).unwrap();
        rows.into_iter().map(|(_, row)| row.key).collect()
    };
    assert_eq!(keys("status", IndexRange::Eq(b"open".to_vec()), false), ["a", "b"]);
    assert_eq!(keys("status", IndexRange::Eq(b"ope".to_vec()), false), Vec::<String>::new());
    assert_eq!(keys("time", IndexRange::Prefix(vec![]), false), ["b", "a"]);
    assert_eq!(keys("time", IndexRange::Prefix(vec![]), true), ["a", "b"]);
    let range = IndexRange::Range { from: index::u64(3), to: Some(index::u64(301)) };
    assert_eq!(keys("time", range, false), ["a"]);

    let receipt = log.commit(change(
        vec![put("run", "a", "A2", &[("status", b"done")])],
        vec![delete("run", "b"), delete("run", "no")],
    ));
    assert_eq!(receipt.versions, [2]);
    assert_eq!(keys("status", IndexRange::Prefix(vec![]), false), ["a"]);
    assert_eq!(keys("time", IndexRange::Prefix(vec![]), false), Vec::<String>::new());
    assert_eq!(reader.state(&default, "run", "b").unwrap(), None);
    let header = reader.event(receipt.last).unwrap().unwrap().header;
    let proofs: Vec<bool> = header.state.iter().map(|digest| digest.digest.is_some()).collect();
    assert_eq!(proofs, [true, false]);
    let scan = |after: Option<&str>| -> Vec<String> {
        reader.state_scan(&default, "run", after, 10).unwrap().into_iter().map(|row| row.key).collect()
    };
    log.commit(change(vec![put("run", "c", "C", &[]), put("run", "b", "B", &[])], vec![]));
    assert_eq!(scan(None), ["a", "b", "c"]);
    assert_eq!(scan(Some("a")), ["b", "c"]);
    assert_eq!(reader.state(&default, "run", "b").unwrap().unwrap().version, 1);
    // Entries survive the writer's forgetting them.
    log.reopen();
    log.commit(change(vec![put("run", "a", "A3", &[])], vec![]));
    assert_eq!(
        log.core().reader().index(&default, "run", "status", &IndexRange::Prefix(vec![]), None, 9, false).unwrap(),
        []
    );
}

fn index_pages_meet_without_gap_or_overlap<P: Place>() {
    let mut log = Log::<P>::new();
    for number in 0..20u64 {
        let key = format!("k{number:02}");
        log.commit(change(vec![put("run", &key, "", &[("group", &index::u64(number / 7))])], vec![]));
    }
    let reader = log.core().reader();
    for reverse in [false, true] {
        let mut keys = Vec::new();
        let mut after = None;
        loop {
            let range = IndexRange::Prefix(Vec::new());
            let page = reader.index(&Namespace::default(), "run", "group", &range, after.take(), 3, reverse).unwrap();
            let Some((value, row)) = page.last() else { break };
            after = Some((value.clone(), row.key.clone()));
            keys.extend(page.into_iter().map(|(_, row)| row.key));
        }
        let mut expected: Vec<String> = (0..20).map(|number| format!("k{number:02}")).collect();
        if reverse {
            expected.reverse();
        }
        assert_eq!(keys, expected);
    }
}

fn labels_are_defined_once_per_namespace<P: Place>() {
    let mut log = Log::<P>::new();
    let label = Label::from_source("mail/m_88");
    let labelled = |namespace: &str| {
        let mut new = event("run/1", "step.completed", "x");
        new.label = Some(label.clone().into());
        new.namespace = ns(namespace);
        new
    };
    let receipt = log.events([labelled("default"), labelled("default"), labelled("other")]);
    assert_eq!(receipt.events, [Seq(3), Seq(4), Seq(5)]);
    log.reopen();
    let receipt = log.events([labelled("default"), event("run/1", "step.completed", "x")]);
    assert_eq!(receipt.events, [Seq(6), Seq(7)]);
    let reader = log.core().reader();
    let kinds: Vec<String> =
        reader.events(Seq(1), 9, &all()).unwrap().iter().map(|event| event.header.kind.to_string()).collect();
    assert_eq!(kinds[..3], ["label.defined", "label.defined", "step.completed"]);
    assert_eq!(reader.event(Seq(6)).unwrap().unwrap().header.label, Some(label.id()));
    assert_eq!(reader.event(Seq(7)).unwrap().unwrap().header.label, None);
    assert_eq!(reader.label(&ns("other"), &label.id()).unwrap(), Some(label.clone()));
    assert_eq!(reader.label(&ns("third"), &label.id()).unwrap(), None);
}

fn causes_within_a_commit_become_places<P: Place>() {
    let mut log = Log::<P>::new();
    let mut second = event("run/1", "b", "");
    second.causation = Cause::Within(0);
    second.label = Some(Label::from_source("x/1").into());
    let mut third = event("run/1", "c", "");
    third.causation = Cause::Local(Seq(0));
    log.events([event("run/1", "a", ""), second, third]);
    let events = log.core().reader().events(Seq(2), 3, &all()).unwrap();
    assert_eq!(events[0].header.causation, Causation::None);
    assert_eq!(events[1].header.causation, Causation::Local(Seq(2)));
    assert_eq!(events[2].header.causation, Causation::Local(Seq(0)));
}

fn invalid_commits_are_refused_and_change_nothing<P: Place>() {
    let mut log = Log::<P>::new();
    let with = |edit: &dyn Fn(&mut Commit)| {
        let mut commit = change(vec![put("run", "a", "A", &[])], vec![]);
        edit(&mut commit);
        commit
    };
    let cases: Vec<(Commit, &str)> = vec![
        (with(&|commit| commit.events.clear()), "NX-JRN-0004"),
        (with(&|commit| commit.events[0].data = vec![0; 16_385]), "NX-JRN-0003"),
        (with(&|commit| commit.events[0].causation = Cause::Within(0)), "NX-JRN-0004"),
        (with(&|commit| commit.events[0].causation = Cause::Local(Seq(1))), "NX-JRN-0004"),
        (with(&|commit| commit.events[0].blobs = vec![nx_types::BlobId([1; 32])]), "NX-JRN-0014"),
        (with(&|commit| commit.puts[0].key = String::new()), "NX-JRN-0004"),
        (with(&|commit| "a\0b".clone_into(&mut commit.puts[0].key)), "NX-JRN-0004"),
        (with(&|commit| commit.puts[0].key = "k".repeat(1025)), "NX-JRN-0003"),
        (with(&|commit| commit.puts[0].bytes = vec![0; (1 << 20) + 1]), "NX-JRN-0003"),
        (with(&|commit| commit.puts = vec![commit.puts[0].clone(); 5000]), "NX-JRN-0004"),
        (with(&|commit| commit.events = vec![event("a/b", "c", &"x".repeat(16_000)); 300]), "NX-JRN-0003"),
    ];
    for (commit, code) in cases {
        let error = log.core().append(&[commit]).remove(0).unwrap_err();
        assert_eq!(error.code().as_str(), code, "{error}");
        assert!(!error.retryable());
    }
    assert_eq!(log.core().head(), Seq(1));
    assert_eq!(log.core().reader().state(&Namespace::default(), "run", "a").unwrap(), None);
    // An empty commit is nothing.
    let receipt = log.commit(Commit::default());
    assert_eq!((receipt.first, receipt.last, receipt.events.len()), (Seq(1), Seq(1), 0));
}

fn a_reopened_log_goes_on_where_it_stood<P: Place>() {
    let mut log = Log::<P>::new();
    for number in 0..700 {
        log.events([event(&format!("run/{}", number % 5), "step.completed", &"x".repeat(number))]);
    }
    log.commit(change(vec![put("run", "a", "A", &[])], vec![]));
    let (tree, origin, epoch) = (log.core().tree(), log.core().origin(), log.core().epoch());
    log.reopen();
    assert_eq!(log.core().tree(), tree);
    assert_eq!(log.core().origin(), origin);
    assert_eq!(log.core().epoch().0, epoch.0 + 1);
    let receipt = log.commit(change(vec![put("run", "a", "A", &[])], vec![]));
    assert_eq!(receipt.versions, [2]);
    log.events([event("run/1", "step.completed", "")]);
    let reader = log.core().reader();
    assert_eq!(reader.subject_version(&Namespace::default(), &subject("run/1")).unwrap(), 141);
    let mut tiles = Vec::new();
    reader
        .rows(|rows| {
            rows.all_tiles(&mut |(level, index, hashes)| {
                tiles.push((level, index, hashes.len()));
                Ok(std::ops::ControlFlow::Continue(()))
            })
        })
        .unwrap();
    assert_eq!(tiles, [(0, 0, 8192), (0, 1, 8192)]);
}

fn cursors_and_checkpoints_are_kept<P: Place>() {
    let mut log = Log::<P>::new();
    let set = |seq| Commit { cursors: vec![("mail".to_owned(), Seq(seq))], ..Commit::default() };
    log.commit(set(4));
    log.commit(set(9));
    log.core().store_checkpoint(1, b"one").unwrap();
    log.core().store_checkpoint(5, b"five").unwrap();
    log.reopen();
    let reader = log.core().reader();
    assert_eq!(reader.cursor("mail").unwrap(), Some(Seq(9)));
    assert_eq!(reader.cursor("other").unwrap(), None);
    let at = |size| reader.rows(|rows| rows.checkpoint(size)).unwrap();
    assert_eq!((at(0), at(4), at(u64::MAX)), (None, Some((1, b"one".to_vec())), Some((5, b"five".to_vec()))));
}

fn blobs_are_sealed_and_collected_when_unnamed<P: Place>() {
    let mut log = Log::<P>::new();
    let default = Namespace::default();
    let content = b"the same content".repeat(100);
    let named = log.core().put_blob(&default, "run/1", &content).unwrap();
    let unnamed = log.core().put_blob(&default, "run/1", &content).unwrap();
    assert_ne!(named, unnamed, "equal content does not tell itself");
    let mut new = event("run/1", "step.completed", "");
    new.blobs = vec![named];
    log.events([new]);
    let reader = log.core().reader();
    assert_eq!(reader.blob(&named).unwrap().unwrap(), content);
    assert_eq!(reader.blob(&nx_types::BlobId([0; 32])).unwrap(), None);
    let stored = reader.sealed_blobs().get(&named).unwrap().unwrap();
    assert!(!stored.windows(16).any(|window| window == b"the same content"));
    let report = log.core().gc(Duration::from_secs(60)).unwrap();
    assert_eq!((report.removed, report.kept), (0, 2), "too young");
    log.clock.advance(Duration::from_secs(61));
    let report = log.core().gc(Duration::from_secs(60)).unwrap();
    assert_eq!((report.removed, report.kept), (1, 1));
    assert_eq!(reader.blob(&unnamed).unwrap(), None);
    assert_eq!(reader.blob(&named).unwrap().unwrap(), content);
}

fn erasing_leaves_headers_and_nothing_else<P: Place>() {
    let mut log = Log::<P>::new();
    let default = Namespace::default();
    let blob = log.core().put_blob(&default, "person/anna", b"her picture").unwrap();
    let mut about_her = event("run/2", "step.completed", &"hers, told elsewhere ".repeat(300));
    about_her.data_subject = Some("person/anna".to_owned());
    about_her.blobs = vec![blob];
    let mut hers = put("note", "n1", "her note", &[("name", b"anna")]);
    "person/anna".clone_into(&mut hers.data_subject);
    log.commit(Commit {
        events: vec![event("person/anna", "person.told", "hers"), about_her, event("run/2", "step.completed", "other")],
        puts: vec![hers, put("note", "n2", "other note", &[("name", b"bert")])],
        ..Commit::default()
    });
    let before = log.core().tree();
    let unknown = log.core().erase(&[(default.clone(), "person/nobody".to_owned())], "asked", "me").unwrap_err();
    assert_eq!(unknown.code().as_str(), "NX-JRN-0016");
    let report = log.core().erase(&[(default.clone(), "person/anna".to_owned())], "asked", "me").unwrap();
    assert_eq!((report.events, report.rows, report.blobs), (2, 1, 1));
    for again in 0..2 {
        let reader = log.core().reader();
        let events = reader.events(Seq(1), 9, &all()).unwrap();
        assert_eq!(texts(&events)[..3], ["-", "-", "other"], "opened {again} times");
        assert_eq!(events[0].header.subject, subject("person/anna"));
        assert_eq!(events[3].header.kind.as_str(), "key.erased");
        assert!(matches!(reader.blob(&blob), Ok(None) | Err(Error::BlobErased { .. })));
        let everything = IndexRange::Prefix(Vec::new());
        let rows = reader.index(&default, "note", "name", &everything, None, 9, false).unwrap();
        assert_eq!(rows.iter().map(|(_, row)| row.key.as_str()).collect::<Vec<_>>(), ["n2"]);
        assert_eq!(reader.state(&default, "note", "n1").unwrap(), None);
        log.reopen();
    }
    assert_eq!(log.core().tree().0, before.0 + 1);
    assert_eq!(
        log.core().erase(&[(default, "person/anna".to_owned())], "again", "me").unwrap_err().code().as_str(),
        "NX-JRN-0016"
    );
}

fn an_erased_subject_can_start_anew<P: Place>() {
    let mut log = Log::<P>::new();
    let first = log.events([event("run/1", "a", "old")]);
    log.core().erase(&[(Namespace::default(), "run/1".to_owned())], "asked", "me").unwrap();
    let second = log.events([event("run/1", "a", "new")]);
    let reader = log.core().reader();
    let (old, new) = (reader.event(first.last).unwrap().unwrap(), reader.event(second.last).unwrap().unwrap());
    assert_eq!(old.data, Data::Erased);
    assert_eq!(new.data, Data::Open(b"new".to_vec()));
    assert_ne!(old.header.key, new.header.key);
    assert_eq!(new.header.version, 2);
}

fn retention_erases_what_is_old<P: Place>() {
    let mut log = Log::<P>::new();
    for (number, about) in ["run/old", "run/kept", "device/old"].into_iter().enumerate() {
        log.events([event(about, "a", &number.to_string())]);
    }
    log.clock.advance(Duration::from_secs(100));
    log.events([event("run/kept", "a", "again"), event("run/new", "a", "new")]);
    let policy =
        RetentionPolicy { namespace: None, prefix: "run/".to_owned(), older_than: Duration::from_secs(50), limit: 10 };
    let report = log.core().retention(&policy).unwrap();
    assert_eq!((report.keys.len(), report.events), (1, 1));
    let events = log.core().reader().events(Seq(1), 5, &all()).unwrap();
    assert_eq!(texts(&events), ["-", "1", "2", "again", "new"]);
    assert_eq!(log.core().retention(&policy).unwrap().keys, []);
}

fn the_master_key_can_be_rotated<P: Place>() {
    let mut log = Log::<P>::new();
    log.events([event("run/1", "a", "one")]);
    let other = MasterKeySource::Bytes([9; 32].into());
    assert_eq!(log.core().rotate_master(&other).unwrap(), 2);
    log.events([event("run/1", "a", "two"), event("run/2", "a", "three")]);
    log.core = None;
    let wrong = nx_journal::Core::open(log.place.backend(), &log.place.options(), log.env.clone()).unwrap_err();
    assert_eq!(wrong.code().as_str(), "NX-JRN-0013");
    let options = nx_journal::Options { master: other, ..log.place.options() };
    let core = nx_journal::Core::open(log.place.backend(), &options, log.env.clone()).unwrap();
    assert_eq!(texts(&core.reader().events(Seq(1), 9, &all()).unwrap()), ["one", "two", "three"]);
}

fn recorded_time_never_goes_back<P: Place>() {
    let mut log = Log::<P>::new();
    let start = log.env.now();
    for jump in [500, -3_000_000, 10, 7_000_000] {
        log.clock.set(Timestamp::from_micros(start.as_micros() + jump));
        log.events([event("run/1", "a", "")]);
        log.reopen();
    }
    let events = log.core().reader().events(Seq(0), 9, &all()).unwrap();
    let jumps: Vec<i64> = events.iter().map(|event| event.header.recorded.as_micros() - start.as_micros()).collect();
    assert_eq!(jumps, [0, 500, 500, 500, 7_000_000]);
    let ids: BTreeSet<_> = events.iter().map(|event| event.header.id).collect();
    assert_eq!(ids.len(), 5);
}

fn a_fenced_writer_writes_nothing<P: Place>() {
    let mut log = Log::<P>::new();
    log.events([event("run/1", "a", "")]);
    let epoch = log.core().epoch();
    // Another writer takes the log over behind this one's back.
    P::raise_behind(&log);
    let error = log.core().append(&[Commit::of([event("run/1", "a", "")])]).remove(0).unwrap_err();
    assert!(matches!(error, Error::Fenced { ours, found } if ours == epoch && found.0 == epoch.0 + 1), "{error}");
    assert_eq!(log.core().reader().head().unwrap(), Seq(2));
    log.reopen();
    log.events([event("run/1", "a", "")]);
}

#[test]
fn same_seed_same_bytes_on_every_backend() {
    fn roots<P: Place>() -> Vec<String> {
        let mut log = Log::<P>::seeded(42);
        let mut roots = Vec::new();
        for number in 0..300 {
            let mut labelled = event(&format!("run/{}", number % 7), "step.completed", &"y".repeat(number * 7));
            labelled.label = (number % 11 == 0).then(|| Label::from_source(format!("mail/{number}")).into());
            log.commit(Commit {
                events: vec![labelled, event("run/x", "step.started", "")],
                puts: vec![put("run", &(number % 5).to_string(), "state", &[("n", &index::u64(number as u64))])],
                ..Commit::default()
            });
            roots.push(format!("{:?}", log.core().tree()));
        }
        log.core().erase(&[(Namespace::default(), "run/3".to_owned())], "asked", "me").unwrap();
        roots.push(format!("{:?}", log.core().tree()));
        roots
    }
    let roots_in_memory = roots::<InMemory>();
    assert_eq!(roots_in_memory, roots::<InMemory>());
    assert_eq!(roots_in_memory, roots::<OnDisk>());
}
