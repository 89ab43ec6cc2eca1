//! The example's manifests are what the kinds' registry accepts, and name agents, tools and events that exist.

use nx_control::{Registry, manifest};
use nx_types::{Namespace, Resource};

fn registry() -> Registry {
    Registry::new(nx_control::kinds().into_iter().chain(nx_runs::kinds::descriptors()))
}

fn read(text: &str) -> Vec<Resource> {
    let documents = manifest::parse(text, &manifest::Limits::default()).unwrap();
    documents.iter().map(|document| registry().check(document, &Namespace::default()).unwrap()).collect()
}

#[test]
fn every_manifest_is_accepted() {
    let resources: Vec<Resource> = parcels::manifests().flat_map(|(_, text)| read(text)).collect();
    let named: Vec<String> =
        resources.iter().map(|resource| format!("{}/{}", resource.kind, resource.metadata.name)).collect();
    expect_test::expect![[r"
        Agent/stop-belt
        Agent/late-parcels
        Agent/redirect-and-refund
        Agent/answer-mail
        Toolset/shop
        Toolset/pay
        Toolset/post
        Toolset/belt
        Policy/refunds
        Source/motor
        Reflex/overheat
        Reflex/belt-stopped
        Reflex/late-parcel
        Source/camera
        Reflex/read-door
        Reflex/unsure
        Reflex/misread-parcel
        Source/inbox
        Reflex/customer-mail"]]
    .assert_eq(&named.join("\n"));
}

#[test]
fn reflexes_start_agents_that_exist() {
    let resources: Vec<Resource> = parcels::manifests().flat_map(|(_, text)| read(text)).collect();
    let of = |kind: &'static str| resources.iter().filter(move |resource| resource.kind == kind);
    for reflex in of("Reflex") {
        let Some(agent) = reflex.spec["run"]["agent"].as_str() else { continue };
        assert!(of("Agent").any(|known| known.metadata.name == agent), "{agent}");
    }
    let source = of("Source").next().unwrap();
    assert_eq!(source.spec["file"]["path"], "embedded:motor");
    assert_eq!(parcels::embedded().map(|(name, _)| name).collect::<Vec<_>>(), ["motor", "camera"]);
    assert_eq!(source.spec["file"]["start_at"], parcels::motor::REPLAY_FROM);
    // Policies and the narrator go by these names.
    assert_eq!(source.spec["output"], "trusted");
    let inbox = of("Source").find(|source| source.metadata.name == "inbox").unwrap();
    assert_eq!((&inbox.spec["output"], &inbox.spec["type"]), (&"untrusted".into(), &"mail.received".into()));
    let interval = format!("{}ms", parcels::motor::REPLAY_INTERVAL_MS);
    assert_eq!(source.spec["file"]["interval"].as_str(), Some(interval.as_str()));
    let camera = of("Source").find(|source| source.metadata.name == "camera").unwrap();
    let interval = format!("{}ms", parcels::camera::INTERVAL_MS);
    assert_eq!((&camera.spec["file"]["interval"], &camera.spec["output"]), (&interval.into(), &"trusted".into()));
    let read = of("Reflex").find(|reflex| reflex.metadata.name == "read-door").unwrap();
    assert_eq!(read.spec["infer"]["model"], parcels::digits::NAME);
}

/// The policy's own tests pass, against the tools as they are declared.
#[test]
fn the_policy_keeps_its_word() {
    let resources: Vec<Resource> = parcels::manifests().flat_map(|(_, text)| read(text)).collect();
    let reports = nx_runs::kinds::Declared::of(&resources).test_policies().unwrap();
    let tests: Vec<_> =
        reports.iter().filter(|report| report.policy == "refunds").flat_map(|report| &report.tests).collect();
    assert_eq!(tests.len(), 7);
    for test in tests {
        assert!(test.passed, "{}: {:?}", test.test, test.found);
    }
}
