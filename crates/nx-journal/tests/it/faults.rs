//! Bad luck: crashes at every write, SIGKILL, full disks, damaged pages, a second process, a newer format.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use nx_journal::{
    Commit, Core, Data, Error, Filter, Journal, Options,
    backend::{memory::Disk, memory::MemoryBackend, sqlite::SqliteBackend},
};
use nx_types::{Env, ErrorCode as _, Namespace, Rng as _, Seq, env::SeededRng};

use crate::support::{InMemory, Log, OnDisk, Place as _, change, event, master, put, subject};

fn all() -> Filter {
    Filter::default()
}

/// Several groups with something of everything in them; gives how many commits were acknowledged, group by group.
fn work(core: &mut Core<MemoryBackend>) -> Vec<usize> {
    let mut acknowledged = Vec::new();
    for group in 0..6u8 {
        let commits: Vec<Commit> = (0..3)
            .map(|number| {
                let mut commit = change(vec![put("run", &format!("{group}"), "x", &[("n", &[number])])], vec![]);
                commit.events.push(event(&format!("run/{group}"), "a", &format!("{group}.{number}")));
                commit
            })
            .collect();
        acknowledged.push(core.append(&commits).into_iter().flatten().count());
        if group == 3 {
            drop(core.erase(&[(Namespace::default(), "run/1".to_owned())], "asked", "me"));
        }
        if group == 4
            && let Ok(id) = core.put_blob(&Namespace::default(), "run/4", b"content")
        {
            let mut new = event("run/4", "a", "with a blob");
            new.blobs = vec![id];
            drop(core.append(&[Commit::of([new])]));
        }
    }
    acknowledged
}

#[test]
fn a_crash_at_any_write_loses_no_acknowledged_commit() {
    let whole = {
        let mut log = Log::<InMemory>::new();
        work(log.core());
        log.place.0.writes()
    };
    let mut crashes = 0;
    for write in 0..=whole {
        let disk = Disk::new();
        let (env, _) = Env::seeded(7);
        let options = Options { master: master(), min_free_bytes: 0, ..Options::new("") };
        // The crash may come while the log is being created.
        let backend = MemoryBackend::open(&disk);
        disk.crash_at(write);
        let acknowledged = match Core::open(backend, &options, env.clone()) {
            Ok(mut core) => work(&mut core),
            Err(error) => {
                assert!(matches!(error, Error::Crashed), "{error}");
                Vec::new()
            }
        };
        crashes += u64::from(disk.has_crashed());
        let mut core = Core::open(MemoryBackend::open(&disk), &options, env).unwrap();
        let reader = core.reader();
        for (group, count) in acknowledged.iter().enumerate() {
            let about = subject(&format!("run/{group}"));
            let version = reader.subject_version(&Namespace::default(), &about).unwrap();
            assert!(version == 0 || version >= 3, "groups are whole: {group} has {version} at write {write}");
            assert!(version as usize >= *count, "acknowledged is there: {group} at write {write}");
            let row = reader.state(&Namespace::default(), "run", &group.to_string()).unwrap();
            // The row's data subject is the run, of which one was erased.
            let erased = row.is_none() && group == 1 && acknowledged.len() > 3;
            assert!(erased || row.map_or(0, |row| row.version) == version.min(3), "rows go with their events");
        }
        for event in reader.events(Seq(0), 1000, &all()).unwrap() {
            assert_eq!(Some(event.header.seq), reader.event(event.header.seq).unwrap().map(|event| event.seq()));
        }
        // The log goes on, and its tree is the one that its records make.
        core.append(&[Commit::of([event("run/9", "a", "after")])]).remove(0).unwrap();
        let tree = core.tree();
        drop(core);
        let core = Core::open(MemoryBackend::open(&disk), &options, Env::seeded(8).0).unwrap();
        assert_eq!(core.tree(), tree);
    }
    assert!(crashes > 100, "{crashes}");
}

const CHILD: &str = "NX_JOURNAL_TEST_CHILD";

