//! Secrets by format, by name and by entropy; and what is none.

use expect_test::{Expect, expect};
use nx_guard::detect::{Budget, Detectors};

use super::{found, kinds};

fn check(text: &str, expected: Expect) {
    expected.assert_eq(&found(text));
}

/// So that no scanner of this repository takes a made-up key for a real one, each is put together here.
fn key(prefix: &str, rest: &str) -> String {
    [prefix, rest].concat()
}

#[test]
fn formats() {
    let alnum = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5hJ7kL9";
    let keys = [
        ("aws_key", key("AKIA", "IOSFODNN7EXAMPLE")),
        ("google_key", key("AIza", "SyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY")),
        ("github_token", key("ghp_", &alnum[..36])),
        ("github_token", key("github_pat_", &format!("{}_{}", &alnum[..22], alnum))),
        ("gitlab_token", key("glpat-", &alnum[..20])),
        ("slack_token", key("xoxb-", "123456789012-1234567890123-AbCdEfGhIjKlMnOpQrStUvWx")),
        ("stripe_key", key("sk_live_", &alnum[..24])),
        ("openai_key", key("sk-proj-", &alnum[..40])),
        ("anthropic_key", key("sk-ant-", &format!("api03-{alnum}"))),
        ("azure_key", key("AccountKey=", &format!("{alnum}{alnum}ab=="))),
        ("service_token", key("npm_", &alnum[..36])),
        ("service_token", key("hf_", &alnum[..34])),
    ];
    for (kind, secret) in keys {
        let text = format!("here: {secret}\nnext");
        assert!(kinds(&text).contains(&kind), "{text}: {:?}", kinds(&text));
        let broken = format!("here: {}\nnext", &secret[..secret.len().min(12)]);
        assert!(!kinds(&broken).contains(&kind), "{broken}");
    }
}

#[test]
fn private_keys_and_tokens() {
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nAAAA\n-----END RSA PRIVATE KEY-----";
    assert_eq!(found(&format!("a {pem} b")), format!("private_key 98 {pem:?}\n"));
    check("-----BEGIN CERTIFICATE-----\nMIIEow\n-----END CERTIFICATE-----", expect![""]);
    let jwt = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIn0.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c";
    assert_eq!(kinds(&format!("token {jwt}.")), ["jwt"]);
    assert!(!kinds("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIi").contains(&"jwt"));
}

#[test]
fn names_and_values() {
    check(
        r#"password = hunter2!
        {"api_key": "f81kd93jfw0"} DB_PASSWORD='S3cret pass' export TOKEN=ab12cd34ef
        the password is Tr0ub4dor&3. postgres://app:s3cr3t@db/shop Authorization: Bearer abcdef0123456789ABCDEFxyz"#,
        expect![[r#"
            assigned 80 "hunter2!"
            assigned 75 "f81kd93jfw0"
            assigned 80 "S3cret"
            assigned 70 "ab12cd34ef"
            assigned 80 "Tr0ub4dor&3"
            url_password 85 "s3cr3t"
            assigned 75 "Bearer abcdef0123456789ABCDEFxyz"
        "#]],
    );
    check(
        "Your password: please choose one. password = <password>, pwd=${PWD_1}, token: xxxx1111, secret = your_secret_1, \
         token = get_token(1), the password is required, password: ********, tokens: 4096, https://user@example.org/x, token_count = 12",
        expect![""],
    );
}

#[test]
fn random_tokens() {
    assert_eq!(kinds("value Zk3vQ9xT7bLm2RwY8nHc5GdJ4sPq6 end"), ["random"]);
    check(
        "550e8400-e29b-41d4-a716-446655440000 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 \
         sha512-Zk3vQ9xT7bLm2RwY8nHc5GdJ4sPq6abcDEF012345== src/detect/SomeVeryLongModuleName/another_file_name.rs \
         thisIsAVeryLongCamelCaseIdentifierForTheTest CONSTANT_NAME_THAT_IS_LONG_ENOUGH_2 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        expect![""],
    );
}

#[test]
fn reports_never_hold_the_secret() {
    let secret = "hunter2!x9";
    let detectors = Detectors::embedded();
    let text = format!("password = {secret}");
    let report = detectors.scan(&text, Budget::default());
    assert_eq!(report.findings.len(), 1);
    let value = serde_json::json!({"password": secret, secret: 1});
    let located = detectors.scan_value(&value, Budget::default());
    assert!(located.scores.secrets >= 70);
    let mut mask = Default::default();
    let masked = detectors.mask(&text, &mut mask, Budget::default()).unwrap();
    for shown in [format!("{report:?}"), serde_json::to_string(&report).unwrap(), format!("{mask:?}"), masked] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
