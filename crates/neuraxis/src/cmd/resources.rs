//! `apply`, `get`, `describe`, `delete`, `diff`, `init`, `help`.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use nx_control::{Registry, manifest};
use nx_types::KindDescriptor;
use serde_json::{Value, json};

use super::{Context, list, number, text};
use crate::{
    cli::{ApplyArgs, Format, GetArgs, NamedArgs},
    output,
};

/// Every kind of this release.
pub(super) fn kinds() -> Vec<KindDescriptor> {
    nx_control::kinds().into_iter().chain(nx_runs::kinds::descriptors()).collect()
}

fn registry() -> Registry {
    Registry::new(kinds())
}

pub(super) fn init(kind: &str) -> anyhow::Result<()> {
    print!("{}", registry().example(kind)?);
    Ok(())
}

pub(super) fn help(format: Format, kind: Option<&str>) -> anyhow::Result<()> {
    let registry = registry();
    match kind {
        Some(kind) if format == Format::Human => print!("{}", registry.help(kind)?),
        Some(kind) => output::show(format, &registry.schema(kind)?, |_| ())?,
        None => {
            let kinds: Vec<Value> = registry
                .kinds()
                .map(|kind| json!({"kind": kind.kind, "plural": kind.plural, "about": kind.about}))
                .collect();
            output::show(format, &kinds, |kinds| {
                let row = |kind: &Value| ["kind", "plural", "about"].map(|field| text(kind, field).to_owned()).to_vec();
                output::table(&["kind", "plural", "about"], &kinds.iter().map(row).collect::<Vec<_>>());
                println!("\nneuraxis help KIND explains a kind's fields; neuraxis --help the commands");
            })?;
        }
    }
    Ok(())
}

pub(super) async fn apply(context: &Context, args: ApplyArgs, only_diff: bool) -> anyhow::Result<()> {
    let mut manifests = Vec::new();
    for path in &args.file {
        manifests.extend(read(path)?);
    }
    if manifests.is_empty() {
        bail!(
            "there is no manifest in {}",
            args.file.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
        );
    }
    let body = json!({
        "manifests": manifests, "dry_run": args.dry_run || only_diff, "namespace": context.client.namespace(),
    });
    let done = context.client.post("/api/apply", &body).await?;
    output::show(context.format, &done, |done| {
        for item in list(done, "items") {
            let change = text(item, "change");
            if !only_diff || change != "unchanged" {
                let dry = if args.dry_run && !only_diff { " (dry run)" } else { "" };
                println!("{}/{} {change}{dry}", text(item, "kind").to_lowercase(), text(item, "name"));
            }
            if only_diff {
                print!("{}", text(item, "diff"));
            }
        }
    })
}

/// The manifests of a file, of a directory's YAML and JSON files, or of standard input.
fn read(path: &Path) -> anyhow::Result<Vec<Value>> {
    if path == Path::new("-") {
        let mut content = String::new();
        std::io::stdin().read_to_string(&mut content)?;
        return parse(&content, "standard input", Path::new("."));
    }
    if path.is_dir() {
        let mut files: Vec<PathBuf> = std::fs::read_dir(path)?.flatten().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json"));
        files.sort();
        return files.iter().map(|file| read(file)).collect::<anyhow::Result<Vec<_>>>().map(|all| all.concat());
    }
    let content = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    parse(&content, &path.display().to_string(), path.parent().unwrap_or_else(|| Path::new(".")))
}

fn parse(content: &str, name: &str, dir: &Path) -> anyhow::Result<Vec<Value>> {
    let mut manifests = manifest::parse(content, &manifest::Limits::default()).with_context(|| name.to_owned())?;
    for value in &mut manifests {
        manifest::resolve_files(value, &mut |file| {
            let path = dir.join(file);
            std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))
        })?;
    }
    Ok(manifests)
}

pub(super) async fn get(context: &Context, args: GetArgs) -> anyhow::Result<()> {
    let query = [("namespace", context.client.namespace().to_owned())];
    match args.name {
        Some(name) => {
            let resource = context.client.get(&format!("/api/resources/{}/{name}", args.kind), &query).await?;
            output::show(context.format, &resource, |resource| print!("{}", manifest::to_yaml(resource)))
        }
        None => {
            let page = context.client.get(&format!("/api/resources/{}", args.kind), &query).await?;
            output::show(context.format, &page, |page| {
                let rows: Vec<Vec<String>> = list(page, "items").iter().map(row).collect();
                output::table(&["kind", "name", "generation", "status"], &rows);
            })
        }
    }
}

fn row(resource: &Value) -> Vec<String> {
    let metadata = resource.get("metadata").unwrap_or(&Value::Null);
    let conditions = resource.pointer("/status/conditions").and_then(Value::as_array);
    let status = conditions.into_iter().flatten().map(|condition| {
        let sign = if text(condition, "status") == "True" { "" } else { "not " };
        format!("{sign}{}", text(condition, "type"))
    });
    vec![
        text(resource, "kind").to_owned(),
        text(metadata, "name").to_owned(),
        number(metadata, "generation").to_string(),
        status.collect::<Vec<_>>().join(", "),
    ]
}

pub(super) async fn describe(context: &Context, args: NamedArgs) -> anyhow::Result<()> {
    let query = [("namespace", context.client.namespace().to_owned()), ("events", "true".to_owned())];
    let resource = context.client.get(&format!("/api/resources/{}/{}", args.kind, args.name), &query).await?;
    output::show(context.format, &resource, |described| print!("{}", manifest::to_yaml(described)))
}

pub(super) async fn delete(context: &Context, args: NamedArgs) -> anyhow::Result<()> {
    let query = [("namespace", context.client.namespace().to_owned())];
    context.client.delete(&format!("/api/resources/{}/{}", args.kind, args.name), &query).await?;
    let deleted = json!({"kind": args.kind, "name": args.name});
    output::show(context.format, &deleted, |_| println!("{}/{} deleted", args.kind, args.name))
}
