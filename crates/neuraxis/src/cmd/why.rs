//! `why`.

use serde_json::Value;

use super::{Context, list, text};
use crate::{cli::WhyArgs, output};

/// Widest line before the next cause goes on a line of its own.
const WIDTH: usize = 100;

pub(super) async fn run(context: &Context, args: WhyArgs) -> anyhow::Result<()> {
    let query = [("of", args.target), ("namespace", context.client.namespace().to_owned())];
    let tree = context.client.get("/api/why", &query).await?;
    output::show(context.format, &tree, |tree| {
        for line in lines(tree) {
            println!("{line}");
        }
    })
}

/// The chain of direct causes on lines joined by `←`; other causes indented below where they join.
fn lines(tree: &Value) -> Vec<String> {
    let mut lines = vec![text(tree, "text").to_owned()];
    let mut sides = Vec::new();
    let mut node = tree;
    loop {
        let causes = list(node, "because");
        let Some((first, others)) = causes.split_first() else { break };
        sides.extend(others.iter());
        node = first;
        if first.get("plumbing").and_then(Value::as_bool) == Some(true) {
            continue;
        }
        let part = format!(" ← {}", text(first, "text"));
        match lines.last_mut() {
            Some(line) if line.chars().count() + part.chars().count() <= WIDTH => line.push_str(&part),
            _ => lines.push(format!("  {}", part.trim_start())),
        }
    }
    for side in sides {
        lines.extend(self::lines(side).into_iter().map(|line| format!("    and ← {line}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_chain_reads_as_a_sentence() {
        let tree = json!({"text": "refund/A17 €84", "because": [
            {"text": "approved by lead (hash 9c1f)", "because": [{"text": "run r_7f3", "because": []}]},
            {"text": "mail m_88", "because": []}]});
        let lines = super::lines(&tree);
        assert_eq!(lines, ["refund/A17 €84 ← approved by lead (hash 9c1f) ← run r_7f3", "    and ← mail m_88"]);
    }
}
