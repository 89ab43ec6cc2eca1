//! Every change of what is stored is found, and found where it was made.

use std::{fs, path::Path};

use nx_journal::{
    Commit,
    verify::{Audit, Place, Report, VerifyOptions, verify_export},
};
use nx_types::{Rng as _, Seq, env::SeededRng};
use rusqlite::{Connection, types::Value};

use crate::fixture::{Log, event, fill, step};

/// One table's column, and how the place of a changed row is recognised.
struct Target {
    table: &'static str,
    column: &'static str,
    /// Columns that name a row.
    keys: &'static [&'static str],
    /// Which rows take part.
    rows: &'static str,
}

const TARGETS: &[Target] = &[
    Target { table: "events", column: "header", keys: &["seq"], rows: "1" },
    Target { table: "events", column: "data", keys: &["seq"], rows: "data IS NOT NULL AND length(data) > 12" },
    Target { table: "events", column: "digest", keys: &["seq"], rows: "digest IS NOT NULL AND seq < 512" },
    Target { table: "events", column: "subject", keys: &["seq"], rows: "1" },
    Target { table: "events", column: "version", keys: &["seq"], rows: "1" },
    Target { table: "events", column: "type", keys: &["seq"], rows: "1" },
    Target { table: "events", column: "by_key", keys: &["seq"], rows: "by_key IS NOT NULL" },
    Target { table: "tiles", column: "hashes", keys: &["level", "place"], rows: "1" },
    Target { table: "checkpoints", column: "note", keys: &["size"], rows: "1" },
    Target { table: "checkpoints", column: "size", keys: &["size"], rows: "1" },
    Target { table: "state", column: "sealed", keys: &["key"], rows: "1" },
    Target { table: "state", column: "version", keys: &["key"], rows: "1" },
    Target { table: "state", column: "seq", keys: &["key"], rows: "1" },
    Target { table: "state", column: "data_key", keys: &["key"], rows: "1" },
    Target { table: "state", column: "key", keys: &["key"], rows: "1" },
    Target { table: "state_index", column: "value", keys: &["name", "key"], rows: "1" },
    Target { table: "state_index", column: "name", keys: &["name", "key"], rows: "1" },
    Target { table: "keys", column: "wrapped", keys: &["id"], rows: "erased = 0" },
    Target { table: "keys", column: "erased", keys: &["id"], rows: "1" },
    Target { table: "key_lookup", column: "lookup", keys: &["id"], rows: "1" },
    Target { table: "labels", column: "seq", keys: &["namespace", "id"], rows: "1" },
    Target { table: "subjects", column: "id", keys: &["namespace", "name"], rows: "1" },
    Target { table: "types", column: "id", keys: &["name"], rows: "1" },
    Target { table: "meta", column: "value", keys: &["name"], rows: "name = 'head'" },
];

/// Tables from which whole rows are taken.
const REMOVED: &[Target] = &[
    Target { table: "events", column: "", keys: &["seq"], rows: "1" },
    Target { table: "tiles", column: "", keys: &["level", "place"], rows: "1" },
    Target { table: "state", column: "", keys: &["key"], rows: "1" },
    Target { table: "state_index", column: "", keys: &["name", "key"], rows: "1" },
    Target { table: "labels", column: "", keys: &["seq"], rows: "1" },
    Target { table: "keys", column: "", keys: &["id"], rows: "1" },
];

fn pick(rng: &SeededRng, below: usize) -> usize {
    (rng.next_u64() % below as u64) as usize
}

/// Another value than the present one.
fn changed(value: &Value, rng: &SeededRng) -> Value {
    match value {
        Value::Integer(n) if *n == 0 || *n == 1 => Value::Integer(1 - n),
        Value::Integer(n) => Value::Integer(if rng.next_u64() & 1 == 0 { n + 1 } else { n - 1 }),
        Value::Blob(bytes) => {
            let mut bytes = bytes.clone();
            match rng.next_u64() % 8 {
                0 if bytes.len() > 40 => bytes.truncate(bytes.len() - 1 - pick(rng, 8)),
                1 => bytes.push(0),
                _ => {
                    let at = pick(rng, bytes.len());
                    bytes[at] ^= 1 << pick(rng, 8);
                }
            }
            Value::Blob(bytes)
        }
        Value::Text(text) => Value::Text(format!("{text}x")),
        other => panic!("{other:?} is not changed"),
    }
}