/// Not a test by itself: the process that [`sigkill_loses_nothing_acknowledged`] starts and kills.
#[test]
fn child_that_commits_until_it_is_killed() {
    #[expect(clippy::disallowed_methods, reason = "the parent test tells its child what to do")]
    let Ok(dir) = std::env::var(CHILD) else { return };
    let options = Options { master: master(), min_free_bytes: 0, checkpoint_bytes: 64 << 10, ..Options::new(dir) };
    let (journal, service) = Journal::open(options, Env::system()).unwrap();
    let head = journal.head().0;
    let (acknowledge, acknowledged) = std::sync::mpsc::sync_channel(1000);
    for number in head.. {
        let acknowledge = acknowledge.clone();
        let mut commit = change(vec![put("run", &(number % 10).to_string(), &number.to_string(), &[])], vec![]);
        commit.events[0].data = format!("{number} ").repeat((number % 300) as usize).into_bytes();
        let done = move |result: Result<nx_journal::Receipt, Error>| {
            acknowledge.send(result.unwrap().last.0).unwrap();
        };
        journal.submit(commit, Box::new(done)).unwrap();
        if number % 20 == 19 {
            println!("ack {}", acknowledged.recv().unwrap());
        }
        while let Ok(seq) = acknowledged.try_recv() {
            println!("ack {seq}");
        }
    }
    drop((journal, service));
}

#[test]
fn sigkill_loses_nothing_acknowledged() {
    let place = OnDisk::fresh();
    let random = SeededRng::new(11);
    let mut head = 0;
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "faults::child_that_commits_until_it_is_killed", "--nocapture", "--test-threads=1"])
            .env(CHILD, place.0.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let enough = 1 + random.next_u64() % 400;
        let mut acknowledged = 0;
        let mut count = 0;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in &mut lines {
            let line = line.unwrap();
            let Some((_, seq)) = line.split_once("ack ") else { continue };
            acknowledged = acknowledged.max(seq.parse::<u64>().unwrap());
            count += 1;
            if count == enough {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(count >= enough, "round {round}: the child died early, after {count} of {enough}");
        let (env, _) = Env::seeded(round);
        let core = Core::open(place.backend(), &place.options(), env).unwrap();
        assert!(core.head().0 > acknowledged, "round {round}");
        assert!(core.head().0 > head);
        head = core.head().0;
    }
    let log = Core::open(place.backend(), &place.options(), Env::seeded(99).0).unwrap();
    let reader = log.reader();
    for event in reader.events(Seq(1), 10_000, &all()).unwrap() {
        // Each holds the number of the place that it was meant for: nothing slipped or was written twice.
        let Data::Open(data) = &event.data else { panic!("{event:?}") };
        let seq = event.header.seq.0;
        assert_eq!(*data, format!("{seq} ").repeat((seq % 300) as usize).into_bytes());
    }
    assert!(log.doctor().unwrap().is_healthy());
}

/// Not a test by itself: the process that [`failing_writes_refuse_cleanly_and_lose_nothing`] starts under a limit.
#[test]
fn child_that_commits_until_writes_fail() {
    #[expect(clippy::disallowed_methods, reason = "the parent test tells its child what to do")]
    let Ok(dir) = std::env::var(LIMITED) else { return };
    let options = Options { master: master(), min_free_bytes: 0, ..Options::new(dir) };
    let mut core = Core::open(SqliteBackend::open(&options).unwrap(), &options, Env::system()).unwrap();
    let mut failures = 0;
    while failures < 3 {
        match core.append(&[Commit::of([event("run/1", "a", &"content ".repeat(1000))])]).remove(0) {
            Ok(receipt) => println!("ack {}", receipt.last),
            Err(error) => {
                println!("err {}{}", error.code(), if error.retryable() { " retryable" } else { "" });
                failures += 1;
            }
        }
        // What is acknowledged stays readable whatever the disk does.
        assert_eq!(core.reader().head().unwrap(), core.head());
    }
}

const LIMITED: &str = "NX_JOURNAL_TEST_LIMITED";

#[test]
fn failing_writes_refuse_cleanly_and_lose_nothing() {
    let place = OnDisk::fresh();
    let child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 4096; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "faults::child_that_commits_until_writes_fail", "--nocapture", "--test-threads=1"])
        .env(LIMITED, place.0.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}{}", String::from_utf8_lossy(&child.stderr));
    let acknowledged = said.lines().filter(|line| line.contains("ack ")).count() as u64;
    // A file that may not grow stands for a quota, which would need a file system of its own: neither is a broken disk.
    assert_eq!(said.lines().filter(|line| line.contains("err NX-JRN-0007 retryable")).count(), 3, "{said}");
    assert!(acknowledged > 20, "{said}");
    let (env, _) = Env::seeded(3);
    let mut core = Core::open(place.backend(), &place.options(), env).unwrap();
    assert_eq!(core.head(), Seq(acknowledged + 1));
    assert_eq!(core.reader().events(Seq(0), 10_000, &all()).unwrap().len() as u64, acknowledged + 1);
    core.append(&[Commit::of([event("run/1", "a", "goes on")])]).remove(0).unwrap();
    assert!(core.doctor().unwrap().is_healthy());
}

