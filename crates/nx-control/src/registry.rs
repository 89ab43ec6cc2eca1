//! The kinds that there are, and the check of a manifest against its kind: unknown fields with the nearest valid
//! name, every error at once, defaults filled in.

mod help;

use std::collections::{BTreeMap, BTreeSet};

use nx_types::{FieldError, KindDescriptor, Metadata, Namespace, Resource, json::escape, kind::nearest, resource};
use serde_json::{Map, Value};

use crate::{Error, manifest::file_reference};

pub use help::FieldHelp;

/// Most annotations of a resource.
const MAX_ANNOTATIONS: usize = 64;
/// Most bytes of all annotations of a resource, names and texts.
const MAX_ANNOTATION_BYTES: usize = 8 << 10;

/// The kinds that the server knows, in alphabetical order.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    kinds: BTreeMap<&'static str, KindDescriptor>,
}

impl Registry {
    /// A registry of these kinds; of two with the same name the later one stands.
    pub fn new(kinds: impl IntoIterator<Item = KindDescriptor>) -> Self {
        Self { kinds: kinds.into_iter().map(|kind| (kind.kind, kind)).collect() }
    }

    /// All kinds.
    pub fn kinds(&self) -> impl Iterator<Item = &KindDescriptor> {
        self.kinds.values()
    }

    /// The kind that is called so in manifests or commands: `Reflex`, `reflex`, `reflexes`.
    pub fn kind(&self, name: &str) -> Result<&KindDescriptor, Error> {
        let found = self.kinds.get(name).or_else(|| {
            self.kinds().find(|kind| kind.kind.eq_ignore_ascii_case(name) || kind.plural.eq_ignore_ascii_case(name))
        });
        found.ok_or_else(|| Error::UnknownKind {
            kind: name.chars().take(64).collect(),
            nearest: nearest(name, self.kinds.keys().copied()).unwrap_or("none").to_owned(),
            known: self.kinds.keys().copied().collect::<Vec<_>>().join(", "),
        })
    }

    /// The JSON Schema (2020-12) of a whole manifest of the kind, for editors.
    pub fn schema(&self, kind: &str) -> Result<Value, Error> {
        let kind = self.kind(kind)?;
        let mut spec = (kind.schema)();
        let mut definitions = Value::Null;
        if let Value::Object(rules) = &mut spec {
            rules.remove("$schema");
            definitions = rules.remove("$defs").unwrap_or_default();
        }
        let name = serde_json::json!({ "type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" });
        let text = serde_json::json!({ "type": "string" });
        let mut schema = serde_json::json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": kind.kind,
            "description": kind.about,
            "type": "object",
            "required": ["kind", "metadata", "spec"],
            "additionalProperties": false,
            "properties": {
                "apiVersion": { "const": resource::API_VERSION },
                "kind": { "const": kind.kind },
                "metadata": {
                    "type": "object",
                    "required": ["name"],
                    "additionalProperties": false,
                    "properties": {
                        "name": name,
                        "namespace": text,
                        "annotations": { "type": "object", "additionalProperties": text },
                        "generation": { "type": "integer" },
                        "resourceVersion": { "type": "integer" },
                        "created": text,
                    },
                },
                "spec": spec,
                "status": {},
            },
        });
        if let (Value::Object(rules), Value::Object(_)) = (&mut schema, &definitions) {
            rules.insert("$defs".to_owned(), definitions);
        }
        Ok(schema)
    }

    /// The minimal manifest that `neuraxis init KIND` prints.
    pub fn example(&self, kind: &str) -> Result<&'static str, Error> {
        self.kind(kind).map(|kind| kind.example)
    }

    /// The fields of a kind's spec, with their descriptions.
    pub fn fields(&self, kind: &str) -> Result<Vec<FieldHelp>, Error> {
        self.kind(kind).map(|kind| help::fields(&(kind.schema)()))
    }

    /// The text that `neuraxis help KIND` prints.
    pub fn help(&self, kind: &str) -> Result<String, Error> {
        self.kind(kind).map(help::text)
    }

    /// Checks a manifest. What was left out of `spec` is filled in; `status` is ignored.
    pub fn check(&self, manifest: &Value, namespace: &Namespace) -> Result<Resource, Error> {
        let empty = Map::new();
        let fields = manifest.as_object().unwrap_or(&empty);
        let kind = match fields.get("kind") {
            Some(Value::String(kind)) => self.kind(kind)?,
            _ => {
                let error = FieldError::new("/kind", "field `kind` is missing; write for example `kind: Reflex`");
                return Err(Error::Invalid { resource: "the manifest".to_owned(), errors: vec![error] });
            }
        };
        let mut errors = Vec::new();
        unknown(fields, &["apiVersion", "kind", "metadata", "spec", "status"], "", &mut errors);
        match fields.get("apiVersion") {
            None => {}
            Some(Value::String(version)) if version == resource::API_VERSION => {}
            Some(_) => errors.push(FieldError::new("/apiVersion", format!("must be `{}`", resource::API_VERSION))),
        }
        let metadata = metadata(fields.get("metadata"), namespace, &mut errors);
        let spec = match (kind.check)(fields.get("spec").unwrap_or(&Value::Null)) {
            Ok(spec) => spec,
            Err(found) => {
                errors.extend(found);
                Value::Null
            }
        };
        file_references(fields.get("spec").unwrap_or(&Value::Null), "/spec", &mut errors);
        if errors.is_empty() {
            let (api_version, status) = (resource::API_VERSION.to_owned(), Value::Null);
            return Ok(Resource { api_version, kind: kind.kind.to_owned(), metadata, spec, status });
        }
        Err(Error::Invalid { resource: format!("{} `{}`", kind.kind, metadata.name), errors })
    }
}

