//! Measuring the log: how many events it takes a second, what one costs in CPU and bytes, how fast it is verified.
//!
//! Figures are measured, never judged; `neuraxis bench journal.append` and `journal.verify` print them.

use std::{
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};

use nx_types::{Clock as _, Digest, Env, EventType, Namespace, Subject, Timestamp, env::SystemClock};
use rustix::time::{ClockId, clock_gettime};

use crate::{
    Commit, Core, Error, Journal, NewEvent, Options, Put,
    backend::sqlite::{FILE, SqliteBackend},
    tlog::{Edge, leaf_hash, sha256},
    verify::{Audit, VerifyOptions},
};

/// What is appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendConfig {
    /// Events to append.
    pub events: u64,
    /// Commits that are under way at once, each of one event.
    pub outstanding: usize,
    /// Bytes of data of each event; incompressible.
    pub data_bytes: usize,
    /// Events of one subject before the next one starts.
    pub events_per_subject: u64,
    /// Whether each commit also writes its subject's state row.
    pub state: bool,
}

impl Default for AppendConfig {
    fn default() -> Self {
        Self { events: 200_000, outstanding: 1024, data_bytes: 64, events_per_subject: 50, state: false }
    }
}

/// What appending took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AppendFigures {
    /// Events made durable in a second.
    pub events_per_s: f64,
    /// CPU time of the whole process for one event, in microseconds.
    pub cpu_us: f64,
    /// Of it: sealing the data.
    pub seal_us: f64,
    /// Of it: digest, leaf hash and tree.
    pub tree_us: f64,
    /// Bytes on disk for one event, after the write-ahead log is written back.
    pub bytes_per_event: f64,
    /// The disk's median time to make a group durable, in microseconds.
    pub sync_p50_us: u64,
    /// Groups written.
    pub groups: u64,
}

/// What verifying took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VerifyFigures {
    /// Events verified in a second.
    pub events_per_s: f64,
    /// CPU time for one event, in microseconds.
    pub cpu_us: f64,
    /// Findings; 0 in a log that nobody touched.
    pub findings: usize,
}

/// What is stored before data subjects are erased: one event and one state row in each commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EraseConfig {
    /// Events, and as many rows.
    pub rows: u64,
    /// Data subjects that they belong to in turn.
    pub subjects: u64,
    /// Subjects to erase, one after the other.
    pub erased: u64,
}

impl Default for EraseConfig {
    fn default() -> Self {
        Self { rows: 1_000_000, subjects: 10_000, erased: 9 }
    }
}

/// What erasing one data subject took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EraseFigures {
    /// Median time until nothing of it is left on disk, in microseconds.
    pub median_us: f64,
    /// CPU time, the median, in microseconds.
    pub cpu_us: f64,
    /// Bytes of the database.
    pub database_bytes: u64,
}

/// CPU time of the process, in microseconds.
pub fn process_cpu_us() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

fn elapsed_us(since: Timestamp) -> f64 {
    SystemClock.now().since(since).as_micros().max(1) as f64
}

/// Bytes that no compression makes smaller; `SplitMix64` from a seed.
fn content(seed: u64, bytes: usize) -> Vec<u8> {
    use nx_types::Rng as _;
    let mut data = vec![0; bytes];
    nx_types::env::SeededRng::new(seed).fill(&mut data);
    data
}

fn commit_of(config: &AppendConfig, number: u64, kind: &EventType) -> Result<Commit, Error> {
    // Subjects interleave as runs do: as many at once as commits are under way.
    let lanes = config.outstanding.max(1) as u64;
    let about = number % lanes + lanes * (number / (lanes * config.events_per_subject.max(1)));
    let name = format!("run/r_{about:016}");
    let subject = Subject::new(&name).map_err(|error| Error::invalid(error.to_string()))?;
    let data = content(number, config.data_bytes);
    let mut commit = Commit::of([NewEvent::new(Namespace::default(), kind.clone(), subject, data)]);
    if config.state {
        commit.puts.push(Put {
            namespace: Namespace::default(),
            kind: "run".to_owned(),
            key: format!("r_{about:016}"),
            data_subject: name,
            bytes: content(number, 96),
            index: Vec::new(),
        });
    }
    Ok(commit)
}

/// Appends to a fresh log in an empty directory.
pub fn append(dir: &Path, config: &AppendConfig) -> Result<AppendFigures, Error> {
    let options = Options { queue: config.outstanding.max(1), ..Options::new(dir) };
    let kind = EventType::new("step.completed").map_err(|error| Error::invalid(error.to_string()))?;
    let (journal, service) = Journal::open(options, Env::system())?;
    let (done, outcomes) = sync_channel(config.outstanding.max(1));
    let (start, cpu) = (SystemClock.now(), process_cpu_us());
    drive(&journal, config, &kind, (&done, &outcomes))?;
    let (wall, cpu) = (elapsed_us(start), process_cpu_us() - cpu);
    // The making of the commits is the caller's cost, not the log's.
    let own = process_cpu_us();
    for number in 0..config.events {
        std::hint::black_box(commit_of(config, number, &kind)?);
    }
    let cpu = cpu - (process_cpu_us() - own);
    let stats = journal.stats_blocking()?;
    drop(journal);
    service.join()?;
    // The last connection has written the write-ahead log back.
    let used = std::fs::metadata(dir.join(FILE)).map_err(Error::file("look at the database in", dir))?.len();
    let events = config.events.max(1) as f64;
    let (seal_us, tree_us) = shares(config)?;
    Ok(AppendFigures {
        events_per_s: events / wall * 1e6,
        cpu_us: cpu / events,
        seal_us,
        tree_us,
        bytes_per_event: used as f64 / events,
        sync_p50_us: stats.sync_p50_us,
        groups: stats.groups,
    })
}

