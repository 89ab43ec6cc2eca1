//! Backup, restore, and the `CloudEvents` that go out and come in.

use std::fs;

use nx_journal::{
    Commit, Data, Error, Filter, Journal,
    archive::{CloudEvent, backup, export_cloudevents, import_cloudevents, restore},
    verify::{Notary, VerifyOptions},
};
use nx_types::{Env, Namespace, Seq};

use crate::fixture::{Log, audit, event, fill, options, step};

fn open(dir: &std::path::Path, seed: u64) -> (Journal, nx_journal::Service, Notary) {
    let (env, _clock) = Env::seeded(seed);
    let (journal, service) = Journal::open(options(dir), env.clone()).unwrap();
    let notary = Notary::open(dir, journal.origin(), &env).unwrap();
    (journal, service, notary)
}

#[tokio::test]
async fn a_backup_is_restored_under_a_new_origin_with_old_proofs_and_new_erasures() {
    let dir = tempfile::tempdir().unwrap();
    let (home, copy, new) = (dir.path().join("home"), dir.path().join("backup"), dir.path().join("new"));
    let (journal, service, notary) = open(&home, 51);
    for n in 0..400 {
        journal.commit(step(n)).await.unwrap();
    }
    let blob = journal.put_blob(Namespace::default(), "customer/5".to_owned(), b"a photo".to_vec()).await.unwrap();
    let mut photo = event("photo.taken", "run/5", "{}");
    photo.blobs.push(blob);
    journal.commit(Commit::of([photo])).await.unwrap();
    let checkpoint = notary.sign(&journal).await.unwrap();
    let proof = audit(journal.reader(), &notary).prove(Seq(77)).unwrap();
    let report = backup(&journal, &copy, notary.key()).unwrap();
    assert_eq!((report.manifest.size, report.manifest.blobs), (journal.head().0, 1));
    assert!(
        matches!(backup(&journal, &copy, notary.key()), Err(Error::Archive { .. })),
        "a backup is never overwritten"
    );
    // after the backup: an erasure, and events that the backup does not have
    journal.erase(Namespace::default(), "customer/6".to_owned(), "asked".to_owned(), "dpo".to_owned()).await.unwrap();
    journal.commit(step(1_000)).await.unwrap();
    let (old_origin, old_key) = (journal.origin(), notary.key().clone());
    journal.close().await;
    service.run().await.unwrap();

    let erasures = fs::read(home.join("keys/erasures.jsonl")).unwrap();
    let (env, _clock) = Env::seeded(52);
    let restored = restore(&copy, &options(&new), env, &[erasures]).unwrap();
    assert_ne!(restored.origin, old_origin);
    assert_eq!((restored.restored, restored.erased.keys.len()), (Seq(report.manifest.size), 1));
    assert!(restored.erased.events > 0);

    let (journal, service, notary) = open(&new, 53);
    assert_eq!(journal.origin(), restored.origin);
    journal.commit(step(2_000)).await.unwrap();
    notary.sign(&journal).await.unwrap();
    let reader = journal.reader();
    let first = reader.event(restored.restored).unwrap().unwrap();
    assert_eq!((first.header.kind.as_str(), first.header.origin), ("log.restored", restored.origin));
    let Data::Open(data) = first.data else { panic!("its data is open") };
    let data: serde_json::Value = serde_json::from_slice(&data).unwrap();
    assert_eq!(data["previous"]["checkpoint"], serde_json::Value::from(checkpoint.clone()));
    assert_eq!(journal.blob(&blob).unwrap().unwrap(), b"a photo");
    let erased = reader.events(Seq(0), 10_000, &Filter::default()).unwrap();
    assert!(erased.iter().any(|event| event.data == Data::Erased));
    // the old log's proofs and checkpoints hold for the new one
    proof.verify(&old_key).unwrap();
    let audit = audit(reader, &notary);
    let options = VerifyOptions { checkpoints: vec![checkpoint.into_bytes()], blobs: true, ..VerifyOptions::default() };
    let report = audit.verify(&options).unwrap();
    assert_eq!((report.findings, report.origin), (Vec::new(), Some(restored.origin)));
    journal.close().await;
    service.run().await.unwrap();
}

#[test]
fn damaged_backups_and_directories_in_use_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (home, copy) = (dir.path().join("home"), dir.path().join("backup"));
    let mut log = Log::open(&home, 61);
    fill(&mut log, 300);
    log.sign();
    drop(log);
    let (journal, service, notary) = open(&home, 62);
    backup(&journal, &copy, notary.key()).unwrap();
    drop(journal);
    service.join().unwrap();
    let env = || Env::seeded(63).0;
    let error = restore(&copy, &options(&home), env(), &[]).unwrap_err();
    assert!(error.to_string().contains("holds a log already"), "{error}");
    let error = restore(&home, &options(&dir.path().join("x")), env(), &[]).unwrap_err();
    assert!(error.to_string().contains("is not a backup"), "{error}");
    let error = restore(&copy, &options(&dir.path().join("y")), env(), &[b"nonsense\n".to_vec()]).unwrap_err();
    assert!(error.to_string().contains("line 1: not a note of an erased key"), "{error}");

    let raw = rusqlite::Connection::open(copy.join("journal.db")).unwrap();
    raw.execute("UPDATE events SET data = zeroblob(60) WHERE seq = 9", []).unwrap();
    drop(raw);
    let error = restore(&copy, &options(&dir.path().join("z")), env(), &[]).unwrap_err();
    assert!(error.to_string().starts_with("archive: the backup is damaged: event 9:"), "{error}");
    assert!(!dir.path().join("z/journal.db").exists());
}

#[test]
fn cloudevents_of_a_log_make_another_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(&dir.path().join("a"), 71);
    fill(&mut log, 200);
    log.core.erase(&[(Namespace::default(), "run/3".to_owned())], "asked", "dpo").unwrap();
    let mut out = Vec::new();
    let count = export_cloudevents(&log.core.reader(), Seq(0), &Filter::default(), &mut out, &mut |_| ()).unwrap();
    assert_eq!(count, log.core.head().0);
    let text = String::from_utf8(out.clone()).unwrap();
    assert!(text.contains("\"erased\":true") && text.contains("data_base64"));
    let mut other = Log::open(&dir.path().join("b"), 72);
    let mut events: Vec<CloudEvent> = Vec::new();
    let read = import_cloudevents(&mut out.as_slice(), &mut |event| {
        events.push(event);
        Ok(())
    });
    assert_eq!(read.unwrap(), count);
    let commits: Vec<Commit> =
        events.into_iter().map(|event| Commit::of([event.into_event(Namespace::default()).unwrap()])).collect();
    other.append(&commits);
    let (a, b) =
        (log.core.reader().event(Seq(40)).unwrap().unwrap(), other.core.reader().event(Seq(41)).unwrap().unwrap());
    assert_eq!((a.data, a.header.id, a.header.occurred), (b.data, b.header.id, b.header.occurred));
    assert!(other.verify().is_intact());
}
