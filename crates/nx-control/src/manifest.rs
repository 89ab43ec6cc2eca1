//! Manifests: one or more YAML or JSON documents. Everything that could blow up (size, depth, aliases, documents) has
//! a bound. Parsing knows no kinds; the [`crate::Registry`] checks what was parsed.

use serde_json::Value;

use crate::Error;

/// Bounds of one input.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most bytes.
    pub max_bytes: usize,
    /// Most documents.
    pub max_documents: usize,
    /// Deepest nesting.
    pub max_depth: usize,
    /// Most YAML aliases.
    pub max_aliases: usize,
    /// Most values (scalars, lists, maps), those that aliases repeat included.
    pub max_nodes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_bytes: 1 << 20, max_documents: 256, max_depth: 48, max_aliases: 256, max_nodes: 100_000 }
    }
}

/// Reads the documents of a text: YAML documents, a JSON object, or a JSON list of objects. Empty documents are
/// skipped.
pub fn parse(text: &str, limits: &Limits) -> Result<Vec<Value>, Error> {
    if text.len() > limits.max_bytes {
        return Err(Error::TooLarge { what: "the manifest".to_owned(), size: text.len(), max: limits.max_bytes });
    }
    let documents = match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(documents)) => documents,
        Ok(document) => vec![document],
        Err(_) => parse_yaml(text, limits)?,
    };
    let documents: Vec<Value> = documents.into_iter().filter(|document| !document.is_null()).collect();
    if documents.len() > limits.max_documents {
        let what = "the number of documents".to_owned();
        return Err(Error::TooLarge { what, size: documents.len(), max: limits.max_documents });
    }
    for (place, document) in documents.iter().enumerate() {
        let wrong = |detail: &str| Error::Manifest { document: place + 1, detail: detail.to_owned() };
        if !document.is_object() {
            return Err(wrong("expected a map with `kind`, `metadata` and `spec`"));
        }
        if depth(document) > limits.max_depth {
            return Err(wrong(&format!("it is nested deeper than {} levels", limits.max_depth)));
        }
    }
    Ok(documents)
}

fn parse_yaml(text: &str, limits: &Limits) -> Result<Vec<Value>, Error> {
    let mut budget = serde_saphyr::Budget::default();
    budget.max_depth = limits.max_depth;
    budget.flow_nesting_limit = limits.max_depth;
    budget.max_documents = limits.max_documents + 1;
    budget.max_aliases = limits.max_aliases;
    budget.max_anchors = limits.max_aliases;
    budget.max_nodes = limits.max_nodes;
    budget.max_events = limits.max_nodes.saturating_mul(2);
    budget.max_recorded_anchor_events = limits.max_nodes;
    budget.max_total_scalar_bytes = limits.max_bytes.saturating_mul(2);
    budget.max_merge_keys = limits.max_aliases;
    let mut options = serde_saphyr::Options::default();
    options.budget = Some(budget);
    options.alias_limits.max_total_replayed_events = limits.max_nodes;
    options.alias_limits.max_replay_stack_depth = 8;
    options.alias_limits.max_alias_expansions_per_anchor = limits.max_aliases;
    options.strict_booleans = true;
    options.leading_zero_numbers_as_strings = true;
    options.underscored_numbers_as_strings = true;
    options.with_snippet = false;
    serde_saphyr::from_multiple_with_options::<Value>(text, options).map_err(|err| {
        let place = err.location().map(|at| format!(" (line {}, column {})", at.line(), at.column()));
        let document = document_at(text, err.location().map_or(0, |at| at.line() as usize));
        let detail = err.to_string().lines().next().unwrap_or_default().chars().take(240).collect::<String>();
        Error::Manifest { document, detail: format!("{detail}{}", place.unwrap_or_default()) }
    })
}

