//! Golden files: what a released format looks like, and that this release still reads it.
//!
//! `UPDATE_EXPECT=1` writes them anew, which only a new format may do.

use std::{fmt::Write as _, fs, ops::ControlFlow, path::PathBuf};

use expect_test::expect_file;
use nx_journal::{
    Cause, Commit, Core, Filter, IndexRange, Options, Reader,
    backend::{Backend, sqlite::SqliteBackend},
    index,
    verify::{Audit, VerifyOptions},
};
use nx_types::{
    Causation, Digest, Env, EventRef, Header, KeyId, Label, Namespace, Origin, Seq, StateDigest, Timestamp,
    header::TraceParent,
};

use crate::support::{Log, OnDisk, Place as _, delete, event, master, put};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/format-1")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// A log with something of everything.
fn fill<B: Backend>(core: &mut Core<B>) {
    let blob = core.put_blob(&Namespace::default(), "run/1", b"blob content").unwrap();
    let mut second = event("run/1", "step.completed", &"long data ".repeat(150));
    second.causation = Cause::Within(0);
    second.label = Some(Label::from_source("mail/m_88").into());
    second.blobs = vec![blob];
    second.occurred = Some("2025-12-31T23:59:59Z".parse().unwrap());
    second.trace = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse::<TraceParent>().unwrap());
    let commits = [
        Commit {
            events: vec![event("run/1", "run.started", "one"), second],
            puts: vec![
                put("run", "1", "state of 1", &[("status", b"open"), ("n", &index::u64(1))]),
                put("run", "2", "state of 2", &[("status", b"open")]),
                put("run", "3", "state of 3", &[]),
            ],
            cursors: vec![("watcher".to_owned(), Seq(3))],
            ..Commit::default()
        },
        Commit {
            events: vec![event("run/2", "run.started", "two")],
            puts: vec![put("run", "1", "later state of 1", &[("status", b"done")])],
            deletes: vec![delete("run", "3")],
            ..Commit::default()
        },
    ];
    core.append(&commits).into_iter().for_each(|result| drop(result.unwrap()));
    for number in 0..260 {
        core.append(&[Commit::of([event("run/3", "step.completed", &number.to_string())])]).remove(0).unwrap();
    }
    core.erase(&[(Namespace::default(), "run/2".to_owned())], "asked", "golden").unwrap();
    let (size, root) = core.tree();
    core.store_checkpoint(size, format!("a note over {root}").as_bytes()).unwrap();
}

/// Everything that a reader can see, as text.
fn dump(reader: &Reader) -> String {
    let mut text = String::new();
    let all = reader.events(Seq(0), 10_000, &Filter::default()).unwrap();
    for event in all.iter().take(12).chain(all.iter().rev().take(2)) {
        let header = &event.header;
        let data =
            event.data.bytes().map_or_else(|| "erased".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned());
        writeln!(text, "event {} {} {} {:?}", header.seq, header.kind, header.subject, data).unwrap();
        writeln!(text, "  {}", hex(&header.encode())).unwrap();
    }
    for row in reader.state_scan(&Namespace::default(), "run", None, 100).unwrap() {
        writeln!(text, "row {} v{} of {}: {}", row.key, row.version, row.seq, String::from_utf8_lossy(&row.bytes))
            .unwrap();
    }
    let everything = IndexRange::Prefix(Vec::new());
    for (value, row) in reader.index(&Namespace::default(), "run", "status", &everything, None, 100, false).unwrap() {
        writeln!(text, "index status {} {}", String::from_utf8_lossy(&value), row.key).unwrap();
    }
    for blob in all.iter().flat_map(|event| &event.header.blobs) {
        let content = reader.blob(blob).unwrap().unwrap();
        writeln!(text, "blob {blob} {}", String::from_utf8_lossy(&content)).unwrap();
    }
    for label in all.iter().filter_map(|event| event.header.label) {
        writeln!(text, "label {:?}", reader.label(&Namespace::default(), &label).unwrap()).unwrap();
    }
    writeln!(text, "cursor {:?}", reader.cursor("watcher").unwrap()).unwrap();
    reader
        .rows(|rows| {
            rows.all_checkpoints(&mut |(size, note)| {
                writeln!(text, "checkpoint {size} {}", String::from_utf8_lossy(note)).unwrap();
                Ok(ControlFlow::Continue(()))
            })?;
            rows.all_tiles(&mut |(level, place, hashes)| {
                writeln!(text, "tile {level}/{place} {}…", hex(&hashes[..32])).unwrap();
                Ok(ControlFlow::Continue(()))
            })
        })
        .unwrap();
    text
}

#[test]
fn a_header_is_encoded_as_released() {
    let header = Header {
        format: Header::FORMAT,
        origin: Origin([1; 16]),
        seq: Seq(300),
        id: "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap(),
        namespace: Namespace::default(),
        kind: "step.completed".parse().unwrap(),
        schema: 2,
        subject: "run/r_0123456789abcdef".parse().unwrap(),
        version: 7,
        occurred: Timestamp::from_micros(-5),
        recorded: Timestamp::from_micros(1_767_225_600_000_000),
        label: Some(Label::from_source("mail/m_88").id()),
        causation: Causation::Foreign(EventRef { origin: Origin([2; 16]), seq: Seq(5) }),
        trace: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap()),
        key: KeyId(9),
        blobs: vec![nx_types::BlobId([3; 32])],
        state: vec![
            StateDigest { slot: [4; 16], key: KeyId(9), digest: Some(Digest([5; 32])) },
            StateDigest { slot: [6; 16], key: KeyId(9), digest: None },
        ],
    };
    let bytes = header.encode();
    expect_file![folder().join("header.hex")].assert_eq(&format!("{}\n", hex(&bytes)));
    assert_eq!(Header::decode(&bytes).unwrap(), header);
    let newer = [&[Header::FORMAT + 1], &bytes[1..]].concat();
    assert!(Header::decode(&newer).unwrap_err().to_string().contains("format 2 is unknown"));
}

#[test]
fn the_present_release_writes_what_the_golden_file_says() {
    let mut log = Log::<OnDisk>::seeded(2026);
    fill(log.core());
    expect_file![folder().join("log.txt")].assert_eq(&dump(&log.core().reader()));
}

#[test]
fn a_released_log_opens_reads_and_verifies() {
    let golden = folder().join("data");
    #[expect(clippy::disallowed_methods, reason = "the same switch that renews the other golden files")]
    let renew = std::env::var("UPDATE_EXPECT").is_ok();
    if renew && !golden.exists() {
        fs::create_dir_all(&golden).unwrap();
        let options = Options { master: master(), min_free_bytes: 0, ..Options::new(&golden) };
        let (env, _) = Env::seeded(2026);
        fill(&mut Core::open(SqliteBackend::open(&options).unwrap(), &options, env).unwrap());
        drop(fs::remove_file(golden.join("LOCK")));
    }
    // It is never opened in place: an opening raises the epoch.
    let place = OnDisk::fresh();
    copy(&golden, place.0.path());
    let mut core = Core::open(place.backend(), &place.options(), Env::seeded(1).0).unwrap();
    expect_file![folder().join("log.txt")].assert_eq(&dump(&core.reader()));
    let report = Audit::new(core.reader(), None).verify(&VerifyOptions { blobs: true, ..VerifyOptions::default() });
    assert!(report.unwrap().findings.iter().all(|finding| format!("{finding:?}").contains("heckpoint")));
    core.append(&[Commit::of([event("run/1", "run.completed", "after")])]).remove(0).unwrap();
    assert_eq!(core.epoch().0, 2);
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
