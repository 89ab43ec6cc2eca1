//! What pages of other sites, proxies and odd paths get.

use crate::support::Stage;

async fn with(stage: &Stage, first: &str, headers: &str) -> crate::support::Answer {
    stage.raw(&format!("{first} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n")).await
}

#[tokio::test]
async fn a_page_of_another_site_reaches_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let stage = Stage::start(dir.path(), |_| ()).await;
    let address = stage.address;
    let here = format!("host: {address}\r\n");
    let before = stage.json("GET", "/api/server", None, None).await["events"].clone();
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: neuraxis.worker.v1\r\n";
    let body = "content-length: 0\r\n";
    for (first, headers) in [
        // Rebinding: a name of the attacker's that now means this machine.
        ("GET /api/runs", "host: evil.example:7700\r\n".to_owned()),
        ("GET /", "host: evil.example\r\n".to_owned()),
        ("GET http://evil.example/api/runs", "host: evil.example\r\n".to_owned()),
        // Simple requests, which browsers send without asking first.
        ("POST /api/audit/checkpoint", format!("{here}{body}origin: https://evil.example\r\n")),
        ("POST /api/audit/checkpoint", format!("{here}{body}origin: null\r\n")),
        ("POST /api/audit/checkpoint", format!("{here}{body}sec-fetch-site: cross-site\r\n")),
        ("POST /api/runs", format!("{here}{body}content-type: text/plain\r\norigin: http://127.0.0.1:1\r\n")),
        ("OPTIONS /api/runs", format!("{here}origin: https://evil.example\r\naccess-control-request-method: POST\r\n")),
        ("GET /api/doctor", format!("{here}sec-fetch-site: cross-site\r\nsec-fetch-dest: image\r\n")),
        ("GET /api/workers/connect", format!("{here}{upgrade}origin: https://evil.example\r\n")),
        ("GET /api/events", format!("{here}x-forwarded-for: 203.0.113.9\r\n")),
    ] {
        let answer = with(&stage, first, &headers).await;
        assert_eq!(answer.status, 403, "{first} {headers}: {answer:?}");
        assert!(answer.body.contains("NX-API-0008") || answer.body.contains("NX-API-0016"), "{answer:?}");
        assert!(!answer.headers.keys().any(|name| name.starts_with("access-control-")), "{answer:?}");
    }
    assert_eq!(stage.json("GET", "/api/server", None, None).await["events"], before);
    // The console itself may.
    let same = format!("{here}origin: http://{address}\r\nsec-fetch-site: same-origin\r\n{body}");
    assert_eq!(with(&stage, "POST /api/audit/checkpoint", &same).await.status, 200);
    stage.close().await;
}

#[tokio::test]
async fn every_answer_keeps_browsers_careful() {
    let dir = tempfile::tempdir().expect("a folder");
    let stage = Stage::start(dir.path(), |_| ()).await;
    let here = format!("host: {}\r\n", stage.address);
    for (first, headers) in [
        ("GET /", here.clone()),
        ("GET /api/server", here.clone()),
        ("GET /api/nothing", here.clone()),
        ("DELETE /api/server", here.clone()),
        ("GET /api/server", "host: evil.example\r\n".to_owned()),
    ] {
        let answer = with(&stage, first, &headers).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.headers.get(name).map(String::as_str), Some(value), "{first}: {answer:?}");
        }
        assert!(answer.headers["content-security-policy"].starts_with("default-src 'none'"), "{answer:?}");
        let kept = if first == "GET /" { "no-cache" } else { "no-store" };
        assert_eq!(answer.headers["cache-control"], kept, "{first}");
    }
    stage.close().await;
}

#[tokio::test]
async fn no_path_leaves_the_console() {
    let dir = tempfile::tempdir().expect("a folder");
    let stage = Stage::start(dir.path(), |_| ()).await;
    let here = format!("host: {}\r\n", stage.address);
    for path in [
        "/../../../../etc/passwd.txt",
        "/assets/../../../Cargo.toml",
        "/%2e%2e/%2e%2e/Cargo.toml",
        "/..%2f..%2fCargo.toml",
        "/assets/..\\..\\Cargo.toml",
        "//etc/hosts.conf",
        "/etc/passwd\0.html",
        "/assets/.",
        "/journal.db",
        "/keys/master.key",
    ] {
        let answer = with(&stage, &format!("GET {path}"), &here).await;
        assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
        assert!(!answer.body.contains("workspace") && !answer.body.contains("root:"), "{path}: {answer:?}");
    }
    stage.close().await;
}