#[test]
fn a_full_disk_refuses_cleanly_and_loses_nothing() {
    let place = OnDisk::fresh();
    let options = Options { max_bytes: Some(400 << 10), ..place.options() };
    let (env, _) = Env::seeded(5);
    let mut core = Core::open(SqliteBackend::open(&options).unwrap(), &options, env.clone()).unwrap();
    let mut acknowledged = 1;
    let error = loop {
        let commits: Vec<Commit> = (0..7).map(|_| Commit::of([event("run/1", "a", &"content ".repeat(100))])).collect();
        let results = core.append(&commits);
        match results.into_iter().collect::<Result<Vec<_>, _>>() {
            Ok(_) => acknowledged += 7,
            Err(error) => break error,
        }
        assert!(acknowledged < 10_000, "the bound holds");
    };
    assert_eq!((error.code().as_str(), error.retryable()), ("NX-JRN-0007", true), "{error}");
    assert_eq!(core.head(), Seq(acknowledged));
    let tree = core.tree();
    // Still readable, still refusing, still in order.
    assert_eq!(core.reader().events(Seq(0), 10_000, &all()).unwrap().len() as u64, acknowledged);
    let again = core.append(&[Commit::of([event("run/1", "a", &"content ".repeat(2000))])]).remove(0).unwrap_err();
    assert!(matches!(again, Error::DiskFull), "{again}");
    assert_eq!(core.tree(), tree);
    drop(core);
    // With room again it goes on.
    let options = place.options();
    let mut core = Core::open(SqliteBackend::open(&options).unwrap(), &options, env).unwrap();
    assert_eq!(core.tree(), tree);
    core.append(&[Commit::of([event("run/1", "a", "more")])]).remove(0).unwrap();
    assert_eq!(core.head(), Seq(acknowledged + 1));
    assert!(core.doctor().unwrap().is_healthy());
}

#[test]
fn below_the_reserve_only_erasing_is_allowed() {
    let place = OnDisk::fresh();
    let (env, _) = Env::seeded(5);
    let mut core = Core::open(place.backend(), &place.options(), env.clone()).unwrap();
    core.append(&[Commit::of([event("run/1", "a", "x")])]).remove(0).unwrap();
    drop(core);
    let options = Options { min_free_bytes: u64::MAX, ..place.options() };
    let mut core = Core::open(SqliteBackend::open(&options).unwrap(), &options, env).unwrap();
    let error = core.append(&[Commit::of([event("run/1", "a", "x")])]).remove(0).unwrap_err();
    assert_eq!((error.code().as_str(), error.retryable()), ("NX-JRN-0008", true));
    let error = core.put_blob(&Namespace::default(), "run/1", b"x").unwrap_err();
    assert_eq!(error.code().as_str(), "NX-JRN-0008");
    assert_eq!(core.erase(&[(Namespace::default(), "run/1".to_owned())], "asked", "me").unwrap().events, 1);
    core.gc(nx_types::Duration::ZERO).unwrap();
    assert!(!core.doctor().unwrap().is_healthy());
}

#[test]
fn a_full_simulated_disk_fails_the_group_whole() {
    let mut log = Log::<InMemory>::new();
    log.events([event("run/1", "a", "x")]);
    log.place.0.set_full(true);
    let results = log.core().append(&[Commit::of([event("run/2", "a", "x")]), Commit::default()]);
    assert!(results.iter().all(|result| matches!(result, Err(Error::DiskFull))));
    log.place.0.set_full(false);
    assert_eq!(log.events([event("run/2", "a", "x")]).last, Seq(2));
}

#[test]
fn a_second_process_is_told_who_has_the_directory() {
    let place = OnDisk::fresh();
    let _core = Core::open(place.backend(), &place.options(), Env::seeded(1).0).unwrap();
    let error = SqliteBackend::open(&place.options()).unwrap_err();
    assert_eq!((error.code().as_str(), error.retryable()), ("NX-JRN-0009", true));
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
}