/// Which document a line stands in, from 1.
fn document_at(text: &str, line: usize) -> usize {
    let mut document = 1;
    let mut content = false;
    for line in text.lines().take(line) {
        if line.trim_end() == "---" {
            document += usize::from(content);
            content = false;
        } else {
            content |= !line.trim().is_empty() && !line.starts_with('#');
        }
    }
    document
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// The value as a YAML document.
pub fn to_yaml(value: &Value) -> String {
    let text = serde_saphyr::to_string(value).unwrap_or_else(|_err| value.to_string());
    if text.ends_with('\n') { text } else { text + "\n" }
}

/// Whether a text of a spec names a file that the command line replaces by its content: `file:triage.md`.
pub fn file_reference(text: &str) -> Option<&str> {
    text.strip_prefix("file:").filter(|path| !path.is_empty() && !path.starts_with("//") && !path.contains(['\n', '$']))
}

/// Replaces every `file:PATH` text below `spec` by what `read` gives for the path. Only the command line calls this:
/// a server that read files for its clients would hand out its own.
pub fn resolve_files<E>(manifest: &mut Value, read: &mut dyn FnMut(&str) -> Result<String, E>) -> Result<(), E> {
    fn walk<E>(value: &mut Value, read: &mut dyn FnMut(&str) -> Result<String, E>) -> Result<(), E> {
        match value {
            Value::String(text) => {
                if let Some(path) = file_reference(text) {
                    *text = read(path)?;
                }
                Ok(())
            }
            Value::Array(items) => items.iter_mut().try_for_each(|item| walk(item, read)),
            Value::Object(fields) => fields.values_mut().try_for_each(|field| walk(field, read)),
            _ => Ok(()),
        }
    }
    manifest.get_mut("spec").map_or(Ok(()), |spec| walk(spec, read))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Vec<Value>, String> {
        parse(text, &Limits::default()).map_err(|err| err.to_string())
    }

    #[test]
    fn several_documents() {
        let text = "kind: Reflex\nmetadata: {name: a}\nspec: {on: yes.no, when: \"${event.data.n < 0.6}\"}\n---\n\n---\nkind: Secret\n";
        assert_eq!(
            read(text),
            Ok(vec![
                json!({ "kind": "Reflex", "metadata": { "name": "a" },
                    "spec": { "on": "yes.no", "when": "${event.data.n < 0.6}" } }),
                json!({ "kind": "Secret" }),
            ])
        );
        assert_eq!(read(r#"[{"kind":"A"},{"kind":"B"}]"#), Ok(vec![json!({ "kind": "A" }), json!({ "kind": "B" })]));
        assert_eq!(read("on: off\nn: 012\n"), Ok(vec![json!({ "on": "off", "n": "012" })]));
        assert_eq!(read(""), Ok(vec![]));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, part) in [
            ("kind: A\n---\nkind: [", "document 2 is not a manifest"),
            ("kind: A\nkind: B\n", "line 2"),
            ("- 1\n", "expected a map"),
            ("just text", "expected a map"),
            ("a: *nowhere\n", "document 1"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn bombs_are_refused() {
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let below = format!("*a{}, ", level - 1).repeat(9);
            laughs.extend(["a", &level.to_string(), ": &a", &level.to_string(), " [", &below, "]\n"]);
        }
        assert!(read(&laughs).is_err());
        let deep = format!("a: {}{}", "[".repeat(60), "]".repeat(60));
        assert!(read(&deep).is_err());
        let deep_json = format!("{{\"a\":{}{}}}", "[".repeat(60), "]".repeat(60));
        assert!(read(&deep_json).expect_err("is deep").contains("deeper"));
        assert!(read(&"---\nkind: A\n".repeat(300)).is_err());
        assert!(read(&"a".repeat(2 << 20)).expect_err("is large").contains("over the bound"));
    }

    #[test]
    fn files_are_resolved_below_the_spec() {
        let mut manifest = json!({ "metadata": { "name": "file:x" },
            "spec": { "a": ["file:t.md", "file://host/x", "profile:x"] } });
        resolve_files(&mut manifest, &mut |path| Ok::<_, ()>(format!("content of {path}"))).expect("resolves");
        assert_eq!(manifest["spec"]["a"], json!(["content of t.md", "file://host/x", "profile:x"]));
        assert_eq!(manifest["metadata"]["name"], json!("file:x"));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-1_000_000i64..1_000_000).prop_map(Value::from),
            (-1e6f64..1e6).prop_map(Value::from),
            "[ -~äß\n\t]{0,12}".prop_map(Value::from),
            prop_oneof![
                Just("yes"),
                Just("null"),
                Just("1e3"),
                Just("~"),
                Just("0x1f"),
                Just("- a"),
                Just("a: b"),
                Just("1_0")
            ]
            .prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-zA-Z0-9._-]{1,6}", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn yaml_round_trips(spec in any_json()) {
            let document = json!({ "kind": "A", "spec": spec });
            prop_assert_eq!(read(&to_yaml(&document)), Ok(vec![document]));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[a-z0-9:{}\\[\\]\"'&*!|>%@`,#?~<. \n\t-]{0,120}") {
            drop(read(&text));
        }
    }
}