fn int(value: &Value) -> u64 {
    match value {
        Value::Integer(n) => n.cast_unsigned(),
        other => panic!("{other:?} is not a number"),
    }
}

/// Whether a finding names the row.
fn names(place: &Place, target: &Target, (keys, value): (&[Value], &Value), links: &Links) -> bool {
    let text = |at: usize| match &keys[at] {
        Value::Text(text) => text.clone(),
        other => panic!("{other:?} is not a text"),
    };
    match target.table {
        "events" => *place == Place::Event(Seq(int(&keys[0]))),
        "tiles" => *place == Place::Tile { level: int(&keys[0]) as u8, index: int(&keys[1]) },
        "checkpoints" => matches!(place, Place::Checkpoint { size } if size.abs_diff(int(&keys[0])) <= 1),
        "state" => match place {
            Place::State { key, .. } => key.trim_end_matches('x') == text(0),
            Place::LostState { seq, .. } => links.state_seqs.contains(&(text(0), seq.0)),
            _ => false,
        },
        "state_index" => match place {
            Place::State { key, .. } | Place::Index { key, .. } => *key == text(1),
            _ => false,
        },
        "keys" | "key_lookup" => match place {
            Place::Key(id) => id.0 == int(&keys[0]),
            // an event whose key is missing or falsely erased says which key it is
            Place::Event(seq) => links.event_keys.contains(&(seq.0, int(&keys[0]))),
            _ => false,
        },
        "labels" => matches!(place, Place::Label { .. }),
        "subjects" | "types" => *place == Place::Event(Seq(int(value))),
        "meta" => matches!(place, Place::Head | Place::Events { .. }),
        other => panic!("{other} has no rule"),
    }
}

/// What tells which event and key belong to a row.
struct Links {
    state_seqs: Vec<(String, u64)>,
    event_keys: Vec<(u64, u64)>,
}

/// A log of 700 events on disk, closed, with an erased subject, ready to be changed behind its back.
struct Victim {
    log: Log,
    raw: Connection,
    links: Links,
}

impl Victim {
    fn new(dir: &Path) -> Self {
        let mut log = Log::open(dir, 11);
        fill(&mut log, 560);
        log.core.erase(&[(Default::default(), "customer/3".to_owned())], "asked", "dpo").unwrap();
        for n in 1_000..1_020 {
            log.append(&[step(n)]);
        }
        let raw = Connection::open(dir.join("journal.db")).unwrap();
        raw.execute_batch("PRAGMA synchronous=OFF").unwrap();
        let reader = log.core.reader();
        let mut event_keys = Vec::new();
        for event in reader.events(Seq(0), 10_000, &Default::default()).unwrap() {
            event_keys.push((event.header.seq.0, event.header.key.0));
        }
        let mut rows = raw.prepare("SELECT key, seq FROM state").unwrap();
        let state_seqs = rows
            .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned())))
            .unwrap()
            .flatten()
            .collect();
        drop(rows);
        Self { log, raw, links: Links { state_seqs, event_keys } }
    }

    fn verify(&self) -> Report {
        self.log.verify()
    }

    /// The rows of a target: their keys and the value.
    fn rows(&self, target: &Target) -> Vec<(Vec<Value>, Value)> {
        let column = if target.column.is_empty() { "NULL" } else { target.column };
        let keys = target.keys.join(", ");
        let sql = format!("SELECT {column}, {keys} FROM {} WHERE {} ORDER BY {keys}", target.table, target.rows);
        let mut rows = self.raw.prepare(&sql).unwrap();
        rows.query_map([], |row| {
            let keys = (0..target.keys.len()).map(|at| row.get(at + 1)).collect::<Result<Vec<Value>, _>>()?;
            Ok((keys, row.get(0)?))
        })
        .unwrap()
        .map(Result::unwrap)
        .collect()
    }
}

fn selector(target: &Target) -> String {
    target.keys.iter().enumerate().map(|(at, key)| format!("{key} = ?{}", at + 1)).collect::<Vec<_>>().join(" AND ")
}

