//! A log with something of everything, on a real disk.

use std::path::Path;

use nx_journal::{
    Commit, Core, Delete, IndexEntry, MasterKeySource, NewEvent, Options, Put, Reader,
    backend::sqlite::SqliteBackend,
    verify::{Audit, Notary, Report, VerifyOptions},
};
use nx_types::{Env, EventType, Label, Namespace, Seq, Subject, env::ManualClock};

/// Options for a log under test: a fixed master key, no reserve.
pub(crate) fn options(dir: &Path) -> Options {
    Options { min_free_bytes: 0, master: MasterKeySource::Bytes([7; 32].into()), readers: 1, ..Options::new(dir) }
}

/// Text that must not be found on disk.
pub(crate) fn secret(n: u64) -> String {
    format!("the secret of customer {n:05} is {:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

pub(crate) fn event(kind: &str, subject: &str, data: &str) -> NewEvent {
    NewEvent::new(
        Namespace::default(),
        EventType::new(kind).unwrap(),
        Subject::new(subject).unwrap(),
        data.as_bytes().to_vec(),
    )
}

/// A log that stands open.
pub(crate) struct Log {
    pub(crate) core: Core<SqliteBackend>,
    pub(crate) notary: Notary,
    pub(crate) clock: std::sync::Arc<ManualClock>,
}

impl Log {
    pub(crate) fn open(dir: &Path, seed: u64) -> Self {
        let (env, clock) = Env::seeded(seed);
        let options = options(dir);
        let core = Core::open(SqliteBackend::open(&options).unwrap(), &options, env.clone()).unwrap();
        let notary = Notary::open(dir, core.origin(), &env).unwrap();
        Self { core, notary, clock }
    }

    pub(crate) fn append(&mut self, commits: &[Commit]) {
        self.clock.advance(nx_types::Duration::from_micros(1_000));
        self.core.append(commits).into_iter().for_each(|result| drop(result.unwrap()));
    }

    /// Signs the present tree.
    pub(crate) fn sign(&mut self) -> String {
        self.notary.sign_core(&mut self.core).unwrap()
    }

    pub(crate) fn audit(&self) -> Audit {
        audit(self.core.reader(), &self.notary)
    }

    pub(crate) fn verify(&self) -> Report {
        self.audit().verify(&VerifyOptions { blobs: true, ..VerifyOptions::default() }).unwrap()
    }
}

pub(crate) fn audit(reader: Reader, notary: &Notary) -> Audit {
    Audit::new(reader, Some(notary.key().clone()))
}

/// One step of customer `n`: an event with state, a label now and then, a foreign data subject now and then.
pub(crate) fn step(n: u64) -> Commit {
    let customer = n % 40;
    let mut step = event("step.completed", &format!("run/{customer}"), &secret(n));
    if n.is_multiple_of(3) {
        step.data_subject = Some(format!("customer/{customer}"));
    }
    if n.is_multiple_of(5) {
        let label = Label::from_source(format!("mail/{}", n % 4));
        step.label = Some(label.into());
    }
    if n.is_multiple_of(97) {
        step.data = secret(n).repeat(300).into_bytes();
    }
    let mut commit = Commit::of([step]);
    if n % 4 == 1 {
        commit.events.insert(0, event("run.started", &format!("run/{customer}"), "{}"));
    }
    commit.puts.push(Put {
        namespace: Namespace::default(),
        kind: "run".to_owned(),
        key: format!("row-{}", n % 60),
        data_subject: format!("customer/{}", n % 60 % 40),
        bytes: secret(n).into_bytes(),
        index: vec![
            IndexEntry { name: "state".to_owned(), value: vec![(n % 3) as u8] },
            IndexEntry { name: "time".to_owned(), value: n.to_be_bytes().to_vec() },
        ],
    });
    if n % 50 == 49 {
        commit.deletes.push(Delete {
            namespace: Namespace::default(),
            kind: "run".to_owned(),
            key: format!("row-{}", (n + 7) % 60),
        });
    }
    commit
}

/// Fills a log up to `events` at least, with checkpoints on the way.
pub(crate) fn fill(log: &mut Log, events: u64) {
    let mut n = 0;
    while log.core.head() < Seq(events) {
        let group: Vec<Commit> = (n..n + 16).map(step).collect();
        log.append(&group);
        n += 16;
        if n.is_multiple_of(64) {
            log.sign();
        }
    }
    log.sign();
}
