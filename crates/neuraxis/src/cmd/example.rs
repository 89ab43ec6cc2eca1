//! `up --example parcels`: the example's world, its worker, its manifests, its narrator, its customers.

use anyhow::Context as _;
use neuraxis_sdk::Worker;
use nx_journal::{Event, Filter};
use nx_types::{Env, RunId, Seq};
use parcels::{Customers, Gateway, Tools, World, agents, narrator};

use super::up::Running;
use crate::cli::UpArgs;

/// How many events back the narrator recalls what it told.
const RECALLED: u64 = 10_000;

/// Starts the example beside a server.
pub(super) async fn start(running: &Running, args: &UpArgs) -> anyhow::Result<World> {
    let dir = args.data.join("parcels");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make `{}`", dir.display()))?;
    let world = World::start(&dir, parcels::Options::default(), Env::system()).await?;
    let tools = Tools::new(&world)?;
    let worker = tools.serve(Worker::new(neuraxis_sdk::Options::new(&running.url)));
    let worker = if args.example_agents_elsewhere { worker } else { agents::offer(&tools, worker) };
    let stop = running.stop.clone();
    running.tasks.spawn(async move {
        if let Err(error) = worker.run(stop).await {
            eprintln!("neuraxis: the example's worker stopped: {error}");
        }
    });
    narrate(running);
    parcels::digits::pull(&running.url).await.context("the model `digits` cannot be pulled")?;
    for (name, text) in parcels::manifests() {
        running.apply(text).await.with_context(|| name.to_owned())?;
    }
    let gateway = Gateway::open(&world, &running.url)?;
    running.tasks.spawn(gateway.run(running.stop.clone()));
    running.tasks.spawn(Customers::new(&world, Env::system()).run(running.stop.clone()));
    Ok(world)
}

fn narrate(running: &Running) {
    let mut narrator = narrator::Narrator::new(&running.url);
    for line in narrator.opening() {
        println!("{line}");
    }
    // What happened before is not told again, but what goes on of it has names.
    let head = running.journal.head();
    let from = Seq(head.0.saturating_sub(RECALLED));
    let mut events = running.journal.subscribe(from, Filter::default());
    let (stop, runs) = (running.stop.clone(), running.runs.clone());
    running.tasks.spawn(async move {
        loop {
            let batch = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                batch = events.next() => batch,
            };
            let Ok(batch) = batch else { return };
            for event in batch {
                if event.seq() < head {
                    narrator.recall(&event.header, event.data.bytes());
                    continue;
                }
                let data = data(&runs, &event).await;
                if let Some(line) = narrator.line(&event.header, data.as_deref()) {
                    println!("{line}");
                }
            }
        }
    });
}

/// An event's data, values in full; none once erased.
async fn data(runs: &nx_runs::Handle, event: &Event) -> Option<Vec<u8>> {
    let header = &event.header;
    let run = header.subject.as_str().strip_prefix("run/").and_then(|run| run.parse::<RunId>().ok());
    let Some(run) = run else { return event.data.bytes().map(<[u8]>::to_vec) };
    let mut watch = runs.watch(header.namespace.clone(), run, header.version.saturating_sub(1));
    let found = watch.next().await.ok()?.into_iter().next()?;
    Some(found.data.to_string().into_bytes())
}