#[test]
fn a_thousand_random_changes_are_found_where_they_were_made() {
    let dir = tempfile::tempdir().unwrap();
    let victim = Victim::new(dir.path());
    let intact = victim.verify();
    assert_eq!(intact.findings, []);
    assert!(intact.erased > 2 && intact.events % 256 > 20, "{intact:?}");
    let rng = SeededRng::new(2_026);
    let mut done = 0;
    while done < 1_000 {
        // three of four changes alter a value, the fourth takes a row away
        let removal = done % 4 == 3;
        let targets = if removal { REMOVED } else { TARGETS };
        let target = &targets[pick(&rng, targets.len())];
        let rows = victim.rows(target);
        let (keys, value) = &rows[pick(&rng, rows.len())];
        let what = format!("change {done}: {}.{} of {keys:?}", target.table, target.column);
        if removal {
            remove(&victim, target, keys, &what);
        } else if !alter(&victim, target, (keys, value), &changed(value, &rng), &what) {
            continue;
        }
        done += 1;
    }
    assert_eq!(victim.verify().findings, []);
}

/// Takes a row away, looks, and puts it back.
fn remove(victim: &Victim, target: &Target, keys: &[Value], what: &str) {
    let (table, select) = (target.table, selector(target));
    let all = victim.raw.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let columns = all.column_names().collect::<Vec<_>>().join(", ");
    let count = all.column_count();
    let params = || rusqlite::params_from_iter(keys.iter());
    let row: Vec<Value> = victim
        .raw
        .query_row(&format!("SELECT {columns} FROM {table} WHERE {select}"), params(), |row| {
            (0..count).map(|at| row.get(at)).collect()
        })
        .unwrap();
    victim.raw.execute(&format!("DELETE FROM {table} WHERE {select}"), params()).unwrap();
    expect_found(victim, target, (keys, &Value::Null), what);
    let marks = (1..=count).map(|at| format!("?{at}")).collect::<Vec<_>>().join(", ");
    let insert = format!("INSERT INTO {table}({columns}) VALUES ({marks})");
    victim.raw.execute(&insert, rusqlite::params_from_iter(row.iter())).unwrap();
}

/// Alters a value, looks, and puts it back; false if another row has the new value, so that it cannot be given.
fn alter(victim: &Victim, target: &Target, row: (&[Value], &Value), new: &Value, what: &str) -> bool {
    let (keys, value) = row;
    let select = selector(target);
    let update = |to: &Value, from: &[Value]| {
        let sql = format!("UPDATE {} SET {} = ?{} WHERE {select}", target.table, target.column, from.len() + 1);
        victim.raw.execute(&sql, rusqlite::params_from_iter(from.iter().chain([to])))
    };
    match update(new, keys) {
        Ok(1) => {}
        Ok(count) => panic!("{what}: {count} rows"),
        Err(error) if error.to_string().contains("UNIQUE") => return false,
        Err(error) => panic!("{what}: {error}"),
    }
    expect_found(victim, target, row, what);
    let mut moved = keys.to_vec();
    if let Some(at) = target.keys.iter().position(|key| *key == target.column) {
        moved[at] = new.clone();
    }
    assert_eq!(update(value, &moved).unwrap(), 1, "{what}");
    true
}

fn expect_found(victim: &Victim, target: &Target, row: (&[Value], &Value), what: &str) {
    let report = victim.verify();
    assert!(!report.is_intact(), "{what}: not found");
    let located = report.findings.iter().any(|finding| names(&finding.place, target, row, &victim.links));
    assert!(located, "{what}: found elsewhere: {:#?}", &report.findings[..report.findings.len().min(8)]);
}

#[test]
fn many_changes_at_once_are_each_located() {
    let dir = tempfile::tempdir().unwrap();
    let victim = Victim::new(dir.path());
    let flip = |table: &str, column: &str, rule: &str| {
        let sql = format!(
            "UPDATE {table} SET {column} = CAST(substr({column}, 1, 39) || x'5a' || substr({column}, 41) AS BLOB) WHERE {rule}"
        );
        assert_eq!(victim.raw.execute(&sql, []).unwrap(), 1, "{sql}");
    };
    flip("events", "header", "seq = 5");
    flip("events", "data", "seq = 200");
    flip("events", "data", "seq = 300");
    flip("tiles", "hashes", "level = 0 AND place = 0");
    flip("checkpoints", "note", "size = (SELECT max(size) FROM checkpoints)");
    assert_eq!(victim.raw.execute("DELETE FROM events WHERE seq = 400", []).unwrap(), 1);
    let report = victim.verify();
    for place in [
        Place::Event(Seq(5)),
        Place::Event(Seq(200)),
        Place::Event(Seq(300)),
        Place::Event(Seq(400)),
        Place::Tile { level: 0, index: 0 },
    ] {
        assert!(report.findings.iter().any(|finding| finding.place == place), "{place}: {:#?}", report.findings);
    }
    assert!(report.findings.iter().any(|finding| matches!(finding.place, Place::Checkpoint { .. })));
}

