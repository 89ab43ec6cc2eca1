//! The engine against its definition: however often it is stopped, what fires is what the log says.

use std::path::Path;

use nx_journal::{Filter, Journal, NewEvent};
use nx_types::{Env, EventType, Namespace, Seq, Subject, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::engine::{CURSOR, Engine};
use crate::{ApplyOptions, Options, kinds, start};

fn at(secs: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + 1000 * secs.cast_signed())
}

fn event(kind: &str, secs: u64, by: &str, value: i64) -> NewEvent {
    let (kind, subject) = (EventType::new(kind).expect("is a type"), Subject::new(by).expect("is a subject"));
    let mut event = NewEvent::new(Namespace::default(), kind, subject, json!({ "v": value }).to_string().into_bytes());
    event.occurred = Some(at(secs));
    event
}

fn open(dir: &Path) -> (Journal, nx_journal::Service) {
    Journal::open(nx_journal::Options::new(dir), Env::system()).expect("the log opens")
}

/// Lets the engine take all there is, a few events at a time, from the stored position.
async fn drain(journal: &Journal, batch: usize, commits: usize) {
    let reader = journal.reader();
    let position = reader.cursor(CURSOR).expect("reads").unwrap_or(Seq(0));
    let (mut engine, _) = Engine::load(reader.clone(), position, 16 << 10).expect("loads");
    for _ in 0..commits {
        let filter = Filter { types: engine.types(), ..Filter::default() };
        let events = reader.events(engine.position, batch, &filter).expect("reads");
        if events.is_empty() {
            break;
        }
        let outcome = engine.process(&events).expect("processes");
        journal.commit(outcome.commit(engine.position)).await.expect("is written");
    }
}

/// The definition, over the whole history: which events fire a reflex with a window of `limit` events and `over`
/// seconds that wants a sum over 5, resting `debounce` seconds.
fn expected(events: &[(u64, usize, i64)], limit: usize, over: u64, debounce: u64) -> Vec<usize> {
    let mut fired: Vec<(usize, u64, usize)> = Vec::new();
    for (place, (secs, by, _)) in events.iter().enumerate() {
        let last = &events[(place + 1).saturating_sub(limit)..=place];
        let within = |event: &&(u64, usize, i64)| event.1 == *by && event.0 <= *secs && secs - event.0 < over;
        let sum: i64 = last.iter().filter(within).map(|event| event.2).sum();
        let rests = fired
            .iter()
            .rev()
            .find(|(_, _, whose)| whose == by)
            .is_some_and(|(_, then, _)| secs.abs_diff(*then) < debounce);
        if sum > 5 && !rests {
            fired.push((place, *secs, *by));
        }
    }
    fired.into_iter().map(|(place, _, _)| place).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn restarts_change_nothing(
        events in prop::collection::vec((0u64..40, 0usize..2, 0i64..5), 1..30),
        limit in 2usize..8,
        over in 3u64..20,
        debounce in 1u64..15,
        stops in prop::collection::vec((1usize..6, 1usize..4), 0..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
        let fired = runtime.block_on(async {
            let dir = tempfile::tempdir().expect("a folder can be made");
            let (journal, service) = open(dir.path());
            let (_, handle) = start(journal.clone(), Options::new(kinds()));
            let manifest = json!({ "kind": "Reflex", "metadata": { "name": "r" }, "spec": {
                "on": "a.b", "when": "${window.sum > 5.0}", "debounce": format!("{debounce}s"),
                "window": { "over": format!("{over}s"), "of": "${event.data.v}", "limit": limit },
                "emit": { "type": "a.fired", "data": "${event.seq}" },
            } });
            handle.apply(&Namespace::default(), &[manifest], &ApplyOptions::default()).await.expect("applies");
            let first = journal.head();
            for (secs, by, value) in &events {
                journal.commit(nx_journal::Commit::of([event("a.b", *secs, ["x", "y"][*by], *value)])).await.expect("is written");
            }
            for (batch, commits) in stops {
                drain(&journal, batch, commits).await;
            }
            drain(&journal, 7, usize::MAX).await;
            let filter = Filter { types: vec!["a.fired".to_owned()], ..Filter::default() };
            let found = journal.reader().events(Seq(0), 1000, &filter).expect("reads");
            journal.close().await;
            drop((handle, journal));
            service.run().await.expect("closes");
            let place = |event: &nx_journal::Event| {
                let seq: Value = serde_json::from_slice(event.data.bytes().expect("is open")).expect("is JSON");
                (seq.as_u64().expect("is a place") - first.0) as usize
            };
            found.iter().map(place).collect::<Vec<_>>()
        });
        prop_assert_eq!(fired, expected(&events, limit, over, debounce));
    }
}
