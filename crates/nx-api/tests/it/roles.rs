//! Every operation refuses whoever lacks a token or the role for it, before it looks at anything else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::support::{Stage, head, rest};

/// Who may use what at least. An operation that is not here fails the test: say who it is for.
const LEAST: &str = "
    anyone   GET /healthz
    anyone   GET /readyz
    any      GET /api/server
    any      POST /api/approvals/{approval}/decide
    viewer   GET /metrics
    viewer   GET /api/approvals
    viewer   GET /api/approvals/{approval}
    viewer   GET /api/audit/key
    viewer   GET /api/audit/proof/{seq}
    viewer   GET /api/events
    viewer   GET /api/events/export
    viewer   GET /api/events/stream
    viewer   GET /api/events/{seq}
    viewer   GET /api/guard/decisions
    viewer   GET /api/guard/explain
    viewer   GET /api/kinds
    viewer   GET /api/kinds/{kind}/schema
    viewer   GET /api/resources/{kind}
    viewer   GET /api/resources/{kind}/{name}
    viewer   GET /api/models
    viewer   GET /api/models/{name}
    viewer   GET /api/models/{name}/decisions
    viewer   GET /api/models/{name}/decisions/{decision}/inputs/{input}
    viewer   GET /api/models/{name}/versions/{version}
    viewer   GET /api/models/{name}/versions/{version}/file
    viewer   GET /api/runs
    viewer   GET /api/runs/{run}
    viewer   GET /api/runs/{run}/events
    viewer   GET /api/why
    viewer   GET /api/workers
    operator GET /api/doctor
    operator POST /api/audit/checkpoint
    operator POST /api/audit/verify
    operator DELETE /api/guard/sessions/{session}
    operator POST /api/guard/screen
    operator POST /api/guard/sessions
    operator POST /api/guard/sessions/{session}/check
    operator POST /api/guard/sessions/{session}/observe
    operator POST /api/guard/sessions/{session}/output
    operator POST /api/infer/{model}
    operator POST /api/policies/diff
    operator POST /api/policies/propose
    operator POST /api/policies/test
    operator POST /api/runs
    operator POST /api/runs/retry
    operator POST /api/runs/{run}/cancel
    operator POST /api/runs/{run}/fork
    operator POST /api/runs/{run}/retry
    operator POST /api/runs/{run}/signal
    operator POST /api/sources/{name}/events
    admin    DELETE /api/models/{name}
    admin    DELETE /api/models/{name}/aliases/{alias}
    admin    DELETE /api/models/{name}/versions/{version}
    admin    POST /api/models/{name}/aliases/{alias}/rollback
    admin    POST /api/models/{name}/versions
    admin    PUT /api/models/{name}/aliases/{alias}
    admin    DELETE /api/resources/{kind}/{name}
    admin    DELETE /api/tokens/{name}
    admin    GET /api/tokens
    admin    POST /api/apply
    admin    POST /api/audit/tiles
    admin    POST /api/backup
    admin    POST /api/erase
    admin    POST /api/retain
    admin    POST /api/tokens
";

/// What the worker protocol describes and the OpenAPI document does not.
const UNDESCRIBED: &str = "
    worker   GET /api/workers/connect
    worker   PUT /api/workers/blobs/r_7f3k2m9q0a1b2c3d
    worker   GET /api/workers/blobs/r_7f3k2m9q0a1b2c3d/0000000000000000000000000000000000000000000000000000000000000000
";

fn table(text: &str) -> BTreeMap<String, String> {
    let rows = text.lines().filter_map(|line| line.trim().split_once(' '));
    rows.map(|(role, operation)| (operation.trim().to_owned(), role.to_owned())).collect()
}

/// Which tokens suffice for a role.
fn suffices(token: &str, role: &str) -> bool {
    match role {
        "anyone" | "any" => true,
        "viewer" => matches!(token, "viewer" | "operator" | "admin"),
        "operator" => matches!(token, "operator" | "admin"),
        "worker" => matches!(token, "worker" | "admin"),
        _ => token == "admin",
    }
}

