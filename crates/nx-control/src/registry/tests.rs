use expect_test::{Expect, expect};
use serde_json::json;

use super::*;
use crate::{kinds::kinds, manifest};

fn registry() -> Registry {
    Registry::new(kinds())
}

fn check(manifest: &str, expected: &Expect) {
    let documents = manifest::parse(manifest, &manifest::Limits::default()).expect("parses");
    let text = match registry().check(&documents[0], &Namespace::default()) {
        Ok(resource) => manifest::to_yaml(&resource.spec),
        Err(Error::Invalid { resource, errors }) => {
            let lines: Vec<String> = errors.iter().map(|err| format!("{}: {}", err.pointer, err.message)).collect();
            format!("{resource}\n{}\n", lines.join("\n"))
        }
        Err(other) => format!("{other}\n"),
    };
    expected.assert_eq(&text);
}

#[test]
fn examples_are_valid_and_short() {
    for kind in kinds() {
        let documents = manifest::parse(kind.example, &manifest::Limits::default()).expect("parses");
        let resource = registry().check(&documents[0], &Namespace::default()).expect("is valid");
        assert_eq!(resource.kind, kind.kind);
        assert!(kind.example.lines().count() <= 6, "{}", kind.kind);
        // What was filled in is valid again, and stays as it is.
        let mut again = documents[0].clone();
        again["spec"] = resource.spec.clone();
        assert_eq!(registry().check(&again, &Namespace::default()).expect("is valid").spec, resource.spec);
    }
}

#[test]
fn all_mistakes_at_once() {
    check(
        "
kind: Reflex
metadta: {}
metadata: {name: Misread, anotations: {}}
spec: {on: Parcel, wen: x, when: 'event.data.x', debounce: soon, run: {agnt: a, input: ['${evnt.x}']}}
",
        &expect![[r"
            Reflex `Misread`
            /metadta: unknown field `metadta`; did you mean `metadata`?
            /metadata/anotations: unknown field `anotations`; did you mean `annotations`?
            /metadata/name: `Misread` is not a name: 1 to 63 of a-z, 0-9 and `-`, with a letter or digit at both ends
            /spec/on: `Parcel` is not an event type: 1 to 64 of a-z, 0-9, `.`, `_` and `-`, starting with a letter
            /spec/wen: unknown field `wen`; did you mean `when`? valid are `by`, `debounce`, `emit`, `infer`, `on`, `run`, `source`, `when` or `window`
            /spec/debounce: `soon` is not a duration, for example `1h30m`
            /spec/run: field `agent` is missing
            /spec/run/agnt: unknown field `agnt`; did you mean `agent`? valid are `agent`, `input` or `key`
        "]],
    );
    check(
        "
kind: Reflex
metadata: {name: a}
spec: {on: reflex.fired, when: 'event.data.x', by: '${event', window: {over: 0s, of: 'x ${event.seq}'},
  run: {agent: a, input: ['${evnt.x}']}, emit: {type: run.requested}}
",
        &expect![[r"
            Reflex `a`
            /spec/on: `reflex.fired` is what reflexes write themselves; listen to what they emit instead
            /spec/emit: stands beside `run`; a reflex does one thing
            /spec/emit/type: `run.requested` is reserved: types that start so are written by Neuraxis itself; choose another
            /spec/window/over: must be longer than nothing
            /spec/by: `${event` is not a valid expression: `${` is never closed by `}`
            /spec/when: must be exactly one `${…}`, for example `${event.data.n > 3}`
            /spec/window/of: must be exactly one `${…}`, for example `${event.data.n > 3}`
            /spec/run/input/0: `evnt.x` is not a valid expression: there is no variable `evnt`; did you mean `event`? there are `event`, `window`
        "]],
    );
}

#[test]
fn sources_say_what_they_need() {
    check(
        "{kind: Source, metadata: {name: a}, spec: {}}",
        &expect![[r"
            Source `a`
            /spec: needs `http` or `file`: where its events come from
        "]],
    );
    check(
        "{kind: Source, metadata: {name: a}, spec: {file: {path: file:x.csv, speed: 0, start_at: then}}}",
        &expect![[r"
            Source `a`
            /spec: field `type` is missing: what the file's rows are called
            /spec/file/speed: must be more than 0, at most 1,000,000,000
            /spec/file: needs `time` (a column) or `interval`: the pace of the replay
            /spec/file/start_at: needs `time`: the column that holds the times
            /spec/file/start_at: `then` is not a time, for example `2014-01-27T14:20:00Z`
            /spec/file/path: `file:` is resolved by the command line; send the file's content instead
        "]],
    );
}

#[test]
fn defaults_are_filled_in() {
    check(
        "{kind: reflex, metadata: {name: a}, spec: {on: [a.b], window: {over: 90s}, emit: {type: a.c}}}",
        &expect![[r#"
            "on":
            - a.b
            window:
              over: 1m30s
              limit: 1000
            by: ${event.subject}
            emit:
              type: a.c
              subject: ${event.subject}
              data: null
        "#]],
    );
}

#[test]
fn unknown_kinds_name_the_nearest() {
    check(
        "{kind: Reflx}",
        &expect![[r"
        there is no kind `Reflx`; did you mean `Reflex`? there are Reflex, Secret, Source
    "]],
    );
    check(
        "{metadata: {name: a}}",
        &expect![[r"
        the manifest
        /kind: field `kind` is missing; write for example `kind: Reflex`
    "]],
    );
}

#[test]
fn namespaces_must_agree() {
    check(
        "{apiVersion: v2, kind: Secret, metadata: {name: a, namespace: other, resourceVersion: x}, spec: {values: {}}}",
        &expect![[r"
            Secret `a`
            /apiVersion: must be `neuraxis/v1`
            /metadata/namespace: is `other`, but the request is for namespace `default`
            /metadata/resourceVersion: must be a whole number
            /spec/values: must hold 1 to 64 values
        "]],
    );
}

#[test]
fn help_explains_every_field() {
    let help = registry().help("secrets").expect("is known");
    expect![[r"
        Secret (secrets): values that are sealed and never printed

        Fields of `spec`:
          values  map, required
                    The values by name. They are sealed, and printed as `(sealed)`; applying `(sealed)`
                    keeps the stored value.

        Example (neuraxis init Secret):

          apiVersion: neuraxis/v1
          kind: Secret
          metadata: {name: payments}
          spec:
            values: {token: change-me}
    "]]
    .assert_eq(&help);
    for kind in kinds() {
        let fields = registry().fields(kind.kind).expect("is known");
        assert!(!fields.is_empty());
        for field in &fields {
            assert!(!field.about.is_empty(), "{} {}", kind.kind, field.path);
            assert!(!field.type_name.is_empty(), "{} {}", kind.kind, field.path);
        }
    }
    let fields = registry().fields("Reflex").expect("is known");
    let paths: Vec<&str> = fields.iter().map(|field| field.path.as_str()).collect();
    assert!(paths.contains(&"window.over") && paths.contains(&"run.agent"), "{paths:?}");
}

#[test]
fn schemas_stand_alone() {
    for kind in kinds() {
        let schema = registry().schema(kind.kind).expect("is known");
        assert_eq!(schema["properties"]["kind"], json!({ "const": kind.kind }));
        assert!(
            nx_types::kind::check_shape(
                &schema,
                &manifest::parse(kind.example, &manifest::Limits::default()).expect("parses")[0],
                ""
            )
            .is_empty()
        );
    }
}
