//! The handle: groups, order, subscriptions, cursors, bounds, closing.

use std::sync::{Arc, Mutex};

use nx_journal::{
    Commit, Core, Data, Error, Filter, Journal, Options, Service,
    backend::memory::{Disk, MemoryBackend},
};
use nx_types::{Env, ErrorCode as _, Namespace, Seq};

use crate::support::{OnDisk, Place as _, change, event, master, ns, put, subject};

fn open(place: &OnDisk, edit: impl FnOnce(&mut Options)) -> (Journal, Service) {
    let mut options = place.options();
    edit(&mut options);
    Journal::open(options, Env::system()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_get_one_gapless_log() {
    let place = OnDisk::fresh();
    let (journal, service) = open(&place, |_| {});
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..16 {
        let journal = journal.clone();
        writers.spawn(async move {
            let mut seqs = Vec::new();
            for number in 0..40 {
                let about = format!("run/{writer}");
                let receipt = journal.commit(Commit::of([event(&about, "a", &number.to_string())])).await.unwrap();
                // Acknowledged means readable, at once and by anybody.
                let found = journal.reader().event(receipt.last).unwrap().unwrap();
                assert_eq!(found.data, Data::Open(number.to_string().into_bytes()));
                seqs.push(receipt.last.0);
            }
            seqs
        });
    }
    let mut seqs: Vec<u64> = writers.join_all().await.into_iter().flatten().collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=640).collect::<Vec<_>>());
    assert_eq!(journal.head(), Seq(641));
    let stats = journal.stats().await.unwrap();
    assert_eq!(stats.events, 641);
    assert!(stats.groups > 0 && stats.sync_p50_us > 0);
    assert!(journal.doctor().await.unwrap().is_healthy());
    journal.close().await;
    service.run().await.unwrap();
    assert!(matches!(journal.commit(Commit::default()).await, Err(Error::Closed)));
    let (journal, service) = open(&place, |_| {});
    assert_eq!(journal.head(), Seq(641));
    drop(journal);
    service.run().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_come_in_the_order_of_submission() {
    let place = OnDisk::fresh();
    let (journal, service) = open(&place, |_| {});
    let order = Arc::new(Mutex::new(Vec::new()));
    for number in 0..200u64 {
        let order = order.clone();
        // Every third is refused: refusals keep their place in line.
        let data = if number % 3 == 0 { "x".repeat(20_000) } else { String::new() };
        let done = Box::new(move |result: Result<_, Error>| order.lock().unwrap().push((number, result.is_ok())));
        journal.submit(Commit::of([event("run/1", "a", &data)]), done).unwrap();
    }
    journal.close().await;
    service.run().await.unwrap();
    let expected: Vec<_> = (0..200).map(|number| (number, number % 3 != 0)).collect();
    assert_eq!(*order.lock().unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_told_at_once() {
    let place = OnDisk::fresh();
    let (journal, service) = open(&place, |options| options.queue = 4);
    // The writer is held up, so that the queue fills.
    let (release, held) = std::sync::mpsc::sync_channel::<()>(1);
    let (entered, is_in) = std::sync::mpsc::sync_channel::<()>(1);
    let hold = Box::new(move |_: Result<_, Error>| {
        entered.send(()).unwrap();
        held.recv().unwrap();
    });
    journal.submit(Commit::of([event("run/1", "a", "")]), hold).unwrap();
    is_in.recv().unwrap();
    for _ in 0..4 {
        journal.submit(Commit::of([event("run/1", "a", "")]), Box::new(|result| drop(result.unwrap()))).unwrap();
    }
    let error = journal.submit(Commit::default(), Box::new(|_| panic!("never called"))).unwrap_err();
    assert_eq!((error.code().as_str(), error.retryable()), ("NX-JRN-0005", true));
    release.send(()).unwrap();
    journal.commit(Commit::of([event("run/1", "a", "")])).await.unwrap();
    assert_eq!(journal.head(), Seq(7));
    journal.close().await;
    service.run().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_catch_up_and_follow_without_a_gap() {
    let place = OnDisk::fresh();
    let (journal, service) = open(&place, |options| options.subscription_batch = 7);
    for number in 0..50 {
        journal.commit(Commit::of([event("run/1", "a.b", &number.to_string())])).await.unwrap();
    }
    let mut all = journal.subscribe(Seq(0), Filter::default());
    let mut some = journal.subscribe(
        Seq(10),
        Filter { types: vec!["a.".to_owned()], namespace: Some(Namespace::default()), ..Filter::default() },
    );
    let mut one = journal.subscribe(
        Seq(0),
        Filter { namespace: Some(Namespace::default()), subject: Some(subject("run/2")), ..Filter::default() },
    );
    let writer = {
        let journal = journal.clone();
        async move {
            for number in 0..50 {
                let mut other = event("run/2", "c", "");
                other.namespace = ns("other");
                let events = [event("run/2", "a.c", &number.to_string()), event("run/2", "b", ""), other];
                journal.commit(Commit::of(events)).await.unwrap();
            }
        }
    };
    let reader = async {
        let (mut seqs, mut kinds, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        while seqs.len() < 201 {
            seqs.extend(all.next().await.unwrap().iter().map(|event| event.header.seq.0));
        }
        while kinds.len() < 91 {
            kinds.extend(some.next().await.unwrap().iter().map(|event| event.header.kind.to_string()));
        }
        while texts.len() < 100 {
            texts.extend(one.next().await.unwrap().iter().map(|event| event.header.kind.to_string()));
        }
        assert_eq!(seqs, (0..201).collect::<Vec<_>>());
        assert_eq!(kinds.iter().filter(|kind| *kind == "a.b").count(), 41);
        assert_eq!(kinds.iter().filter(|kind| *kind == "a.c").count(), 50);
        assert_eq!(texts.iter().filter(|kind| *kind == "b").count(), 50);
    };
    tokio::join!(writer, reader);
    assert_eq!(all.position(), Seq(201));
    journal.store_cursor("watcher", all.position()).await.unwrap();
    assert_eq!(journal.cursor("watcher").unwrap(), Some(Seq(201)));
    journal.close().await;
    service.run().await.unwrap();
    assert!(matches!(all.next().await, Err(Error::Closed)));
}

/// Two followers, one of which stops now and then, see exactly what is on disk, whatever the timing; the slow one falls
/// behind the events that are kept in memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_follower_falls_back_to_the_disk() {
    let place = OnDisk::fresh();
    let (journal, service) = open(&place, |_| {});
    let mut slow = journal.subscribe(Seq(0), Filter::default());
    let mut fast = journal.subscribe(journal.head(), Filter { types: vec!["b".to_owned()], ..Filter::default() });
    let first = slow.next().await.unwrap();
    assert_eq!(first.len(), 1);
    let data = "x".repeat(4000);
    for _ in 0..30 {
        let events = (0..100).flat_map(|_| [event("run/1", "a", &data), event("run/1", "b", "")]);
        journal.commit(Commit::of(events)).await.unwrap();
        let mut seen = 0;
        while seen < 100 {
            seen += fast.next().await.unwrap().len();
        }
        assert_eq!(seen, 100);
    }
    let on_disk = journal.reader().events(Seq(1), 10_000, &Filter::default()).unwrap();
    let mut followed = Vec::new();
    while followed.len() < on_disk.len() {
        followed.extend(slow.next().await.unwrap());
    }
    assert_eq!(followed, on_disk);
    // What was erased is handed out by nobody.
    let mut late = journal.subscribe(Seq(1), Filter::default());
    journal.erase(Namespace::default(), "run/1".to_owned(), "asked".to_owned(), "me".to_owned()).await.unwrap();
    let events = late.next().await.unwrap();
    assert!(events.iter().all(|event| event.data == Data::Erased));
    journal.close().await;
    service.run().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_and_erasure_by_the_handle() {
    let place = OnDisk::fresh();
    let (journal, service) = open(&place, |options| options.max_blob_bytes = 1000);
    let content = vec![5; 1000];
    let id = journal.put_blob(Namespace::default(), "run/1".to_owned(), content.clone()).await.unwrap();
    let mut new = event("run/1", "a", "x");
    new.blobs = vec![id];
    journal.commit(Commit::of([new])).await.unwrap();
    assert_eq!(journal.blob(&id).unwrap(), Some(content));
    let error = journal.put_blob(Namespace::default(), "run/1".to_owned(), vec![0; 1001]).await.unwrap_err();
    assert_eq!(error.code().as_str(), "NX-JRN-0003");
    let report =
        journal.erase(Namespace::default(), "run/1".to_owned(), "asked".to_owned(), "me".to_owned()).await.unwrap();
    assert_eq!((report.events, report.blobs), (1, 1));
    assert_eq!(journal.head(), Seq(3), "the erasure's event is published");
    assert_eq!(journal.blob(&id).unwrap(), None);
    journal.close().await;
    service.run().await.unwrap();
}

/// After an orderly end the database is one file, though connections for reading were open and a handle still is.
#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_end_leaves_no_write_ahead_log() {
    let place = OnDisk::fresh();
    let (journal, service) = open(&place, |_| {});
    let mut live = journal.subscribe(Seq(0), Filter::default());
    journal.commit(Commit::of([event("run/1", "a", "x")])).await.unwrap();
    assert!(!live.next().await.unwrap().is_empty());
    assert_eq!(journal.reader().events(Seq(0), 10, &Filter::default()).unwrap().len(), 2);
    assert!(place.0.path().join("journal.db-wal").exists());
    journal.close().await;
    service.run().await.unwrap();
    for name in ["journal.db-wal", "journal.db-shm"] {
        assert!(!place.0.path().join(name).exists(), "`{name}` is left");
    }
    drop(journal);
    let (journal, service) = open(&place, |_| {});
    assert_eq!(journal.head(), Seq(2));
    journal.close().await;
    service.run().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_disk_fails_every_commit_and_acknowledges_none() {
    let disk = Disk::new();
    let options = Options { master: master(), min_free_bytes: 0, ..Options::new("") };
    let (env, _) = Env::seeded(3);
    let core = Core::open(MemoryBackend::open(&disk), &options, env.clone()).unwrap();
    let (journal, service) = Journal::start(core, options.clone()).unwrap();
    journal.commit(change(vec![put("run", "1", "x", &[])], vec![])).await.unwrap();
    disk.crash_at(disk.writes() + 1);
    for _ in 0..3 {
        let error = journal.commit(Commit::of([event("run/1", "a", "")])).await.unwrap_err();
        assert_eq!(error.code().as_str(), "NX-JRN-0020");
    }
    journal.close().await;
    service.run().await.unwrap();
    let core = Core::open(MemoryBackend::open(&disk), &options, env).unwrap();
    assert_eq!(core.head(), Seq(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_waits_for_a_long_reader_and_the_log_goes_on() {
    let place = OnDisk::fresh();
    let (journal, service) = open(&place, |_| {});
    journal.commit(Commit::of([event("run/1", "a", "secret")])).await.unwrap();
    let (entered, is_in) = tokio::sync::oneshot::channel();
    let (release, held) = std::sync::mpsc::sync_channel::<()>(1);
    let reader = journal.reader();
    let reading = tokio::task::spawn_blocking(move || {
        reader.rows(|rows| {
            let head = rows.head();
            entered.send(()).unwrap();
            held.recv().unwrap();
            head
        })
    });
    is_in.await.unwrap();
    let mut erasing =
        Box::pin(journal.erase(Namespace::default(), "run/1".to_owned(), "asked".to_owned(), "me".to_owned()));
    let mut commits = 0;
    loop {
        // The erasure is under way, held up by the reader, and others are served.
        tokio::select! {
            biased;
            _ = &mut erasing => panic!("the reader still sees what was erased"),
            receipt = journal.commit(Commit::of([event("run/2", "a", "other")])) => drop(receipt.unwrap()),
        }
        commits += 1;
        if commits == 20 {
            release.send(()).unwrap();
            break;
        }
    }
    assert_eq!(erasing.await.unwrap().events, 1);
    assert_eq!(reading.await.unwrap().unwrap(), 2);
    assert!(journal.doctor().await.unwrap().is_healthy());
    journal.close().await;
    service.run().await.unwrap();
}
