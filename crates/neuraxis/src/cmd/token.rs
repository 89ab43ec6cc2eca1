//! `token`.

use serde_json::{Value, json};

use super::{Context, list, text};
use crate::{cli::TokenCommand, output};

pub(super) async fn run(context: &Context, command: TokenCommand) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create { name, role } => {
            let made = context.client.post("/api/tokens", &json!({"name": name, "roles": role})).await?;
            output::show(context.format, &made, |made| println!("{}", text(made, "token")))
        }
        TokenCommand::List => {
            let page = context.client.get("/api/tokens", &[]).await?;
            output::show(context.format, &page, |page| {
                let row = |token: &Value| {
                    let roles: Vec<&str> = list(token, "roles").iter().filter_map(Value::as_str).collect();
                    vec![text(token, "name").to_owned(), roles.join(","), text(token, "created").to_owned()]
                };
                output::table(&["name", "roles", "created"], &list(page, "items").iter().map(row).collect::<Vec<_>>());
            })
        }
        TokenCommand::Revoke { name } => {
            context.client.delete(&format!("/api/tokens/{name}"), &[]).await?;
            output::show(context.format, &json!({"revoked": name}), |_| println!("{name} revoked"))
        }
    }
}