type Outcome = Result<(), Error>;

fn drive(
    journal: &Journal,
    config: &AppendConfig,
    kind: &EventType,
    (done, outcomes): (&SyncSender<Outcome>, &Receiver<Outcome>),
) -> Result<(), Error> {
    let next = || outcomes.recv().map_err(|_err| Error::Closed)?;
    for number in 0..config.events {
        if number >= config.outstanding as u64 {
            next()?;
        }
        let done = done.clone();
        let tell = Box::new(move |result: Result<_, Error>| drop(done.send(result.map(drop))));
        journal.submit(commit_of(config, number, kind)?, tell)?;
    }
    for _ in 0..config.events.min(config.outstanding as u64) {
        next()?;
    }
    Ok(())
}

/// What sealing and the tree cost for one event, measured alone.
fn shares(config: &AppendConfig) -> Result<(f64, f64), Error> {
    const ROUNDS: u64 = 20_000;
    let key = crate::seal::Key::random(Env::system().rng());
    let data = content(1, config.data_bytes);
    let header = content(2, 120);
    let mut sealed = Vec::new();
    let start = process_cpu_us();
    for number in 0..ROUNDS {
        sealed.clear();
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&number.to_le_bytes());
        key.seal(nonce, &header, &[&data], &mut sealed)?;
    }
    let seal = process_cpu_us() - start;
    let (mut edge, mut tiles) = (Edge::new(), Vec::new());
    let start = process_cpu_us();
    for _ in 0..ROUNDS {
        edge.push(leaf_hash(&header, &sha256(&sealed)), &mut tiles);
        tiles.clear();
    }
    let root: Digest = edge.root();
    std::hint::black_box(root);
    Ok((seal / ROUNDS as f64, (process_cpu_us() - start) / ROUNDS as f64))
}

/// Appends events in large groups to a fresh log in an empty directory, then verifies all of it.
pub fn verify(dir: &Path, events: u64) -> Result<VerifyFigures, Error> {
    let options = Options { min_free_bytes: 0, ..Options::new(dir) };
    let kind = EventType::new("step.completed").map_err(|error| Error::invalid(error.to_string()))?;
    let mut core = Core::open(SqliteBackend::open(&options)?, &options, Env::system())?;
    let config = AppendConfig { events, ..AppendConfig::default() };
    let mut group = Vec::new();
    for number in 0..events {
        group.push(commit_of(&config, number, &kind)?);
        if group.len() == 4096 || number + 1 == events {
            core.append(&group).into_iter().try_for_each(|result| result.map(drop))?;
            group.clear();
            core.tidy()?;
        }
    }
    let (start, cpu) = (SystemClock.now(), process_cpu_us());
    let report = Audit::new(core.reader(), None).verify(&VerifyOptions::default())?;
    let (wall, cpu) = (elapsed_us(start), process_cpu_us() - cpu);
    let count = events.max(1) as f64;
    Ok(VerifyFigures { events_per_s: count / wall * 1e6, cpu_us: cpu / count, findings: report.findings.len() })
}

/// Fills a fresh log in an empty directory, then erases some of its data subjects.
pub fn erase(dir: &Path, config: &EraseConfig) -> Result<EraseFigures, Error> {
    let options = Options { min_free_bytes: 0, ..Options::new(dir) };
    let mut core = Core::open(SqliteBackend::open(&options)?, &options, Env::system())?;
    let kind = EventType::new("customer.changed").map_err(|error| Error::invalid(error.to_string()))?;
    let mut group = Vec::new();
    for number in 0..config.rows {
        group.push(row_of(config, number, &kind)?);
        if group.len() == 4096 || number + 1 == config.rows {
            core.append(&group).into_iter().try_for_each(|result| result.map(drop))?;
            group.clear();
            core.tidy()?;
        }
    }
    let (mut walls, mut cpus) = (Vec::new(), Vec::new());
    for number in 0..config.erased.max(1) {
        let subject = data_subject(number * (config.subjects / config.erased.max(1)).max(1));
        let (start, cpu) = (SystemClock.now(), process_cpu_us());
        core.erase(&[(Namespace::default(), subject)], "benchmark", "benchmark")?;
        walls.push(elapsed_us(start));
        cpus.push(process_cpu_us() - cpu);
    }
    let used = std::fs::metadata(dir.join(FILE)).map_err(Error::file("look at the database in", dir))?.len();
    Ok(EraseFigures { median_us: median(walls), cpu_us: median(cpus), database_bytes: used })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn data_subject(number: u64) -> String {
    format!("customer/{number:08}")
}

fn row_of(config: &EraseConfig, number: u64, kind: &EventType) -> Result<Commit, Error> {
    let owner = data_subject(number % config.subjects.max(1));
    let subject = Subject::new(&owner).map_err(|error| Error::invalid(error.to_string()))?;
    let mut commit = Commit::of([NewEvent::new(Namespace::default(), kind.clone(), subject, content(number, 64))]);
    // Keys come in no order, as ids do.
    let key = format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let entry = |name: &str, value: String| crate::IndexEntry { name: name.to_owned(), value: value.into_bytes() };
    commit.puts.push(Put {
        namespace: Namespace::default(),
        kind: "order".to_owned(),
        index: vec![entry("customer", owner.clone()), entry("mail", format!("{key}@example.org"))],
        key,
        data_subject: owner,
        bytes: content(number, 96),
    });
    Ok(commit)
}
