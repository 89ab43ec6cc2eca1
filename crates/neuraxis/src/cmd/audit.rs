//! `audit`.

use std::{path::Path, process::ExitCode};

use anyhow::Context as _;
use nx_journal::{
    Options,
    tlog::{CHECKPOINT_PATH, Proof, Verifier},
    verify::{Audit, Report, VerifyOptions, outside_checkpoint, verify_export},
};
use nx_types::Header;
use serde_json::{Value, json};

use super::{Context, list, number, text};
use crate::{cli::AuditCommand, output, unpack};

pub(super) async fn run(context: &Context, command: AuditCommand) -> anyhow::Result<ExitCode> {
    match command {
        AuditCommand::Verify { proof: Some(proof), key, .. } => {
            let proved = of_proof(&proof, key.as_deref())?;
            output::show(context.format, &proved, |proved| {
                println!(
                    "event {} ({} of {}, {}) stands in {} of {} events",
                    number(proved, "seq"),
                    text(proved, "type"),
                    text(proved, "subject"),
                    output::moment(text(proved, "recorded")),
                    text(proved, "log"),
                    number(proved, "size"),
                );
                println!("root {}\nintact", text(proved, "root"));
            })?;
        }
        AuditCommand::Verify { data, tiles, checkpoint, key, proof: None } => {
            let outside = checkpoint
                .map(|path| std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display())))
                .transpose()?;
            let report = match (data, tiles) {
                (Some(data), _) => of_directory(&data, outside)?,
                (None, Some(tiles)) => of_tiles(&tiles, outside, key.as_deref())?,
                (None, None) => {
                    let body = json!({"checkpoints": outside.into_iter().collect::<Vec<_>>()});
                    context.client.post("/api/audit/verify", &body).await?
                }
            };
            output::show(context.format, &report, show)?;
            let intact = report.get("intact").and_then(Value::as_bool).unwrap_or(false);
            return Ok(if intact { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        AuditCommand::Prove { seq } => {
            let proof = context.client.get(&format!("/api/audit/proof/{seq}"), &[]).await?;
            output::show(context.format, &proof, |proof| print!("{}", text(proof, "proof")))?;
        }
        AuditCommand::Checkpoint => {
            let signed = context.client.post("/api/audit/checkpoint", &json!({})).await?;
            output::show(context.format, &signed, |signed| print!("{}", text(signed, "checkpoint")))?;
        }
        AuditCommand::Key => {
            let key = context.client.get("/api/audit/key", &[]).await?;
            output::show(context.format, &key, |key| println!("{}", text(key, "key")))?;
        }
        AuditCommand::Tiles { to } => {
            let bytes = unpack::into(&to, CHECKPOINT_PATH, context.client.download("/api/audit/tiles")).await?;
            // A checkpoint's second line is the number of events (C2SP tlog-checkpoint).
            let note = std::fs::read_to_string(to.join(CHECKPOINT_PATH))?;
            let size: u64 =
                note.lines().nth(1).and_then(|line| line.parse().ok()).context("the checkpoint is damaged")?;
            output::show(context.format, &json!({"size": size, "bytes": bytes}), |written| {
                println!("{} events written to {}", number(written, "size"), to.display());
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn of_directory(data: &Path, outside: Option<String>) -> anyhow::Result<Value> {
    anyhow::ensure!(data.join("journal.db").exists(), "`{}` holds no log", data.display());
    // Reads beside a server, takes no lock, writes nothing, and works on a log too damaged to open.
    let audit = Audit::open(&Options::new(data), None)?;
    let checkpoints = outside.into_iter().map(String::into_bytes).collect();
    let report = audit.verify(&VerifyOptions { checkpoints, blobs: true, max_held: None })?;
    Ok(value(&report))
}

fn of_tiles(tiles: &Path, outside: Option<String>, key: Option<&str>) -> anyhow::Result<Value> {
    let key = key.context("give the verifier key with --key; `neuraxis audit key` prints it")?.parse()?;
    let outside = outside.map(|note| outside_checkpoint(note.as_bytes(), Some(&key))).transpose()?;
    let report = verify_export(tiles, &key, &outside.into_iter().collect::<Vec<_>>())?;
    Ok(value(&report))
}

/// What a proof proves: nothing but the file and the log's public key is needed.
fn of_proof(path: &Path, key: Option<&str>) -> anyhow::Result<Value> {
    let key: Verifier = key.context("give the verifier key with --key; `neuraxis audit key` prints it")?.parse()?;
    let bytes = std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let proof = Proof::parse(&bytes)?;
    let checkpoint = proof.verify(&key)?;
    let header =
        Header::decode(&proof.leaf.header).context("the proved leaf is not one of an event that this release knows")?;
    anyhow::ensure!(header.seq == proof.seq, "the proved leaf is of event {}, not of {}", header.seq, proof.seq);
    Ok(json!({
        "intact": true, "seq": header.seq, "type": header.kind.as_str(), "subject": header.subject.as_str(),
        "namespace": header.namespace.as_str(), "recorded": header.recorded, "log": checkpoint.origin,
        "size": checkpoint.size, "root": checkpoint.root.to_string(),
    }))
}

fn value(report: &Report) -> Value {
    json!({
        "intact": report.is_intact(), "events": report.events, "erased": report.erased, "tiles": report.tiles,
        "checkpoints": report.checkpoints, "state_rows": report.state_rows, "blobs": report.blobs,
        "root": report.root.map(|root| root.to_string()), "more": report.more,
        "findings": report.findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn show(report: &Value) {
    println!(
        "{} events ({} erased), {} tiles, {} checkpoints, {} state rows, {} blobs",
        number(report, "events"),
        number(report, "erased"),
        number(report, "tiles"),
        number(report, "checkpoints"),
        number(report, "state_rows"),
        number(report, "blobs"),
    );
    println!("root {}", text(report, "root"));
    for finding in list(report, "findings").iter().filter_map(Value::as_str) {
        println!("WRONG {finding}");
    }
    if number(report, "more") > 0 {
        println!("… and {} more", number(report, "more"));
    }
    if report.get("intact").and_then(Value::as_bool) == Some(true) {
        println!("intact");
    }
}
