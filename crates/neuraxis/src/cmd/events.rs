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
    // A subject's events stand in an index and are few: all of them from the first. Otherwise the log's last.
    let last = head.saturating_sub(args.limit as u64);
    let first = if args.subject.is_some() { 0 } else { last };
    let from = args.from.unwrap_or(first);
    let mut query = vec![
        ("from", from.to_string()),
        ("limit", args.limit.clamp(1, 1000).to_string()),
        ("namespace", context.client.namespace().to_owned()),
    ];
    query.extend(args.kind.map(|kind| ("type", kind)));
    query.extend(args.subject.map(|subject| ("subject", subject)));
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
