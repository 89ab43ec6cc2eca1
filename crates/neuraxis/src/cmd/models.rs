//! `model`, `infer`.

use std::{io::Read as _, path::Path};

use anyhow::{Context as _, bail, ensure};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::{Context, compress, json_argument, list, measure, number, text};
use crate::{
    cli::{InferArgs, ModelCommand, PullArgs},
    client::Client,
    output,
};

/// Largest model that is sent.
const MAX_BYTES: u64 = nx_api::MAX_MODEL_BYTES as u64;
/// Between two parts of the form that carries a model: no ONNX file or manifest holds it by chance.
const BOUNDARY: &str = "neuraxis-9f1c7a52e0b84d3f-model";

pub(super) async fn run(context: &Context, command: ModelCommand) -> anyhow::Result<()> {
    let client = &context.client;
    let here = [("namespace", client.namespace().to_owned())];
    match command {
        ModelCommand::Pull(args) => pull(context, args).await,
        ModelCommand::List => {
            let page = client.get("/api/models", &here).await?;
            output::show(context.format, &page, |page| {
                let rows: Vec<Vec<String>> = list(page, "items").iter().map(row).collect();
                output::table(&["model", "versions", "aliases", "newest", "served"], &rows);
            })
        }
        ModelCommand::Show { model } => show(context, &model).await,
        ModelCommand::Alias { name, alias, version, remove } => {
            let path = Client::path(&["models", &name, "aliases", &alias]);
            if remove {
                client.delete(&path, &here).await?;
                return output::show(context.format, &json!({"removed": alias}), |_| println!("{alias} removed"));
            }
            let body = json!({"version": version, "namespace": client.namespace()});
            let model = client.put(&path, &body).await?;
            output::show(context.format, &model, |model| println!("{name}@{alias} is {}", pointed(model, &alias)))
        }
        ModelCommand::Rollback { name, alias } => {
            let path = Client::path(&["models", &name, "aliases", &alias, "rollback"]);
            let model = client.send_bytes(&path, &here, "application/octet-stream", Bytes::new().into()).await?;
            output::show(context.format, &model, |model| println!("{name}@{alias} is {} again", pointed(model, &alias)))
        }
        ModelCommand::Save { model, file } => {
            let (name, version) = model.split_once('@').unwrap_or((&model, "live"));
            let bytes = client.bytes(&Client::path(&["models", name, "versions", version, "file"]), &here).await?;
            std::fs::write(&file, &bytes).with_context(|| format!("cannot write `{}`", file.display()))?;
            let done = json!({"file": file.display().to_string(), "bytes": bytes.len()});
            output::show(context.format, &done, |_| println!("{model} written, {}", size(bytes.len() as u64)))
        }
        ModelCommand::Verify { folder, key } => compress::verify(context.format, &folder, key.as_deref()),
        ModelCommand::Device => measure::device(context.format),
        ModelCommand::Bench(args) => measure::bench(context, args).await,
        ModelCommand::Tune(args) => measure::tune(context, args).await,
        ModelCommand::Delete { model, yes } => {
            if !yes && !output::confirm(&format!("delete {model} with its file and its key?"))? {
                bail!("nothing was deleted; --yes deletes without asking");
            }
            let path = match model.split_once('@') {
                Some((name, version)) => Client::path(&["models", name, "versions", version]),
                None => Client::path(&["models", &model]),
            };
            client.delete(&path, &here).await?;
            output::show(context.format, &json!({"deleted": model}), |_| println!("{model} deleted"))
        }
    }
}

fn row(model: &Value) -> Vec<String> {
    let versions = list(model, "versions");
    let newest = versions.last().unwrap_or(&Value::Null);
    let engine = |version: &Value| version.pointer("/serving/engine").and_then(Value::as_str).map(str::to_owned);
    let served: Vec<String> = versions
        .iter()
        .filter_map(|version| Some(format!("{} on {}", number(version, "version"), engine(version)?)))
        .collect();
    vec![
        text(model, "name").to_owned(),
        versions.len().to_string(),
        aliases(model),
        format!("{} ({}, {})", number(newest, "version"), size(number(newest, "bytes")), text(newest, "licence")),
        served.join(", "),
    ]
}

fn aliases(model: &Value) -> String {
    let all = model.get("aliases").and_then(Value::as_object).into_iter().flatten();
    all.map(|(alias, version)| format!("{alias} → {version}")).collect::<Vec<_>>().join(", ")
}

