//! Steps that ask a model. The models themselves are somebody else's: here the test answers what the log asks.

use neuraxis_sdk::frames::{Body, Effect};
use nx_journal::{Cause, Commit, Event, Filter, Journal, NewEvent};
use nx_runs::{
    service::{RunStatus, RunView, StepStatus},
    sim::{
        harness_worker::{Ask, Context, Flow},
        harness_world::World,
    },
};
use nx_types::{Causation, Label, Namespace, Seq, SharedLabel};
use serde_json::{Value, json};

use crate::service::{Agent, Server, ended, event, local, served, start, until, worker};

const ARGS: &str = r#"{"input": {"image": "AQID"}, "subject": "parcel/P88"}"#;

fn infer(name: &str, args: Value) -> Ask {
    Ask::new(name, Body::Infer { args })
}

fn read(context: &mut Context<'_>) -> Flow {
    let first = context.step(infer("digits@live", serde_json::from_str(ARGS).unwrap()))?;
    context.step(Ask::code("look", Effect::Read, first.clone()))?;
    let second = context.step(infer("digits@live", json!({ "input": { "image": "BAUG" } })))?;
    Ok(json!([first["label"], second["label"]]))
}

async fn asked(journal: &Journal, from: Seq) -> Event {
    let filter = Filter { types: vec!["model.requested".to_owned()], ..Filter::default() };
    journal.subscribe(from, filter).next().await.unwrap().remove(0)
}

fn data(event: &Event) -> Value {
    serde_json::from_slice(event.data.bytes().unwrap()).unwrap()
}

/// What the models write: a decision, or that there is none.
async fn answer(journal: &Journal, request: &Event, kind: &str, label: Option<Label>, mut said: Value) -> Seq {
    said["asked"] = data(request)["asked"].clone();
    let mut event: NewEvent = event(kind, "parcel/P88", &said);
    event.causation = Cause::Local(request.seq());
    event.label = label.map(SharedLabel::new);
    journal.commit(Commit::of([event])).await.unwrap().last
}

fn seven() -> Value {
    json!({ "model": "digits", "answer": { "model": "digits", "version": 2, "label": "7", "outputs": {} } })
}

fn waits(view: &RunView) -> bool {
    view.summary.waiting_for.as_deref() == Some("model digits@live")
}

#[test]
fn a_model_is_asked_once_and_its_answer_outlives_restarts() {
    let dir = tempfile::tempdir().unwrap();
    local(async {
        let agents: [(&str, Agent); 1] = [("read", read)];
        let server = Server::up(dir.path());
        let (handle, journal) = (server.handle.clone(), server.journal.clone());
        let mut world = World::new(1);
        let mut one = worker("w1", &agents);
        let (run, request) = served(&handle, &mut one, &mut world, async {
            let run = handle.start(start("read", "P88")).await.unwrap().run;
            until(&handle, run, waits).await;
            (run, asked(&journal, Seq(0)).await)
        })
        .await;
        let wanted = json!({ "model": "digits@live", "input": { "image": "AQID" }, "subject": "parcel/P88",
            "by": format!("run/{run}"), "asked": { "run": run, "step": 1 } });
        assert_eq!((data(&request), request.header.subject.as_str()), (wanted, "model/digits"));
        let Causation::Local(cause) = request.header.causation else { panic!("no cause") };
        let cause = journal.reader().event(cause).unwrap().unwrap();
        assert_eq!(
            (cause.header.kind.as_str(), cause.header.subject.as_str()),
            ("step.waiting", &*format!("run/{run}"))
        );
        server.down().await;

        // The answer comes while the server is down; the next one hands it over, and asks the second time.
        let server = Server::up(dir.path());
        let (handle, journal) = (server.handle.clone(), server.journal.clone());
        let mut two = worker("w2", &agents);
        let place = answer(&journal, &request, "model.decided", Some(Label::untrusted("source/camera")), seven()).await;
        let view = served(&handle, &mut two, &mut world, async {
            let second = asked(&journal, request.seq().next()).await;
            assert_eq!(data(&second)["asked"]["step"], 3);
            // Told twice, it counts once.
            answer(&journal, &request, "model.decided", None, seven()).await;
            answer(&journal, &second, "model.decided", None, seven()).await;
            ended(&handle, run).await
        })
        .await;
        assert_eq!((view.summary.status, view.result.clone()), (RunStatus::Completed, Some(json!(["7", "7"]))));
        let step = &view.steps[0];
        assert_eq!((step.kind.as_str(), step.effect.as_str(), step.status), ("infer", "read", StepStatus::Completed));
        assert_eq!(step.value.as_ref().unwrap()["decision"], json!(place));
        let count = journal.reader().events(
            Seq(0),
            1000,
            &Filter { types: vec!["model.requested".to_owned()], ..Filter::default() },
        );
        assert_eq!(count.unwrap().len(), 2);
        // The step follows from the decision, and holds what its label says.
        let why = handle.why(Namespace::default(), format!("{run}/1")).await.unwrap();
        let chain: Vec<&str> = chain(&why);
        assert_eq!(chain[..4], ["step.completed", "model.decided", "model.requested", "step.waiting"]);
        let completed = journal.reader().event(why.seq).unwrap().unwrap();
        let label = journal.reader().label(&Namespace::default(), &completed.header.label.unwrap()).unwrap().unwrap();
        assert!(!label.is_trusted());
        assert!(
            label.sources.contains("model/digits") && label.sources.contains("untrusted/source/camera"),
            "{label:?}"
        );
        server.down().await;
    });
}

