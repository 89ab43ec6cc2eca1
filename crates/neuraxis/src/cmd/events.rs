//! `events`.

use std::time::Duration;

use serde_json::Value;

use super::{Context, list, number, text};
use crate::{
    cli::{EventsArgs, Format},
    output,
};

pub(super) async fn run(context: &Context, args: EventsArgs) -> anyhow::Result<()> {
    let head = number(&context.client.get("/api/events", &[("limit", "1".to_owned())]).await?, "head");
    let mut query = vec![("namespace", context.client.namespace().to_owned())];
    query.extend(args.kind.map(|kind| ("type", kind)));
    query.extend(args.subject.map(|subject| ("subject", subject)));
    let from = match args.from {
        Some(from) => from,
        None => newest(context, &query, head, args.limit).await?,
    };
    query.extend([("from", from.to_string()), ("limit", args.limit.to_string())]);
    if args.follow {
        let patience = Duration::from_mins(1);
        return context
            .client
            .follow("/api/events/stream", &query, patience, |event| {
                match context.format {
                    Format::Human => println!("{}", line(&event)),
                    Format::Json | Format::Yaml => println!("{event}"),
                }
                Ok(false)
            })
            .await;
    }
    let page = context.client.get("/api/events", &query).await?;
    output::show(context.format, &page, |page| list(page, "items").iter().for_each(|event| println!("{}", line(event))))
}

/// How many places are looked at on the way back to the newest events that match, at most.
const LOOKED_AT: u64 = 200_000;

/// Where the newest `limit` events begin that match: looks back in ever larger pieces of the log.
async fn newest(context: &Context, query: &[(&str, String)], head: u64, limit: u64) -> anyhow::Result<u64> {
    let (mut end, mut piece) = (head, limit.max(100));
    let mut found = std::collections::VecDeque::new();
    while end > 0 && head - end < LOOKED_AT && (found.len() as u64) < limit {
        let start = end.saturating_sub(piece);
        let (mut from, mut earlier) = (start, Vec::new());
        while from < end {
            let mut query = query.to_vec();
            query.extend([("from", from.to_string()), ("limit", "1000".to_owned())]);
            let page = context.client.get("/api/events", &query).await?;
            let places = list(&page, "items").iter().map(|event| number(event, "seq"));
            earlier.extend(places.filter(|seq| *seq < end));
            from = page.get("next").and_then(Value::as_u64).unwrap_or(end);
        }
        earlier.into_iter().rev().for_each(|seq| found.push_front(seq));
        (end, piece) = (start, piece.saturating_mul(4));
    }
    let skipped = found.len().saturating_sub(limit as usize);
    Ok(found.get(skipped).copied().unwrap_or(head))
}

/// An event in a line.
pub(super) fn line(event: &Value) -> String {
    let data = match event.get("data") {
        Some(data) => output::cut(&data.to_string(), 100),
        None => "(erased)".to_owned(),
    };
    let time: String = text(event, "time").chars().take(23).collect();
    let time = format!("{}Z", time.replacen('T', " ", 1));
    format!("{:>8}  {time}  {:<24} {}  {data}", number(event, "seq"), text(event, "type"), text(event, "subject"))
}
