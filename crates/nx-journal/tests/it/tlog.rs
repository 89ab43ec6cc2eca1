//! Verification, proofs and exports of an intact log.

use nx_journal::{
    backend::memory::{Disk, MemoryBackend},
    tlog::{Checkpoint, Proof},
    verify::{Notary, VerifyOptions, outside_checkpoint, verify_export},
};
use nx_types::Seq;

use crate::fixture::{Log, fill};

#[test]
fn an_intact_log_has_no_findings_in_any_number_of_slices() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), 1);
    let early = log.sign();
    fill(&mut log, 1_300);
    let blob = log.core.put_blob(&Default::default(), "customer/1", b"a photo").unwrap();
    let mut event = crate::fixture::event("photo.taken", "run/1", "{}");
    event.blobs.push(blob);
    log.append(&[nx_journal::Commit::of([event])]);
    for max_held in [None, Some(1_000), Some(20), Some(3)] {
        let options = VerifyOptions { checkpoints: vec![early.clone().into_bytes()], blobs: true, max_held };
        let report = log.audit().verify(&options).unwrap();
        assert_eq!(report.findings, [], "{max_held:?}");
        assert_eq!(report.events, log.core.head().0);
        assert_eq!(report.root, Some(log.core.tree().1));
        assert_eq!((report.blobs, report.origin), (1, Some(log.core.origin())));
        assert!(report.state_rows > 50, "{max_held:?}");
        assert!(report.checkpoints > 10, "{report:?}");
    }
}

#[test]
fn proofs_stand_alone_and_survive_growth() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), 2);
    fill(&mut log, 700);
    let old = log.sign();
    let proof = log.audit().prove(Seq(300)).unwrap();
    fill(&mut log, 900);
    let growth = log.audit().prove_growth(&old).unwrap();
    growth.verify(log.notary.key()).unwrap();
    let proof = Proof::parse(proof.encode().as_bytes()).unwrap();
    assert_eq!(proof.verify(log.notary.key()).unwrap().size, Checkpoint::parse(old.as_bytes()).unwrap().0.size);
    let header = nx_types::Header::decode(&proof.leaf.header).unwrap();
    assert_eq!(header.seq, Seq(300));
    let error = log.audit().prove(Seq(1_000_000)).unwrap_err();
    assert!(error.to_string().contains("does not hold event 1000000"), "{error}");
}

#[test]
fn an_export_is_verified_with_nothing_but_its_files_and_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(&dir.path().join("log"), 3);
    fill(&mut log, 700);
    let early = log.sign();
    fill(&mut log, 900);
    let to = dir.path().join("export");
    let size = log.audit().export(&to).unwrap();
    let key = log.notary.key();
    let early = outside_checkpoint(early.as_bytes(), Some(key)).unwrap();
    let report = verify_export(&to, key, &[early]).unwrap();
    assert_eq!((report.findings, report.events, report.origin), (Vec::new(), size, Some(log.core.origin())));
    for path in ["checkpoint", "tile/0/000", "tile/0/001", "tile/entries/000", "tile/entries/002"] {
        assert!(to.join(path).exists(), "{path}");
    }
}

#[test]
fn the_memory_backend_verifies_too() {
    let (env, _clock) = nx_types::Env::seeded(4);
    let options = crate::fixture::options(std::path::Path::new("unused"));
    let mut core = nx_journal::Core::open(MemoryBackend::open(&Disk::new()), &options, env).unwrap();
    for n in 0..300 {
        core.append(&[crate::fixture::step(n)])[0].as_ref().unwrap();
    }
    let audit = nx_journal::verify::Audit::new(core.reader(), None);
    assert_eq!(audit.verify(&VerifyOptions::default()).unwrap().findings, []);
}

#[tokio::test]
async fn a_notary_signs_while_the_log_grows_and_ends_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (env, _clock) = nx_types::Env::seeded(5);
    let (journal, service) = nx_journal::Journal::open(crate::fixture::options(dir.path()), env.clone()).unwrap();
    let notary = Notary::open(dir.path(), journal.origin(), &env).unwrap();
    let writer = async {
        let mut head = 0;
        for n in 0..20 {
            head = journal.commit(crate::fixture::step(n)).await.unwrap().last.0 + 1;
            tokio::task::yield_now().await;
        }
        // the last commit is covered without anybody asking
        let audit = crate::fixture::audit(journal.reader(), &notary);
        loop {
            let note = audit.newest_checkpoint().unwrap();
            if note.is_some_and(|note| Checkpoint::open(note.as_bytes(), notary.key()).unwrap().size == head) {
                break;
            }
            tokio::task::yield_now().await;
        }
        journal.close().await;
    };
    let (ran, ()) = tokio::join!(notary.run(journal.clone(), std::time::Duration::ZERO), writer);
    ran.unwrap();
    service.run().await.unwrap();
    // the same key is found again, and only its owner may read it
    assert_eq!(Notary::open(dir.path(), journal.origin(), &env).unwrap().key(), notary.key());
    let path = dir.path().join("keys/checkpoint.key");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let error = Notary::open(dir.path(), journal.origin(), &env).unwrap_err();
    assert!(error.to_string().contains("others may read"), "{error}");
}

/// The files of an export, as the tile client of another implementation asks for them.
struct Files(std::path::PathBuf);

impl tlog_tiles::TileReader for Files {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        // C2SP leaves the height out of the path
        let read = |tile: &tlog_tiles::Tile| std::fs::read(self.0.join(tile.path().replacen("tile/8/", "tile/", 1)));
        Ok(tiles.iter().map(|tile| read(tile).unwrap()).collect())
    }

    fn save_tiles(&self, _tiles: &[tlog_tiles::Tile], _data: &[Vec<u8>]) {}
}

#[test]
fn another_implementation_reads_the_export() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(&dir.path().join("log"), 6);
    fill(&mut log, 1_000);
    let files = Files(dir.path().join("export"));
    let size = log.audit().export(&files.0).unwrap();
    let note = std::fs::read_to_string(files.0.join("checkpoint")).unwrap();
    let text = note.split("\n\n").next().unwrap();
    let checkpoint = tlog_tiles::Checkpoint::from_bytes(format!("{text}\n").as_bytes()).unwrap();
    let reader = tlog_tiles::TileHashReader::new(size, *checkpoint.hash(), &files);
    for seq in [0, 1, 255, 256, 700, size - 1] {
        let path = tlog_tiles::prove_record(size, seq, &reader).unwrap();
        let bundle = nx_journal::tlog::entries_path(seq / 256, nx_journal::tlog::tile_width(size, 0, seq / 256));
        let leaves = nx_journal::tlog::parse_entries(&std::fs::read(files.0.join(bundle)).unwrap()).unwrap();
        let leaf = tlog_tiles::record_hash(&leaves[(seq % 256) as usize].encode());
        tlog_tiles::check_record(&path, size, *checkpoint.hash(), seq, leaf).unwrap();
        let ours: Vec<[u8; 32]> = log.audit().prove(Seq(seq)).unwrap().path.iter().map(|hash| hash.0).collect();
        assert_eq!(path.iter().map(|hash| hash.0).collect::<Vec<_>>(), ours);
    }
}
