//! The description: what is committed for clients is what the server serves, and no answer is described in words alone.

use std::collections::BTreeSet;

use serde_json::Value;

#[test]
fn the_committed_description_is_the_served_one() {
    let text = serde_json::to_string_pretty(&nx_api::openapi()).expect("JSON") + "\n";
    expect_test::expect_file!["../../../../docs/openapi.json"].assert_eq(&text);
}

/// Answers whose form is not ours to say.
const FREE: &str = "
    GET /api/kinds/{kind}/schema
    GET /api/models/{name}/decisions/{decision}/inputs/{input}
";

#[test]
fn every_answer_and_request_names_its_fields() {
    let document = serde_json::to_value(nx_api::openapi()).expect("a document");
    let free: BTreeSet<&str> = FREE.lines().map(str::trim).collect();
    let (mut seen, mut names) = (0, BTreeSet::new());
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let name = format!("{} {path}", method.to_uppercase());
            let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
            assert!(names.insert(id), "{name}: another operation has the name {}", operation["operationId"]);
            for answer in operation["responses"].as_object().expect("answers").values() {
                assert_ne!(answer["description"].as_str().unwrap_or_default(), "", "{name}: {answer}");
            }
            let answers = operation["responses"].as_object().expect("answers").values();
            for part in answers.chain(operation.get("requestBody")) {
                let Some(schema) = part.pointer("/content/application~1json/schema") else { continue };
                let Some(target) = schema["$ref"].as_str() else {
                    assert!(free.contains(name.as_str()) || path.ends_with("/events"), "{name}: {schema}");
                    continue;
                };
                let body = document
                    .pointer(target.strip_prefix('#').unwrap_or(target))
                    .unwrap_or_else(|| panic!("{name}: {target}"));
                let fields = body.get("properties").or_else(|| body.get("allOf"));
                assert!(fields.is_some_and(has_any), "{name}: {body}");
                seen += 1;
            }
        }
    }
    assert!(seen > 40, "{seen}");
}

fn has_any(value: &Value) -> bool {
    value.as_object().is_some_and(|fields| !fields.is_empty())
        || value.as_array().is_some_and(|parts| !parts.is_empty())
}
