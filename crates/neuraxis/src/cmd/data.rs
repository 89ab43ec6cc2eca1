//! `erase`, `export`, `backup`, `restore`, `doctor`: the data directory's life.

use std::{io::Write as _, process::ExitCode};

use anyhow::Context as _;
use nx_journal::{
    DoctorReport, Filter, Journal, MasterKeySource, Options,
    archive::{MANIFEST, export_cloudevents, restore as restore_archive},
};
use nx_types::{Env, Seq};
use serde_json::{Value, json};

use super::{Context, list, number, text};
use crate::{
    cli::{BackupArgs, DoctorArgs, EraseArgs, ExportArgs, Format, RestoreArgs, RetainArgs, RotateArgs},
    output, unpack,
};

pub(super) async fn erase(context: &Context, args: EraseArgs) -> anyhow::Result<()> {
    let question = format!("destroy all data of `{}`? This cannot be undone.", args.data_subject);
    anyhow::ensure!(args.yes || output::confirm(&question)?, "nothing erased; confirm with --yes");
    let body = json!({
        "namespace": context.client.namespace(), "data_subject": args.data_subject, "reason": args.reason,
    });
    let report = context.client.post("/api/erase", &body).await?;
    output::show(context.format, &report, |report| {
        println!(
            "erased {} events, {} state rows, {} blobs; headers and proofs stay",
            number(report, "events"),
            number(report, "rows"),
            number(report, "blobs")
        );
    })
}

pub(super) async fn retain(context: &Context, args: RetainArgs) -> anyhow::Result<()> {
    let question = format!("destroy the data of every `{}…` older than {}?", args.prefix, args.older_than);
    anyhow::ensure!(args.yes || output::confirm(&question)?, "nothing erased; confirm with --yes");
    let body = json!({
        "namespace": context.client.namespace(), "prefix": args.prefix, "older_than": args.older_than, "limit": args.limit,
    });
    let report = context.client.post("/api/retain", &body).await?;
    output::show(context.format, &report, |report| {
        println!(
            "erased {} data subjects, {} events, {} unnamed blobs; headers and proofs stay",
            number(report, "subjects"),
            number(report, "events"),
            number(report, "unnamed_blobs")
        );
    })
}

/// Wraps every data key by a fresh master key. The old file is kept beside the new one until it is deleted by hand.
pub(super) async fn rotate(format: Format, args: RotateArgs) -> anyhow::Result<()> {
    anyhow::ensure!(args.data.join("journal.db").exists(), "`{}` holds no log", args.data.display());
    let keys = args.data.join("keys");
    let (present, fresh, old) = (keys.join("master.key"), keys.join("master.key.new"), keys.join("master.key.old"));
    anyhow::ensure!(
        !fresh.exists(),
        "`{}` is left from a rotation that did not end; see docs/operations.md",
        fresh.display()
    );
    let options = super::up::journal_options(&args.data, args.master_key.as_deref());
    let (journal, service) = Journal::open(options, Env::system())?;
    let rotated = journal.rotate_master(MasterKeySource::File(fresh.clone())).await;
    journal.close().await;
    service.run().await?;
    let count = rotated?;
    if present.exists() {
        std::fs::rename(&present, &old)?;
    }
    std::fs::rename(&fresh, &present)?;
    std::fs::File::open(&keys)?.sync_all()?;
    output::show(format, &json!({"keys": count, "master_key": present}), |_| {
        println!("{count} data keys wrapped anew by {}", present.display());
        println!("keep a copy of it elsewhere; then delete {}", old.display());
    })
}

pub(super) async fn export(context: &Context, args: ExportArgs) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if let Some(data) = args.data {
        anyhow::ensure!(data.join("journal.db").exists(), "`{}` holds no log", data.display());
        let (journal, service) = Journal::open(Options::new(&data), Env::system())?;
        let done = export_cloudevents(&journal.reader(), Seq(args.from), &Filter::default(), &mut out, &mut |_| ());
        journal.close().await;
        service.run().await?;
        done?;
        return Ok(());
    }
    let mut from = args.from;
    loop {
        let query = [("from", from.to_string()), ("limit", "1000".to_owned())];
        let lines = context.client.text("/api/events/export", &query).await?;
        let Some(last) = lines.lines().last() else { return Ok(()) };
        out.write_all(lines.as_bytes())?;
        let last: Value = serde_json::from_str(last).context("the server sent a line that is not JSON")?;
        let seq = last.get("sequence").and_then(|seq| seq.as_u64().or_else(|| seq.as_str()?.parse().ok()));
        from = seq.context("an exported event has no `sequence`")? + 1;
    }
}

pub(super) async fn backup(context: &Context, args: BackupArgs) -> anyhow::Result<()> {
    let to = &args.to;
    let bytes = unpack::into(to, MANIFEST, context.client.download("/api/backup")).await?;
    let manifest: Value = serde_json::from_slice(&std::fs::read(to.join(MANIFEST))?)?;
    output::show(context.format, &json!({"manifest": manifest, "bytes": bytes}), |report| {
        let size = report.pointer("/manifest/size").and_then(Value::as_u64).unwrap_or_default();
        println!("{size} events in {} ({} bytes)", to.display(), number(report, "bytes"));
        println!("the master key is not in it: keep keys/master.key elsewhere, and keys/erasures.jsonl up to date");
    })
}

pub(super) fn restore(format: Format, args: &RestoreArgs) -> anyhow::Result<()> {
    let erasures = args
        .erasures
        .iter()
        .map(|path| std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display())))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let report = restore_archive(&args.backup, &Options::new(&args.data), Env::system(), &erasures)?;
    let value = json!({
        "origin": report.origin, "size": report.manifest.size, "restored": report.restored,
        "erased_events": report.erased.events,
    });
    output::show(format, &value, |value| {
        println!(
            "{} events restored into {} as log {}; {} erased again",
            number(value, "size"),
            args.data.display(),
            text(value, "origin"),
            number(value, "erased_events")
        );
    })
}

pub(super) async fn doctor(context: &Context, args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let report = match args.data {
        Some(data) => {
            anyhow::ensure!(data.join("journal.db").exists(), "`{}` holds no log", data.display());
            let (journal, service) = Journal::open(Options::new(&data), Env::system())?;
            let report = journal.doctor().await;
            journal.close().await;
            service.run().await?;
            value(&report?)
        }
        None => context.client.get("/api/doctor", &[]).await?,
    };
    output::show(context.format, &report, |report| {
        for check in list(report, "checks") {
            let problems = list(check, "problems");
            println!(
                "{}  {}: {}",
                if problems.is_empty() { "✔" } else { "✘" },
                text(check, "name"),
                text(check, "seen")
            );
            for problem in problems.iter().filter_map(Value::as_str) {
                println!("   {problem}");
            }
        }
    })?;
    let healthy = report.get("healthy").and_then(Value::as_bool).unwrap_or(false);
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn value(report: &DoctorReport) -> Value {
    let check = |check: &nx_journal::Check| json!({"name": check.name, "seen": check.seen, "problems": check.problems});
    json!({"healthy": report.is_healthy(), "checks": report.checks.iter().map(check).collect::<Vec<_>>()})
}