fn pointed(model: &Value, alias: &str) -> u64 {
    model.get("aliases").map_or(0, |aliases| number(aliases, alias))
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

async fn show(context: &Context, model: &str) -> anyhow::Result<()> {
    let here = [("namespace", context.client.namespace().to_owned())];
    if let Some((name, version)) = model.split_once('@') {
        let found = context.client.get(&Client::path(&["models", name, "versions", version]), &here).await?;
        return output::show(context.format, &found, |found| {
            println!(
                "{name}@{}  {}  sha256 {}",
                number(found, "version"),
                size(number(found, "bytes")),
                text(found, "sha256")
            );
            println!("{}", output::yaml(found.get("manifest").unwrap_or(&Value::Null)).unwrap_or_default().trim_end());
        });
    }
    let found = context.client.get(&Client::path(&["models", model]), &here).await?;
    output::show(context.format, &found, |found| {
        println!("{}  {}", text(found, "name"), aliases(found));
        let row = |version: &Value| {
            let serving = version.get("serving").unwrap_or(&Value::Null);
            let from = version
                .get("from")
                .map(|from| format!("{}@{} {}", text(from, "artifact"), number(from, "version"), text(from, "method")));
            vec![
                number(version, "version").to_string(),
                size(number(version, "bytes")),
                output::short(text(version, "sha256")),
                text(version, "licence").to_owned(),
                from.unwrap_or_else(|| text(version, "source").to_owned()),
                number(version, "place").to_string(),
                text(serving, "engine").to_owned(),
                number(serving, "answered").to_string(),
            ]
        };
        let rows: Vec<Vec<String>> = list(found, "versions").iter().map(row).collect();
        output::table(&["version", "size", "sha256", "licence", "from", "place", "engine", "answered"], &rows);
    })
}

pub(super) async fn pull(context: &Context, args: PullArgs) -> anyhow::Result<()> {
    let remote = args.from.starts_with("http://") || args.from.starts_with("https://");
    let (bytes, source) = if remote {
        ensure!(args.sha256.is_some(), "a model from a URL needs --sha256, the hash that it must have");
        // What a URL holds beside the address stays here.
        let source = args.from.split(['?', '#']).next().unwrap_or_default().to_owned();
        (download(&args.from).await?, source)
    } else {
        let path = Path::new(&args.from);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        (read(path, MAX_BYTES)?, name)
    };
    let beside = ["yaml", "yml", "json"].into_iter().map(|end| Path::new(&args.from).with_extension(end));
    let manifest = match args.manifest {
        Some(path) => Some(path),
        None if remote => None,
        None => beside.into_iter().find(|path| path.is_file()),
    };
    let manifest = manifest.map(|path| read(&path, 1 << 20)).transpose()?;
    let mut query = vec![("namespace", context.client.namespace().to_owned()), ("source", source)];
    let given = [
        ("sha256", args.sha256),
        ("licence", args.licence),
        ("alias", args.alias),
        ("from", args.made_from),
        ("method", args.method),
    ];
    query.extend(given.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let path = Client::path(&["models", &args.name, "versions"]);
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let done = context.client.send_bytes(&path, &query, &kind, form(manifest, bytes)).await?;
    output::show(context.format, &done, |done| {
        let version = number(done, "version");
        let model = done.get("model").unwrap_or(&Value::Null);
        let stored = list(model, "versions").iter().find(|stored| number(stored, "version") == version);
        let stored = stored.unwrap_or(&Value::Null);
        let engines: Vec<&str> = list(done, "engines").iter().filter_map(Value::as_str).collect();
        println!(
            "{}@{version}  {}  sha256 {}…  runs on {}  {}",
            args.name,
            size(number(stored, "bytes")),
            output::short(text(stored, "sha256")),
            engines.join(", "),
            aliases(model),
        );
    })
}

/// The form's bytes: its head, the model as it is, its end.
fn form(manifest: Option<Bytes>, model: Bytes) -> reqwest::Body {
    let part = |name: &str, kind: &str| {
        format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\ncontent-type: {kind}\r\n\r\n"
        )
    };
    let mut chunks = Vec::new();
    if let Some(manifest) = manifest {
        chunks.extend([Bytes::from(part("manifest", "text/plain")), manifest, Bytes::from_static(b"\r\n")]);
    }
    chunks.extend([Bytes::from(part("model", "application/octet-stream")), model]);
    chunks.push(Bytes::from(format!("\r\n--{BOUNDARY}--\r\n")));
    reqwest::Body::wrap_stream(stream::iter(chunks.into_iter().map(Ok::<_, std::io::Error>)))
}

pub(super) fn read(path: &Path, most: u64) -> anyhow::Result<Bytes> {
    let failed = || format!("cannot read `{}`", path.display());
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes)).with_context(failed)?;
    ensure!(bytes.len() as u64 <= most, "`{}` has more than {most} bytes, which is the limit", path.display());
    Ok(bytes.into())
}