#[test]
fn a_newer_format_is_refused_untouched() {
    for (change, found) in
        [("PRAGMA user_version=2", 2), ("UPDATE meta SET value = x'0900000000000000' WHERE name = 'format'", 9)]
    {
        let place = OnDisk::fresh();
        drop(Core::open(place.backend(), &place.options(), Env::seeded(1).0).unwrap());
        let connection = rusqlite::Connection::open(place.0.path().join("journal.db")).unwrap();
        connection.execute_batch(change).unwrap();
        drop(connection);
        let opened = SqliteBackend::open(&place.options())
            .and_then(|backend| Core::open(backend, &place.options(), Env::seeded(1).0));
        let error = opened.unwrap_err();
        assert!(matches!(error, Error::UnknownFormat { found: is, known: 1 } if is == found), "{error}");
        assert_eq!(error.code().as_str(), "NX-JRN-0010");
    }
    let place = OnDisk::fresh();
    fs::write(place.0.path().join("journal.db"), b"not a database at all, but some text of a user".repeat(100))
        .unwrap();
    assert_eq!(SqliteBackend::open(&place.options()).unwrap_err().code().as_str(), "NX-JRN-0011");
}

#[test]
fn a_missing_or_wrong_master_key_is_explained() {
    let place = OnDisk::fresh();
    let options = Options { min_free_bytes: 0, ..Options::new(place.0.path()) };
    let open = |options: &Options| {
        SqliteBackend::open(options).and_then(|backend| Core::open(backend, options, Env::seeded(1).0)).map(drop)
    };
    open(&options).unwrap();
    open(&options).unwrap();
    let file = place.0.path().join("keys/master.key");
    let key = fs::read_to_string(&file).unwrap();
    assert_eq!(key.trim().len(), 64);
    let env =
        |text: &str| Options { master: nx_journal::MasterKeySource::Env(text.to_owned().into()), ..options.clone() };
    open(&env(&key)).unwrap();
    for bad in [env("12"), env(&"g".repeat(64)), env(&"0".repeat(64)), Options { master: master(), ..options.clone() }]
    {
        assert_eq!(open(&bad).unwrap_err().code().as_str(), "NX-JRN-0013");
    }
    fs::remove_file(&file).unwrap();
    let error = open(&options).unwrap_err();
    assert_eq!(error.code().as_str(), "NX-JRN-0013");
    assert!(error.to_string().contains("put the log's key back"), "{error}");
    assert!(!file.exists(), "a new key would hide the loss");
}

#[test]
fn damaged_pages_are_errors_that_name_their_place() {
    let place = OnDisk::fresh();
    let mut core = Core::open(place.backend(), &place.options(), Env::seeded(1).0).unwrap();
    for number in 0..300 {
        let mut commit = change(vec![put("run", &number.to_string(), "row", &[("n", &[1])])], vec![]);
        commit.events.push(event(&format!("run/{}", number % 9), "a", &number.to_string().repeat(300)));
        core.append(&[commit]).remove(0).unwrap();
    }
    let expected = core.reader().events(Seq(0), 10_000, &all()).unwrap();
    drop(core);
    let path = place.0.path().join("journal.db");
    drop(rusqlite::Connection::open(&path).unwrap().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
    let whole = fs::read(&path).unwrap();
    let (mut corrupt, mut silent) = (0, 0);
    for page in (0..whole.len() / 4096).step_by(3) {
        let mut bytes = whole.clone();
        bytes[page * 4096..(page + 1) * 4096]
            .iter_mut()
            .enumerate()
            .for_each(|(at, byte)| *byte ^= (at * 31 + 7) as u8);
        fs::write(&path, &bytes).unwrap();
        let result = SqliteBackend::open(&place.options())
            .and_then(|backend| Core::open(backend, &place.options(), Env::seeded(2).0))
            .and_then(|core| {
                let reader = core.reader();
                core.doctor().map(|report| silent += u32::from(report.is_healthy()))?;
                for key in 0..300 {
                    reader.state(&Namespace::default(), "run", &key.to_string())?;
                }
                reader.by_subject(&Namespace::default(), &subject("run/3"), None, 1000, false)?;
                reader.events(Seq(0), 10_000, &all())
            });
        match result {
            Ok(events) => assert_eq!(events, expected, "page {page} is read wrong"),
            Err(error) => {
                assert_eq!(error.code().as_str(), "NX-JRN-0011", "page {page}: {error}");
                corrupt += 1;
            }
        }
        for name in ["journal.db-wal", "journal.db-shm"] {
            drop(fs::remove_file(place.0.path().join(name)));
        }
    }
    assert!(corrupt > 20, "{corrupt}");
    assert_eq!(silent, 0, "doctor sees every damaged page");
}