fn chain(node: &nx_runs::service::WhyNode) -> Vec<&str> {
    let mut kinds = vec![node.kind.as_str()];
    kinds.extend(node.because.iter().take(1).flat_map(chain));
    kinds
}

#[test]
fn a_model_that_gives_no_answer_fails_the_step_and_a_retry_asks_anew() {
    let dir = tempfile::tempdir().unwrap();
    local(async {
        let server = Server::up(dir.path());
        let (handle, journal) = (server.handle.clone(), server.journal.clone());
        let mut world = World::new(1);
        let mut one = worker("w1", &[("read", read)]);
        let asking = async {
            let run = handle.start(start("read", "P88")).await.unwrap().run;
            let request = asked(&journal, Seq(0)).await;
            let failed = json!({ "model": "digits", "code": "NX-MDL-0001", "message": "there is no model `digits`" });
            answer(&journal, &request, "model.failed", None, failed).await;
            let view = ended(&handle, run).await;
            assert_eq!(view.summary.status, RunStatus::Failed);
            let error = view.steps[0].error.as_ref().unwrap();
            assert_eq!((&error["name"], &error["details"]["code"]), (&json!("InferenceFailed"), &json!("NX-MDL-0001")));
            handle.retry(Namespace::default(), run, "ann".to_owned()).await.unwrap();
            let second = asked(&journal, request.seq().next()).await;
            assert_eq!(data(&second)["asked"], data(&request)["asked"]);
            answer(&journal, &second, "model.decided", None, seven()).await;
            let third = asked(&journal, second.seq().next()).await;
            handle.cancel(Namespace::default(), run, "ann".to_owned(), "enough".to_owned()).await.unwrap();
            assert_eq!(ended(&handle, run).await.summary.status, RunStatus::Cancelled);
            // Too late; and a run that was never there.
            answer(&journal, &third, "model.decided", None, seven()).await;
            let mut stranger = seven();
            stranger["asked"] = json!({ "run": "r_0000000000000001", "step": 1 });
            journal.commit(Commit::of([event("model.decided", "model/digits", &stranger)])).await.unwrap();
            let again = handle.start(start("read", "P89")).await.unwrap().run;
            let fourth = asked(&journal, third.seq().next()).await;
            answer(&journal, &fourth, "model.decided", None, seven()).await;
            until(&handle, again, |view| view.steps.len() == 3).await;
        };
        Box::pin(served(&handle, &mut one, &mut world, asking)).await;
        server.down().await;
    });
}