/// Downloads a model, no more than the limit, with its progress for whoever sits there.
async fn download(url: &str) -> anyhow::Result<Bytes> {
    let quiet = std::time::Duration::from_secs(30);
    let http = reqwest::Client::builder().connect_timeout(quiet).read_timeout(quiet).build()?;
    let response = http.get(url).send().await.with_context(|| format!("cannot download `{url}`"))?;
    let status = response.status();
    ensure!(status.is_success(), "cannot download `{url}`: the answer was {status}");
    let whole = response.content_length();
    ensure!(
        whole.is_none_or(|whole| whole <= MAX_BYTES),
        "`{url}` has more than {MAX_BYTES} bytes, which is the limit"
    );
    let (mut bytes, mut told) = (BytesMut::new(), 0);
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.with_context(|| format!("`{url}` broke off after {} bytes", bytes.len()))?;
        bytes.extend_from_slice(&chunk);
        ensure!(bytes.len() as u64 <= MAX_BYTES, "`{url}` has more than {MAX_BYTES} bytes, which is the limit");
        let step = bytes.len() / (4 << 20);
        if step > told && output::interactive() {
            told = step;
            let of = whole.map(|whole| format!(" of {}", size(whole))).unwrap_or_default();
            eprint!("\r{}{of}  ", size(bytes.len() as u64));
        }
    }
    if told > 0 {
        eprintln!();
    }
    Ok(bytes.freeze())
}

pub(super) async fn infer(context: &Context, args: InferArgs) -> anyhow::Result<()> {
    let (kind, body) = match (&args.json, &args.file) {
        (Some(given), _) => ("application/json", Bytes::from(body_of(json_argument(given)?).to_string())),
        (None, Some(path)) if path == Path::new("-") => {
            let mut bytes = Vec::new();
            std::io::stdin().take(nx_api::MAX_INFER_BYTES as u64 + 1).read_to_end(&mut bytes)?;
            ("application/octet-stream", bytes.into())
        }
        (None, Some(path)) => ("application/octet-stream", read(path, nx_api::MAX_INFER_BYTES as u64)?),
        (None, None) => bail!("a file or --json is wanted"),
    };
    let mut query = vec![("namespace", context.client.namespace().to_owned())];
    query.extend(args.subject.map(|subject| ("subject", subject)));
    query.extend(args.cause.map(|cause| ("cause", cause.to_string())));
    query.extend(args.deadline.map(|deadline| ("deadline_ms", deadline.as_millis().to_string())));
    let path = Client::path(&["infer", &args.model]);
    let answer = context.client.send_bytes(&path, &query, kind, body.into()).await?;
    output::show(context.format, &answer, |answer| {
        println!("{}", said(answer));
        let millis = (number(answer, "queued_us") + number(answer, "ran_us")) as f64 / 1000.0;
        println!(
            "{}@{} on {}, {millis:.1} ms, decision {} (neuraxis why {})",
            text(answer, "model"),
            number(answer, "version"),
            text(answer, "engine"),
            number(answer, "decision"),
            number(answer, "decision"),
        );
    })
}

/// The body of a request: as given, or around the numbers of a model's only input.
fn body_of(given: Value) -> Value {
    if given.get("inputs").is_some() { given } else { json!({"inputs": {"": {"tensor": given}}}) }
}

/// The answer in a few lines.
fn said(answer: &Value) -> String {
    if let (Some(label), Some(sure)) =
        (answer.get("label").and_then(Value::as_str), answer.get("confidence").and_then(Value::as_f64))
    {
        return format!("{} ({sure:.2})", output::cut(label, 400));
    }
    let outputs = answer.get("outputs").and_then(Value::as_object).into_iter().flatten();
    let line = |(name, output): (&String, &Value)| {
        let shown = ["data", "classes", "detections", "text"].into_iter().find_map(|field| output.get(field));
        format!("{name}: {}", output::cut(&shown.unwrap_or(&Value::Null).to_string(), 400))
    };
    outputs.map(line).collect::<Vec<_>>().join("\n")
}