/// Checks a resource's name: 1 to 63 of a-z, 0-9 and `-`, with a letter or digit at both ends.
pub fn check_name(name: &str) -> Result<(), String> {
    let inner = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if name.is_empty() || name.len() > 63 || !inner || name.starts_with('-') || name.ends_with('-') {
        let name: String = name.chars().take(64).collect();
        return Err(format!(
            "`{name}` is not a name: 1 to 63 of a-z, 0-9 and `-`, with a letter or digit at both ends"
        ));
    }
    Ok(())
}

fn unknown(fields: &Map<String, Value>, valid: &[&str], pointer: &str, errors: &mut Vec<FieldError>) {
    for name in fields.keys().filter(|name| !valid.contains(&name.as_str())) {
        let meant = nearest(name, valid.iter().copied()).unwrap_or_default();
        let name: String = name.chars().take(64).collect();
        let message = format!("unknown field `{name}`; did you mean `{meant}`?");
        errors.push(FieldError::new(format!("{pointer}/{}", escape(&name)), message));
    }
}

fn metadata(given: Option<&Value>, namespace: &Namespace, errors: &mut Vec<FieldError>) -> Metadata {
    let mut metadata = Metadata { namespace: namespace.clone(), ..Metadata::default() };
    let Some(Value::Object(fields)) = given else {
        errors
            .push(FieldError::new("/metadata", "field `metadata` is missing; write for example `metadata: {name: a}`"));
        return metadata;
    };
    let valid = ["name", "namespace", "annotations", "generation", "resourceVersion", "created"];
    unknown(fields, &valid, "/metadata", errors);
    match fields.get("name") {
        Some(Value::String(name)) => {
            metadata.name.clone_from(name);
            if let Err(message) = check_name(name) {
                errors.push(FieldError::new("/metadata/name", message));
            }
        }
        Some(_) => errors.push(FieldError::new("/metadata/name", "must be a text; quote it")),
        None => errors.push(FieldError::new("/metadata", "field `name` is missing")),
    }
    match fields.get("namespace") {
        None | Some(Value::Null) => {}
        Some(Value::String(name)) if name == namespace.as_str() => {}
        Some(Value::String(name)) => match Namespace::new(name) {
            Ok(_) => {
                let message = format!("is `{name}`, but the request is for namespace `{namespace}`");
                errors.push(FieldError::new("/metadata/namespace", message));
            }
            Err(err) => errors.push(FieldError::new("/metadata/namespace", err.to_string())),
        },
        Some(_) => errors.push(FieldError::new("/metadata/namespace", "must be a text")),
    }
    if let Some(annotations) = fields.get("annotations") {
        metadata.annotations = read_annotations(annotations, errors);
    }
    match fields.get("resourceVersion") {
        None | Some(Value::Null) => {}
        Some(version) => {
            metadata.resource_version = version.as_u64();
            if metadata.resource_version.is_none() {
                errors.push(FieldError::new("/metadata/resourceVersion", "must be a whole number"));
            }
        }
    }
    metadata
}

fn read_annotations(given: &Value, errors: &mut Vec<FieldError>) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    let mut bytes = 0;
    match given {
        Value::Null => {}
        Value::Object(fields) => {
            for (name, text) in fields {
                let Value::String(text) = text else {
                    let place = format!("/metadata/annotations/{}", escape(name));
                    errors.push(FieldError::new(place, "must be a text; quote it"));
                    continue;
                };
                bytes += name.len() + text.len();
                annotations.insert(name.clone(), text.clone());
            }
        }
        _ => errors.push(FieldError::new("/metadata/annotations", "must be a map of texts")),
    }
    if annotations.len() > MAX_ANNOTATIONS || bytes > MAX_ANNOTATION_BYTES {
        let message =
            format!("at most {MAX_ANNOTATIONS} annotations of {MAX_ANNOTATION_BYTES} bytes together are kept");
        errors.push(FieldError::new("/metadata/annotations", message));
    }
    annotations
}

/// `file:PATH` is resolved where the file is: by the command line. Taken as it stands it would be a silent mistake.
fn file_references(value: &Value, pointer: &str, errors: &mut Vec<FieldError>) {
    match value {
        Value::String(text) if file_reference(text).is_some_and(|path| !path.contains(' ')) => {
            let message = "`file:` is resolved by the command line; send the file's content instead";
            errors.push(FieldError::new(pointer, message));
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                file_references(item, &format!("{pointer}/{place}"), errors);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                file_references(field, &format!("{pointer}/{}", escape(name)), errors);
            }
        }
        _ => {}
    }
}

/// The kinds of several crates, without doubles: what the binary hands to [`Registry::new`].
pub fn duplicates(kinds: &[KindDescriptor]) -> Vec<&'static str> {
    let mut seen = BTreeSet::new();
    kinds.iter().map(|kind| kind.kind).filter(|kind| !seen.insert(*kind)).collect()
}

#[cfg(test)]
mod tests;
