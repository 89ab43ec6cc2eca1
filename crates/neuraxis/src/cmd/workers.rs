//! `workers`.

use serde_json::Value;

use super::{Context, list, number, text};
use crate::output;

pub(super) async fn run(context: &Context) -> anyhow::Result<()> {
    let page = context.client.get("/api/workers", &[]).await?;
    output::show(context.format, &page, |page| {
        let names = |worker: &Value, field: &str| {
            list(worker, field).iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        };
        let row = |worker: &Value| {
            vec![
                text(worker, "worker").to_owned(),
                text(worker, "sdk").to_owned(),
                names(worker, "agents"),
                names(worker, "toolsets"),
                format!("{}/{}", number(worker, "runs"), number(worker, "max_runs")),
                output::moment(text(worker, "connected")),
            ]
        };
        let rows: Vec<Vec<String>> = list(page, "items").iter().map(row).collect();
        output::table(&["worker", "sdk", "agents", "toolsets", "runs", "connected"], &rows);
    })
}