#[test]
fn swapped_and_moved_records_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let victim = Victim::new(dir.path());
    victim
        .raw
        .execute_batch(
            "UPDATE events SET seq = -1 WHERE seq = 40; UPDATE events SET seq = 40 WHERE seq = 41;
             UPDATE events SET seq = 41 WHERE seq = -1;",
        )
        .unwrap();
    let report = victim.verify();
    for seq in [40, 41] {
        assert!(
            report.findings.iter().any(|finding| finding.place == Place::Event(Seq(seq))),
            "{:#?}",
            report.findings
        );
    }
}

/// A copy of a closed log's directory, opened as its own owner would: with all keys.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("keys")).unwrap();
    for name in ["journal.db", "keys/checkpoint.key"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[test]
fn truncation_and_rewriting_are_found_against_an_outside_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (honest, forged) = (dir.path().join("honest"), dir.path().join("forged"));
    let mut log = Log::open(&honest, 21);
    fill(&mut log, 400);
    drop(log);
    copy(&honest, &forged);
    let mut log = Log::open(&honest, 22);
    fill_more(&mut log, 500, "truth");
    let kept = log.sign().into_bytes();
    let size = log.core.head().0;
    drop(log);
    let against = VerifyOptions { checkpoints: vec![kept], ..VerifyOptions::default() };

    // the owner goes back to an earlier state: all of it is signed and fits together
    let mut log = Log::open(&forged, 23);
    let cut = log.core.head();
    assert!(log.verify().is_intact());
    let report = log.audit().verify(&against).unwrap();
    let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
    assert_eq!(finding.place, Place::Events { from: cut, to: Seq(size) });
    assert!(finding.detail.contains("truncated"), "{finding}");

    // and writes another history, signed with the same key
    fill_more(&mut log, 800, "lies");
    log.sign();
    assert!(log.verify().is_intact());
    let report = log.audit().verify(&against).unwrap();
    let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
    assert_eq!(finding.place, Place::Checkpoint { size });
    assert!(finding.detail.contains("rewritten"), "{finding}");
    assert!(log.audit().prove_growth(&String::from_utf8(against.checkpoints[0].clone()).unwrap()).is_err());

    // a checkpoint of another log is no evidence
    let stranger = Log::open(&dir.path().join("stranger"), 24).sign().into_bytes();
    let options = VerifyOptions { checkpoints: vec![stranger], ..VerifyOptions::default() };
    assert!(log.audit().verify(&options).unwrap_err().to_string().contains("not of this log"));
}

fn fill_more(log: &mut Log, events: u64, text: &str) {
    while log.core.head() < Seq(events) {
        log.append(&[Commit::of([event("note.taken", "run/9", text)])]);
    }
}

#[test]
fn a_log_cut_behind_its_own_back_misses_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let victim = Victim::new(dir.path());
    let size = victim.log.core.head().0;
    victim.raw.execute("DELETE FROM events WHERE seq >= 500", []).unwrap();
    let report = victim.verify();
    let missing = Place::Events { from: Seq(500), to: Seq(size) };
    assert!(report.findings.iter().any(|finding| finding.place == missing), "{:#?}", report.findings);
}

