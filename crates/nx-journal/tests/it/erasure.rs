//! Erasure: proofs stay, content and keys go, from every byte on disk.

use std::{fs, path::Path};

use nx_journal::{
    Commit, Core, Data, Delete, IndexEntry, NewEvent, Options, Put, backend::sqlite::SqliteBackend, tlog::Proof,
    verify::VerifyOptions,
};
use nx_types::{Env, EventType, Namespace, Rng as _, Seq, Subject, env::SeededRng};

use crate::fixture::{Log, event, fill, options, secret};

/// Every byte that stands on disk under a directory.
fn every_file(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(every_file(&path));
        } else {
            files.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    files
}

/// The data key, as whoever has the master key gets it out of its row.
fn unwrap(wrapped: &[u8], id: u64, namespace: &Namespace) -> Vec<u8> {
    use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let master = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap());
    let aad = [b"nx.key".as_slice(), &id.to_be_bytes(), namespace.as_str().as_bytes()].concat();
    let (nonce, text) = wrapped.split_at(12);
    let mut text = text.to_vec();
    let plain = master.open_in_place(Nonce::try_assume_unique_for_key(nonce).unwrap(), Aad::from(aad), &mut text);
    plain.unwrap()[..32].to_vec()
}

fn find(files: &[(String, Vec<u8>)], needle: &[u8]) -> Option<String> {
    let found = files.iter().find(|(_, bytes)| bytes.windows(needle.len()).any(|window| window == needle));
    found.map(|(name, _)| name.clone())
}

#[test]
fn a_thousand_old_proofs_hold_and_nothing_of_the_content_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), 41);
    let namespace = Namespace::default();
    fill(&mut log, 300);
    // what will be erased: events, a state row with index entries, a blob
    let person = "customer/erased".to_owned();
    let blob = log.core.put_blob(&namespace, &person, secret(7_777).repeat(100).as_bytes()).unwrap();
    let name = blob.to_string();
    let (folder, file) = name.split_at(2);
    let sealed_blob = fs::read(dir.path().join("blobs").join(folder).join(file)).unwrap();
    let mut erased_seqs = Vec::new();
    while log.core.head() < Seq(1_100) {
        let n = log.core.head().0;
        let mut told = NewEvent {
            data_subject: Some(person.clone()),
            ..NewEvent::new(
                namespace.clone(),
                EventType::new("customer.told").unwrap(),
                Subject::new("run/1").unwrap(),
                secret(n).into_bytes(),
            )
        };
        told.blobs = if n.is_multiple_of(50) { vec![blob] } else { Vec::new() };
        let put = Put {
            namespace: namespace.clone(),
            kind: "customer".to_owned(),
            key: "c-1".to_owned(),
            data_subject: person.clone(),
            bytes: secret(5_000 + n).into_bytes(),
            index: vec![IndexEntry { name: "mail".to_owned(), value: b"jane.roe.4711@example.org".to_vec() }],
        };
        erased_seqs.push(log.core.head());
        let mut commit = Commit::of([told, event("step.completed", "run/2", "kept")]);
        commit.events.rotate_left(usize::from(n % 4 == 1));
        commit.puts.push(put);
        log.append(&[commit]);
    }
    log.sign();
    let proofs: Vec<String> = (0..1_000).map(|seq| log.audit().prove(Seq(seq)).unwrap().encode()).collect();
    let raw = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    let key = log.core.reader().data_key(&namespace, &person).unwrap().unwrap();
    let wrapped: Vec<u8> =
        raw.query_row("SELECT wrapped FROM keys WHERE id = ?1", [key.0.cast_signed()], |row| row.get(0)).unwrap();
    let unwrapped = unwrap(&wrapped, key.0, &namespace);
    let ciphertexts: Vec<Vec<u8>> = {
        let mut rows = raw.prepare("SELECT data FROM events WHERE by_key = ?1").unwrap();
        rows.query_map([key.0.cast_signed()], |row| row.get(0)).unwrap().flatten().collect()
    };
    let sealed_row: Vec<u8> =
        raw.query_row("SELECT sealed FROM state WHERE key = 'c-1'", [], |row| row.get(0)).unwrap();
    drop(raw);
    let before = every_file(dir.path());
    assert!(find(&before, &wrapped).is_some() && find(&before, &sealed_row[..64]).is_some());
    assert!(find(&before, b"jane.roe.4711@example.org").is_some() && ciphertexts.len() > 300);

    assert_eq!(find(&before, &unwrapped), None, "a data key stands on disk only wrapped");

    let report = log.core.erase(&[(namespace.clone(), person.clone())], "asked for it", "dpo").unwrap();
    assert_eq!((report.keys.as_slice(), report.rows, report.blobs), ([key].as_slice(), 1, 1));
    assert_eq!(report.events as usize, ciphertexts.len());

    let after = every_file(dir.path());
    let mut needles: Vec<(String, Vec<u8>)> = vec![
        ("the wrapped key".to_owned(), wrapped[12..].to_vec()),
        ("the key".to_owned(), unwrapped),
        ("the sealed row".to_owned(), sealed_row[12..76].to_vec()),
        ("an index value".to_owned(), b"jane.roe.4711@example.org".to_vec()),
        ("the data subject's name".to_owned(), person.clone().into_bytes()),
        ("the blob".to_owned(), sealed_blob[100..164].to_vec()),
    ];
    needles.extend(ciphertexts.iter().map(|sealed| ("sealed data".to_owned(), sealed[12..].to_vec())));
    for (what, needle) in &needles {
        assert_eq!(find(&after, needle), None, "{what} is left");
    }
    for seq in &erased_seqs {
        assert_eq!(find(&after, secret(seq.0).as_bytes()), None, "plain text of event {seq}");
    }
    log.sign();
    let reader = log.core.reader();
    for (seq, proof) in (0..).zip(&proofs) {
        let proof = Proof::parse(proof.as_bytes()).unwrap();
        proof.verify(log.notary.key()).unwrap();
        let event = reader.event(Seq(seq)).unwrap().unwrap();
        assert_eq!(event.header.encode(), proof.leaf.header, "event {seq}");
        assert_eq!(event.data == Data::Erased, event.header.key == key, "event {seq}");
    }
    let fresh = log.audit().prove(erased_seqs[3]).unwrap();
    fresh.verify(log.notary.key()).unwrap();
    let verified = log.audit().verify(&VerifyOptions { blobs: true, ..VerifyOptions::default() }).unwrap();
    assert_eq!(verified.findings, []);
    assert_eq!(verified.erased, report.events);
}

