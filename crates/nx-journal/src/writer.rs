//! The writer thread: takes what has queued up, writes it as one group, acknowledges in order.

use std::{mem, sync::Arc};

use nx_types::Seq;
use tokio::sync::{mpsc, watch};

use crate::{
    Commit, Core, Options,
    backend::Backend,
    journal::{Done, Message},
};

/// Runs until the queue closes.
pub(crate) fn run<B: Backend>(
    mut core: Core<B>,
    mut queue: mpsc::Receiver<Message>,
    head: &watch::Sender<Seq>,
    options: &Arc<Options>,
) {
    let mut group = Group::default();
    while let Some(first) = queue.blocking_recv() {
        let mut next = Some(first);
        let mut tasks = Vec::new();
        while let Some(message) = next {
            match message {
                Message::Commit { commit, done } => group.push(commit, done),
                Message::Task(task) => {
                    // In order: what was committed before is visible to the task, and the rest waits for it.
                    tasks.push(task);
                    break;
                }
                Message::Close => queue.close(),
            }
            if group.events >= options.batch_events || group.bytes >= options.batch_bytes {
                break;
            }
            next = queue.try_recv().ok();
        }
        group.write(&mut core, head);
        for task in tasks {
            let tell = task(&mut core);
            publish(head, core.head());
            tell();
        }
        if let Err(error) = core.tidy() {
            tracing::warn!(%error, "the write-ahead log could not be written back; it is tried again");
        }
    }
}

/// Commits that are written together.
#[derive(Default)]
struct Group {
    commits: Vec<Commit>,
    done: Vec<Done>,
    events: usize,
    bytes: usize,
}

impl Group {
    fn push(&mut self, commit: Commit, done: Done) {
        self.events += commit.events.len();
        self.bytes += commit.events.iter().map(|event| event.data.len()).sum::<usize>();
        self.bytes += commit.puts.iter().map(|put| put.bytes.len()).sum::<usize>();
        self.commits.push(commit);
        self.done.push(done);
    }

    fn write<B: Backend>(&mut self, core: &mut Core<B>, head: &watch::Sender<Seq>) {
        if self.commits.is_empty() {
            return;
        }
        let results = core.append(&self.commits);
        publish(head, core.head());
        for (done, result) in self.done.drain(..).zip(results) {
            done(result);
        }
        self.commits.clear();
        (self.events, self.bytes) = (0, 0);
    }
}

fn publish(head: &watch::Sender<Seq>, seq: Seq) {
    head.send_if_modified(|head| mem::replace(head, seq) != seq);
}
