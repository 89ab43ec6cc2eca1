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
    cli::{ApplyArgs, DiffArgs, Format, GetArgs, NamedArgs},
    client::Client,
    output,
};

/// Every kind of this release.
pub(super) fn kinds() -> Vec<KindDescriptor> {
    nx_control::kinds().into_iter().chain(nx_runs::kinds::descriptors()).chain(nx_models::kinds()).collect()
}

fn registry() -> Registry {
    Registry::new(kinds())
}

pub(super) fn init(format: Format, kind: &str) -> anyhow::Result<()> {
    let registry = registry();
    let example = registry.example(kind)?;
    if format == Format::Json {
        let manifests = manifest::parse(example, &manifest::Limits::default())?;
        return output::show(format, manifests.first().unwrap_or(&Value::Null), |_| ());
    }
    print!("{example}");
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

pub(super) async fn apply(context: &Context, args: ApplyArgs) -> anyhow::Result<()> {
    let done = send(context, &args.file, args.dry_run).await?;
    output::show(context.format, &done, |done| {
        let dry = if args.dry_run { " (dry run)" } else { "" };
        for item in list(done, "items") {
            println!("{}/{} {}{dry}", text(item, "kind").to_lowercase(), text(item, "name"), text(item, "change"));
        }
    })
}

pub(super) async fn diff(context: &Context, args: DiffArgs) -> anyhow::Result<()> {
    let done = send(context, &args.file, true).await?;
    output::show(context.format, &done, |done| {
        for item in list(done, "items").iter().filter(|item| text(item, "change") != "unchanged") {
            println!("{}/{} {}", text(item, "kind").to_lowercase(), text(item, "name"), text(item, "change"));
            print!("{}", text(item, "diff"));
        }
    })
}

async fn send(context: &Context, files: &[PathBuf], dry_run: bool) -> anyhow::Result<Value> {
    let body = json!({"manifests": manifests(files)?, "dry_run": dry_run, "namespace": context.client.namespace()});
    context.client.post("/api/apply", &body).await
}

/// The manifests of all these places; none at all is an error.
pub(super) fn manifests(files: &[PathBuf]) -> anyhow::Result<Vec<Value>> {
    let mut manifests = Vec::new();
    for path in files {
        manifests.extend(read(path)?);
    }
    if manifests.is_empty() {
        let names: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
        bail!("there is no manifest in {}", names.join(", "));
    }
    Ok(manifests)
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

/// Every resource of a kind, whatever the size of the server's pages.
async fn all(context: &Context, kind: &str) -> anyhow::Result<Value> {
    let mut items = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = vec![("namespace", context.client.namespace().to_owned()), ("limit", "500".to_owned())];
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page = context.client.get(&Client::path(&["resources", kind]), &query).await?;
        items.extend(list(&page, "items").iter().cloned());
        match page.get("next").and_then(Value::as_str) {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(json!({"items": items})),
        }
    }
}

pub(super) async fn get(context: &Context, args: GetArgs) -> anyhow::Result<()> {
    let query = [("namespace", context.client.namespace().to_owned())];
    let (kind, name) = split(&args.kind, args.name.as_deref());
    match name {
        Some(name) => {
            let resource = context.client.get(&Client::path(&["resources", kind, name]), &query).await?;
            output::show(context.format, &resource, |resource| print!("{}", manifest::to_yaml(resource)))
        }
        None => {
            let page = all(context, kind).await?;
            output::show(context.format, &page, |page| {
                let rows: Vec<Vec<String>> = list(page, "items").iter().map(row).collect();
                output::table(&["kind", "name", "generation", "status"], &rows);
            })
        }
    }
}

/// `KIND NAME` and `KIND/NAME` are the same.
fn split<'a>(kind: &'a str, name: Option<&'a str>) -> (&'a str, Option<&'a str>) {
    match (kind.split_once('/'), name) {
        (Some((kind, name)), None) if !name.is_empty() => (kind, Some(name)),
        _ => (kind, name),
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
    let (kind, name) = named(&args)?;
    let resource = context.client.get(&Client::path(&["resources", kind, name]), &query).await?;
    output::show(context.format, &resource, |described| {
        let mut resource = described.clone();
        let events = resource.as_object_mut().and_then(|fields| fields.remove("events"));
        print!("{}", manifest::to_yaml(&resource));
        println!("events:");
        for event in events.iter().flat_map(|events| events.as_array().into_iter().flatten()) {
            println!("{}", super::events::line(event));
        }
    })
}

fn named(args: &NamedArgs) -> anyhow::Result<(&str, &str)> {
    let (kind, name) = split(&args.kind, args.name.as_deref());
    let name = name.with_context(|| format!("name the {kind}: `{kind} NAME` or `{kind}/NAME`"))?;
    Ok((kind, name))
}

pub(super) async fn delete(context: &Context, args: NamedArgs) -> anyhow::Result<()> {
    let query = [("namespace", context.client.namespace().to_owned())];
    let (kind, name) = named(&args)?;
    context.client.delete(&Client::path(&["resources", kind, name]), &query).await?;
    let deleted = json!({"kind": kind, "name": name});
    output::show(context.format, &deleted, |_| println!("{kind}/{name} deleted"))
}
