//! What a person or a program gets to read.

use std::{io::IsTerminal as _, process::ExitCode};

use nx_types::{Code, ErrorCode};
use serde::Serialize;

use crate::{cli::Format, client};

/// Nothing was found.
pub(crate) const NOT_FOUND: u8 = 3;
/// The run failed or was cancelled.
pub(crate) const RUN_FAILED: u8 = 4;
/// The server cannot be reached.
pub(crate) const UNREACHABLE: u8 = 5;

/// Prints an error with its causes and the exit code that it stands for.
pub(crate) fn failure(error: &anyhow::Error) -> ExitCode {
    match error.chain().find_map(code) {
        Some(code) => eprintln!("neuraxis: {error:#} [{code}]"),
        None => eprintln!("neuraxis: {error:#}"),
    }
    match error.downcast_ref::<client::Failure>() {
        Some(client::Failure::Unreachable { .. } | client::Failure::Untrusted { .. }) => ExitCode::from(UNREACHABLE),
        Some(client::Failure::Problem { status: 404, .. }) => ExitCode::from(NOT_FOUND),
        _ => ExitCode::FAILURE,
    }
}

/// The code of an error of ours. Those that the server answered with hold theirs in the text.
fn code(error: &(dyn std::error::Error + 'static)) -> Option<Code> {
    let journal = error.downcast_ref::<nx_journal::Error>().map(ErrorCode::code);
    let runs = || error.downcast_ref::<nx_runs::Error>().map(ErrorCode::code);
    let control = || error.downcast_ref::<nx_control::Error>().map(ErrorCode::code);
    let models = || error.downcast_ref::<nx_models::Error>().map(ErrorCode::code);
    let infer = || error.downcast_ref::<nx_infer::Error>().map(ErrorCode::code);
    let api = || error.downcast_ref::<nx_api::Error>().map(ErrorCode::code);
    journal.or_else(runs).or_else(control).or_else(models).or_else(infer).or_else(api)
}

/// Prints a value in the format asked for; `human` prints it for people.
pub(crate) fn show<T: Serialize>(format: Format, value: &T, human: impl FnOnce(&T)) -> anyhow::Result<()> {
    match format {
        Format::Human => human(value),
        Format::Json => println!("{}", serde_json::to_string_pretty(value)?),
        Format::Yaml => print!("{}", yaml(value)?),
    }
    Ok(())
}

/// A value as YAML.
pub(crate) fn yaml<T: Serialize>(value: &T) -> anyhow::Result<String> {
    let mut text = serde_saphyr::to_string(value)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// Prints rows under headings, columns aligned.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(headings.get(column).map(|heading| heading.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell}{}", " ".repeat(width.saturating_sub(cell.chars().count()))))
            .collect();
        println!("{}", padded.join("  ").trim_end());
    };
    line(&headings.iter().map(|heading| heading.to_uppercase()).collect::<Vec<_>>());
    for row in rows {
        line(row);
    }
}

/// Whether a person sits at the terminal.
pub(crate) fn interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Asks yes or no; no where nobody can answer.
pub(crate) fn confirm(question: &str) -> anyhow::Result<bool> {
    use std::io::Write as _;
    if !interactive() {
        return Ok(false);
    }
    print!("{question} [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// At most so many characters of a text, with a sign that there are more.
pub(crate) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default().trim_end()),
    }
}

/// A time for people, in UTC to the second: `2026-11-24 13:26:27Z`.
pub(crate) fn moment(time: &str) -> String {
    match (time.get(..10), time.get(11..19)) {
        (Some(day), Some(clock)) => format!("{day} {clock}Z"),
        _ => time.to_owned(),
    }
}

/// How long something took, for people: `31ms`, `6100ms`, `15m3s`.
pub(crate) fn lasted(millis: u64) -> String {
    match millis {
        0..10_000 => format!("{millis}ms"),
        10_000..60_000 => format!("{}s", millis / 1000),
        60_000..3_600_000 => format!("{}m{}s", millis / 60_000, millis / 1000 % 60),
        _ => format!("{}h{}m", millis / 3_600_000, millis / 60_000 % 60),
    }
}

/// The first letters of an id, enough for a person: `r_7f3k2m`.
pub(crate) fn short(id: &str) -> String {
    id.chars().take(8).collect()
}
