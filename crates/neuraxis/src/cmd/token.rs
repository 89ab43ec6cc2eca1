//! `token`.

use serde_json::{Value, json};

use super::{Context, list, text};
use crate::{cli::TokenCommand, client::Client, output};

/// Roles that mean something to the server. Any other one says whose approvals its holder may decide.
const ROLES: [&str; 4] = ["viewer", "operator", "worker", "admin"];

pub(super) async fn run(context: &Context, command: TokenCommand) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create { name, role } => {
            let made = context.client.post("/api/tokens", &json!({"name": name, "roles": role})).await?;
            output::show(context.format, &made, |made| println!("{}", text(made, "token")))?;
            for role in role.iter().filter(|role| !ROLES.contains(&role.as_str())) {
                eprintln!("role `{role}` decides approvals for `{role}`; beside it there are {}", ROLES.join(", "));
            }
            Ok(())
        }
        TokenCommand::List => {
            let page = context.client.get("/api/tokens", &[]).await?;
            output::show(context.format, &page, |page| {
                let row = |token: &Value| {
                    let roles: Vec<&str> = list(token, "roles").iter().filter_map(Value::as_str).collect();
                    vec![text(token, "name").to_owned(), roles.join(","), output::moment(text(token, "created"))]
                };
                output::table(&["name", "roles", "created"], &list(page, "items").iter().map(row).collect::<Vec<_>>());
            })
        }
        TokenCommand::Revoke { name } => {
            context.client.delete(&Client::path(&["tokens", &name]), &[]).await?;
            output::show(context.format, &json!({"revoked": name}), |_| println!("{name} revoked"))
        }
    }
}