#[tokio::test]
async fn every_operation_wants_its_role() {
    let dir = tempfile::tempdir().expect("a folder");
    let stage = Stage::start(dir.path(), |options| options.require_token = true).await;
    let document = serde_json::to_value(nx_api::openapi()).expect("a document");
    let paths = document["paths"].as_object().expect("paths");
    let described: BTreeSet<String> = paths
        .iter()
        .flat_map(|(path, methods)| {
            methods
                .as_object()
                .into_iter()
                .flatten()
                .map(move |(method, _)| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let mut least = table(LEAST);
    assert_eq!(described, least.keys().cloned().collect::<BTreeSet<_>>());
    least.extend(table(UNDESCRIBED));

    let mut tokens = BTreeMap::from([("admin", stage.admin.clone().expect("an administrator's token"))]);
    for role in ["viewer", "operator", "worker", "lead"] {
        tokens.insert(role, stage.token(&format!("one-{role}"), role).await);
    }
    // What an administrator does may be large or last: only the refusals matter here.
    for (operation, role) in &least {
        let (method, path) = operation.split_once(' ').expect("method and path");
        let path = path.replace("{seq}", "0").replace(['{', '}'], "");
        for token in [None, Some("nx_wrong"), Some("")] {
            let answer = stage.ask(method, &path, token, None).await;
            assert_eq!(answer.status == 401, role != "anyone", "{operation} by {token:?}: {answer:?}");
            assert_eq!(answer.headers.contains_key("www-authenticate"), role != "anyone", "{operation}");
        }
        for (name, token) in &tokens {
            let answer = stage.ask(method, &path, Some(token), None).await;
            assert_ne!(answer.status, 401, "{operation} by {name}: {answer:?}");
            if suffices(name, role) {
                assert!(answer.status != 403 || role == "any", "{operation} by {name}: {answer:?}");
            } else {
                assert_eq!(answer.status, 403, "{operation} by {name}: {answer:?}");
                assert!(!answer.body.contains(token.as_str()), "{operation} by {name}");
            }
        }
    }
    stage.close().await;
}

#[tokio::test]
async fn other_schemes_and_forms_are_no_tokens() {
    let dir = tempfile::tempdir().expect("a folder");
    let stage = Stage::start(dir.path(), |options| options.require_token = true).await;
    let admin = stage.admin.clone().expect("an administrator's token");
    let host = stage.address;
    for authorization in [
        format!("Basic {admin}"),
        admin.clone(),
        format!("Bearer {admin}x"),
        format!("Bearer {}", admin.chars().skip(1).collect::<String>()),
        format!("Bearer {}", admin.to_lowercase()),
        format!("Bearer {}", "x".repeat(10_000)),
    ] {
        let head = format!("GET /api/server HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
        let answer = stage.raw(&format!("{head}authorization: {authorization}\r\n\r\n")).await;
        assert_eq!(answer.status, 401, "{authorization}: {answer:?}");
        assert!(!answer.body.contains(&admin));
    }
    // A token in the address would end in logs and histories.
    assert_eq!(stage.ask("GET", &format!("/api/server?token={admin}"), None, None).await.status, 401);
    stage.close().await;
}

#[tokio::test]
async fn secrets_stay_out_of_the_log_and_the_file_is_its_owners() {
    use std::os::unix::fs::{MetadataExt as _, symlink};
    let dir = tempfile::tempdir().expect("a folder");
    let elsewhere = dir.path().join("elsewhere");
    std::fs::write(&elsewhere, "mine").expect("written");
    symlink(&elsewhere, dir.path().join("admin.token")).expect("a link");
    let stage = Stage::start(dir.path(), |options| options.require_token = true).await;
    let admin = stage.admin.clone().expect("an administrator's token");
    assert_eq!(std::fs::read(&elsewhere).expect("read"), b"mine");
    assert_eq!(std::fs::symlink_metadata(dir.path().join("admin.token")).expect("a file").mode() & 0o777, 0o600);
    let maria = stage.token("maria", "viewer").await;
    let listed = stage.json("GET", "/api/tokens", Some(&admin), None).await;
    let events = stage.json("GET", "/api/events?limit=1000", Some(&admin), None).await;
    assert!(events.to_string().contains("token.created"), "{events}");
    for secret in [&admin, &maria] {
        assert!(!listed.to_string().contains(secret.as_str()) && !events.to_string().contains(secret.as_str()));
    }
    stage.close().await;
}

#[tokio::test]
async fn revocation_ends_what_is_open() {
    use tokio::io::AsyncWriteExt as _;
    let dir = tempfile::tempdir().expect("a folder");
    let stage = Stage::start(dir.path(), |options| options.require_token = true).await;
    let viewer = stage.token("maria", "viewer").await;
    let worker = stage.token("fleet", "worker").await;
    let mut events = stage.connect().await;
    let request = stage.request("GET", "/api/events/stream", Some(&viewer), None);
    let request = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    events.write_all(request.as_bytes()).await.expect("sent");
    assert_eq!(head(&mut events).await.status, 200);
    let mut socket = stage.connect().await;
    let upgrade = format!(
        "GET /api/workers/connect HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {worker}\r\nconnection: upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: neuraxis.worker.v1\r\n\r\n",
        stage.address
    );
    socket.write_all(upgrade.as_bytes()).await.expect("sent");
    assert_eq!(head(&mut socket).await.status, 101);

    // Replaced, not only revoked: the former secret is no longer known.
    stage.token("maria", "viewer").await;
    rest(&mut events).await;
    let admin = stage.admin.clone();
    assert_eq!(stage.ask("DELETE", "/api/tokens/fleet", admin.as_deref(), None).await.status, 204);
    rest(&mut socket).await;
    assert_eq!(stage.ask("GET", "/api/server", Some(&viewer), None).await.status, 401);
    assert_eq!(stage.ask("POST", "/api/tokens", Some(&worker), Some(&json!({}))).await.status, 401);
    stage.close().await;
}