#[test]
fn changed_exports_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(&dir.path().join("log"), 31);
    fill(&mut log, 600);
    let to = dir.path().join("export");
    log.audit().export(&to).unwrap();
    let key = log.notary.key().clone();
    let mut files = Vec::new();
    list(&to, &mut files);
    let rng = SeededRng::new(5);
    for round in 0..300 {
        let path = &files[pick(&rng, files.len())];
        let bytes = fs::read(path).unwrap();
        if round % 10 == 0 && !path.ends_with("checkpoint") {
            fs::remove_file(path).unwrap();
        } else {
            let mut other = bytes.clone();
            let at = pick(&rng, other.len());
            other[at] ^= 1 << pick(&rng, 8);
            fs::write(path, other).unwrap();
        }
        match verify_export(&to, &key, &[]) {
            Ok(report) => {
                assert!(!report.is_intact(), "{}", path.display());
                let name = path.strip_prefix(&to).unwrap().display().to_string();
                let located = report.findings.iter().any(|finding| match &finding.place {
                    Place::File(file) => *file == name,
                    Place::Event(_) => name.starts_with("tile/entries"),
                    Place::Events { .. } => name.starts_with("tile/entries") || name == "checkpoint",
                    Place::Tile { .. } => name.starts_with("tile/"),
                    _ => false,
                });
                assert!(located, "{name}: {:#?}", report.findings);
            }
            Err(error) => assert!(path.ends_with("checkpoint"), "{}: {error}", path.display()),
        }
        fs::write(path, bytes).unwrap();
    }
    assert!(verify_export(&to, &key, &[]).unwrap().is_intact());
}

fn list(dir: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { list(&path, files) } else { files.push(path) }
    }
    files.sort();
}

#[test]
fn without_keys_records_of_complete_tiles_are_located_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let victim = Victim::new(dir.path());
    victim.raw.execute("UPDATE events SET data = zeroblob(length(data)) WHERE seq = 77", []).unwrap();
    let audit = Audit::new(victim.log.core.reader(), None);
    let report = audit.verify(&VerifyOptions::default()).unwrap();
    assert!(report.findings.iter().any(|finding| finding.place == Place::Event(Seq(77))), "{:#?}", report.findings);
}

#[test]
fn nobody_but_the_log_records_what_the_log_records() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), 81);
    for kind in ["log.opened", "log.restored", "key.erased", "label.defined"] {
        let forged = Commit::of([event(kind, "key/1", "{}")]);
        let error = log.core.append(&[forged]).remove(0).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("invalid commit: only the log itself records `{kind}`; use another type")
        );
    }
    assert!(log.verify().is_intact());
}

/// Every row of every table but the reading positions, which nothing proves.
fn dump(database: &Path) -> Option<Vec<String>> {
    let raw = Connection::open(database).ok()?;
    let mut lines = Vec::new();
    for table in ["events", "pieces", "tiles", "checkpoints", "state", "keys", "labels", "subjects", "types", "kinds"] {
        let mut rows = raw.prepare(&format!("SELECT * FROM {table}")).ok()?;
        let count = rows.column_count();
        let mut rows = rows.query([]).ok()?;
        while let Some(row) = rows.next().ok()? {
            let values: Result<Vec<Value>, _> = (0..count).map(|at| row.get(at)).collect();
            lines.push(format!("{table}: {:?}", values.ok()?));
        }
    }
    Some(lines)
}

#[test]
fn changed_bytes_of_the_file_are_found_or_told_and_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let (home, other) = (dir.path().join("home"), dir.path().join("other"));
    let mut log = Log::open(&home, 91);
    fill(&mut log, 560);
    drop(log);
    copy(&home, &other);
    let bytes = fs::read(home.join("journal.db")).unwrap();
    let database = other.join("journal.db");
    let intact = dump(&database).unwrap();
    let rng = SeededRng::new(17);
    let (mut found, mut told) = (0, 0);
    for round in 0..200 {
        let mut changed = bytes.clone();
        let at = pick(&rng, changed.len());
        changed[at] ^= 1 << pick(&rng, 8);
        fs::write(&database, &changed).unwrap();
        let report = Audit::open(&crate::fixture::options(&other), None)
            .and_then(|audit| audit.verify(&VerifyOptions::default()));
        match report {
            Ok(report) if report.is_intact() => {
                assert_eq!(dump(&database).as_ref(), Some(&intact), "round {round}: byte {at} was changed unseen");
            }
            Ok(_) => found += 1,
            Err(error) => {
                assert!(nx_types::ErrorCode::code(&error).as_str().starts_with("NX-JRN-"), "{error}");
                told += 1;
            }
        }
    }
    assert!(found > 100, "{found} found, {told} told as errors");
}
