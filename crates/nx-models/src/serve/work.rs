//! A thread of a version: takes requests, makes their tensors, runs them, together where that is known to be the same, and
//! makes their answers.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use nx_infer::{Manifest, Tensor, engine::Stateful, process};
use tokio::time::Instant;

use super::{Done, Job, batch, queue::Queue, streams::Turn};
use crate::{
    Error,
    answer::OutputView,
    input::{self, Prepared},
};

/// A session with what it needs to answer.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) session: Stateful,
    pub(super) manifest: Arc<Manifest>,
    pub(super) queue: Arc<Queue>,
    /// Most requests of one run.
    pub(super) most: usize,
    pub(super) wait: Duration,
}

/// Ends the way in when the last thread has gone, by whatever way.
#[derive(Debug)]
struct Closing(Arc<Queue>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A request whose tensors are made.
struct Ready {
    job: Job,
    prepared: Prepared,
    begun: Instant,
}

impl Worker {
    pub(super) fn run(mut self) {
        let _closing = Closing(self.queue.clone());
        while let Some(jobs) = self.queue.take(self.most, self.wait) {
            let mut ready: Vec<Ready> = jobs.into_iter().filter_map(|job| self.prepare(job)).collect();
            while !ready.is_empty() {
                let count = self.together(&ready);
                let rest = ready.split_off(count);
                if !self.answer(std::mem::replace(&mut ready, rest)) {
                    return;
                }
            }
        }
    }

    /// Makes the tensors of a request; `None` when it is answered, or nobody waits for it any longer.
    fn prepare(&self, job: Job) -> Option<Ready> {
        if job.is_over() {
            return None;
        }
        let begun = Instant::now();
        // Decoders of pictures are not ours; whatever they do ends with this request.
        let made = catch_unwind(AssertUnwindSafe(|| input::prepare(&self.manifest, &job.samples)));
        match made.unwrap_or_else(|_panic| Err(Error::input("", "cannot be read"))) {
            Ok(prepared) => Some(Ready { job, prepared, begun }),
            Err(error) => {
                job.answer(Err(error));
                None
            }
        }
    }

    /// How many of the first requests fit together.
    fn together(&self, ready: &[Ready]) -> usize {
        let Some(first) = ready.first() else { return 0 };
        let single =
            |ready: &Ready| ready.prepared.tensors.iter().all(|(_, tensor)| tensor.shape().first() == Some(&1));
        let fits = |other: &&Ready| {
            let pairs = first.prepared.tensors.iter().zip(&other.prepared.tensors);
            single(other) && pairs.into_iter().all(|((_, a), (_, b))| a.shape() == b.shape())
        };
        batch::size(ready.iter().take_while(fits).count(), self.most)
    }

    /// Runs and answers requests; false when the session is of no more use.
    fn answer(&mut self, mut group: Vec<Ready>) -> bool {
        group.retain(|ready| !ready.job.is_over());
        if group.len() > 1 {
            let tensors: Vec<&[(String, Tensor)]> =
                group.iter().map(|ready| ready.prepared.tensors.as_slice()).collect();
            if let Some(rows) = run_together(&mut self.session, &tensors) {
                let count = group.len();
                for (ready, outputs) in group.into_iter().zip(rows) {
                    let answer = self.outputs(&ready, outputs);
                    finish(ready, self.session.session().engine(), answer, count);
                }
                return true;
            }
        }
        for mut ready in group {
            let result = run_next(&mut self.session, &ready.prepared.tensors, ready.job.turn.as_mut());
            let broken = matches!(&result, Err(Error::Infer(nx_infer::Error::Engine { reason, .. })) if reason.contains("panicked"));
            let answer = result.and_then(|outputs| self.outputs(&ready, outputs));
            finish(ready, self.session.session().engine(), answer, 1);
            if broken {
                return false;
            }
        }
        true
    }

    fn outputs(&self, ready: &Ready, tensors: Vec<Tensor>) -> Result<Vec<(String, OutputView)>, Error> {
        let mut named: Vec<(&str, Option<Tensor>)> = self
            .session
            .session()
            .outputs()
            .iter()
            .map(|value| value.name.as_str())
            .zip(tensors.into_iter().map(Some))
            .collect();
        let each = self.manifest.outputs.iter().map(|output| {
            let tensor = named.iter_mut().find(|(name, _)| *name == output.name).and_then(|(_, tensor)| tensor.take());
            let tensor =
                tensor.ok_or_else(|| Error::damaged(format!("output `{}`", output.name), "it is not there"))?;
            let answer = process::after(output, tensor, &ready.prepared.placement)?;
            Ok((output.name.clone(), OutputView::of(&output.name, answer)?))
        });
        each.collect()
    }
}

fn finish(mut ready: Ready, engine: &'static str, answer: Result<Vec<(String, OutputView)>, Error>, batch: usize) {
    let queued = ready.begun - ready.job.queued;
    let ran = ready.begun.elapsed();
    let turn = ready.job.turn.take();
    ready.job.answer(answer.map(|outputs| Done { engine, outputs, queued, ran, batch, turn }));
}

/// One request; states begin anew with each.
pub(super) fn run_alone(session: &mut Stateful, tensors: &[(String, Tensor)]) -> Result<Vec<Tensor>, nx_infer::Error> {
    session.reset();
    let named: Vec<(&str, &Tensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    session.run(&named)
}

/// One request, from where its stream stands.
fn run_next(
    session: &mut Stateful,
    tensors: &[(String, Tensor)],
    turn: Option<&mut Turn>,
) -> Result<Vec<Tensor>, Error> {
    let Some(turn) = turn else { return Ok(run_alone(session, tensors)?) };
    session.reset();
    if let Some(state) = turn.state() {
        session.resume(state.to_vec());
    }
    let named: Vec<(&str, &Tensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let outputs = session.run(&named)?;
    turn.ran(session.state())?;
    Ok(outputs)
}

/// Several requests of one row each, as one run: the outputs of each. `None` where it cannot be done.
pub(super) fn run_together(session: &mut Stateful, requests: &[&[(String, Tensor)]]) -> Option<Vec<Vec<Tensor>>> {
    let first = requests.first()?;
    let mut stacked = Vec::with_capacity(first.len());
    for (at, (name, _)) in first.iter().enumerate() {
        let column: Option<Vec<&Tensor>> = requests.iter().map(|one| one.get(at).map(|(_, tensor)| tensor)).collect();
        stacked.push((name.clone(), batch::stack(&column?)?));
    }
    let outputs = run_alone(session, &stacked).ok()?;
    let columns: Option<Vec<Vec<Tensor>>> = outputs.iter().map(|output| batch::split(output, requests.len())).collect();
    let mut columns: Vec<_> = columns?.into_iter().map(Vec::into_iter).collect();
    (0..requests.len()).map(|_| columns.iter_mut().map(Iterator::next).collect()).collect()
}