/// Rows whose keys and index entries tell who they are about.
fn order(owner: u64, key: &str, bytes: usize) -> Put {
    Put {
        namespace: Namespace::default(),
        kind: "order".to_owned(),
        key: key.to_owned(),
        data_subject: format!("owner{owner:02}"),
        bytes: vec![b'x'; bytes],
        index: vec![IndexEntry {
            name: "mail".to_owned(),
            value: format!("{}{key}", "-".repeat(bytes / 8)).into_bytes(),
        }],
    }
}

/// Trees of many pages that are split, joined and filled anew.
#[test]
fn neither_keys_nor_values_of_erased_rows_are_left_in_any_gap() {
    const OWNERS: u64 = 5;
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), 43);
    let rng = SeededRng::new(7);
    let pick = |below: usize| rng.next_u64() as usize % below;
    let size = || [10, 40, 100, 280, 700][pick(5)];
    let mut live: Vec<(u64, String)> = Vec::new();
    for n in 0..6_000 {
        let owner = n % OWNERS;
        let key = format!("{:08x}-owner{owner:02}-{n:05}", rng.next_u64() as u32);
        let mut commit = Commit::of([event("customer.changed", "order/1", "changed")]);
        if n % 3 == 2 {
            for _ in 0..2 {
                let (_, gone) = live.swap_remove(pick(live.len()));
                let kind = "order".to_owned();
                commit.deletes.push(Delete { namespace: Namespace::default(), kind, key: gone });
            }
        }
        if n % 2 == 1 {
            let (owner, key) = &live[pick(live.len())];
            commit.puts.push(order(*owner, key, size()));
        }
        commit.puts.push(order(owner, &key, size()));
        live.push((owner, key));
        log.append(&[commit]);
    }
    assert!(find(&every_file(dir.path()), b"owner03").is_some());
    log.core.erase(&[(Namespace::default(), "owner03".to_owned())], "asked for it", "dpo").unwrap();
    for (name, bytes) in every_file(dir.path()) {
        let left = bytes.windows(7).filter(|window| *window == b"owner03").count();
        assert_eq!(left, 0, "keys or index entries of an erased subject in {name}");
    }
    // What is written afterwards brings nothing back.
    for n in 0..400 {
        log.append(&[Commit {
            puts: vec![order(4, &format!("{:08x}-owner04-later{n}", rng.next_u64() as u32), size())],
            ..Commit::of([event("customer.changed", "order/1", "changed")])
        }]);
    }
    assert_eq!(find(&every_file(dir.path()), b"owner03"), None);
    assert_eq!(log.verify().findings, []);
    drop(log);
    assert_eq!(find(&every_file(dir.path()), b"owner03"), None);
}

/// The engine refuses two that write the log back at once, and waits for neither.
#[test]
fn an_erasure_waits_for_the_log_that_is_being_written_back() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { checkpoint_bytes: 64 << 10, ..options(dir.path()) };
    let (env, _clock) = Env::seeded(43);
    let mut core = Core::open(SqliteBackend::open(&options).unwrap(), &options, env).unwrap();
    let page = "x".repeat(4000);
    for round in 0..6 {
        let subject = format!("run/{round}");
        let small = event("step.completed", &subject, "a word");
        let large = || Commit::of((0..900).map(|_| event("step.completed", "run/large", &page)));
        for written in core.append(&[large(), large(), large(), large(), Commit::of([small])]) {
            written.unwrap();
        }
        core.tidy().unwrap();
        let report = core.erase(&[(Namespace::default(), subject)], "asked", "dpo").unwrap();
        assert_eq!(report.events, 1);
    }
}
