//! Whether a clause can only become stricter when a label gets less trusted. Read off the syntax: what cannot be shown is
//! not claimed.
//!
//! A label gets less trusted when sources join it (and, past a number, widen to their class), when a source loses its
//! trust and is named `untrusted/…` from then on, when readers leave it, and when a detector's score rises. Then
//! `context.sinks` grows, `context.leaks` may become true, `context.named` may become false, and a list of trusted sources
//! may stop to contain all of `context.from`; nothing else of the context changes. A clause that cannot be evaluated
//! stands closed, which is as strict as if its condition held, so errors need no care here.

use cedar_policy::pst::{BinaryOp, Clause, Expr, Literal, UnaryOp};

use super::{expr::path, lex::unwritten};

/// The prefix of sources that nobody vouches for.
pub(super) const UNTRUSTED: &str = "untrusted/";

/// How a value moves when labels get less trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Moves {
    /// Not at all.
    Not,
    /// A boolean from false to true at most, a number up.
    Up,
    /// A boolean from true to false at most, a number down.
    Down,
    /// A set that only gains members.
    Gains,
    /// The sources of an argument: gains members, or members are replaced by untrusted ones.
    Sources,
    /// It cannot be told; the expression that is the reason.
    Anyhow(String),
}

/// `Err` names the expression for which it cannot be shown that the clause does what it does at least as often when labels
/// get less trusted (`forbid`), or at most as often (`permit`).
pub(super) fn check(forbid: bool, conditions: &[Clause]) -> Result<(), String> {
    let mut all = Moves::Not;
    for condition in conditions {
        let (expr, moves) = match condition {
            Clause::When(expr) => (expr, moves(expr)),
            Clause::Unless(expr) => (expr, flip(moves(expr))),
        };
        let wrong = match (&moves, forbid) {
            (Moves::Up, false) | (Moves::Down, true) | (Moves::Gains | Moves::Sources, _) => {
                Moves::Anyhow(unwritten(&expr.to_string()))
            }
            _ => moves,
        };
        all = join(all, wrong, expr);
    }
    match all {
        Moves::Anyhow(expr) => Err(expr),
        _ => Ok(()),
    }
}

fn anyhow(expr: &Expr) -> Moves {
    Moves::Anyhow(unwritten(&expr.to_string()))
}

fn flip(moves: Moves) -> Moves {
    match moves {
        Moves::Up => Moves::Down,
        Moves::Down => Moves::Up,
        other => other,
    }
}

/// How `a && b`, `a || b` and `a + b` move.
fn join(a: Moves, b: Moves, whole: &Expr) -> Moves {
    match (a, b) {
        (Moves::Anyhow(reason), _) | (_, Moves::Anyhow(reason)) => Moves::Anyhow(reason),
        (Moves::Not, other @ (Moves::Not | Moves::Up | Moves::Down))
        | (other @ (Moves::Up | Moves::Down), Moves::Not) => other,
        (Moves::Up, Moves::Up) => Moves::Up,
        (Moves::Down, Moves::Down) => Moves::Down,
        _ => anyhow(whole),
    }
}

fn moves(expr: &Expr) -> Moves {
    if !matches!(expr, Expr::HasAttr { .. })
        && let Some(path) = path(expr)
    {
        return member(&path, expr);
    }
    match expr {
        Expr::Literal(_) | Expr::Var(_) => Moves::Not,
        // Members are there or not whatever the labels are.
        Expr::HasAttr { expr: of, .. } => match moves(of) {
            Moves::Not => Moves::Not,
            _ if path(of).is_some() => Moves::Not,
            _ => anyhow(expr),
        },
        Expr::UnaryOp { op, expr: of } => match (op, moves(of)) {
            (_, Moves::Not) => Moves::Not,
            (UnaryOp::Not | UnaryOp::Neg, moved) => flip(moved),
            (UnaryOp::IsEmpty, Moves::Gains | Moves::Sources) => Moves::Down,
            (_, Moves::Anyhow(reason)) => Moves::Anyhow(reason),
            _ => anyhow(expr),
        },
        Expr::BinaryOp { op, left, right } => binary(*op, (left, right), expr),
        Expr::IfThenElse { cond, then_expr, else_expr } => match moves(cond) {
            Moves::Not => join(moves(then_expr), moves(else_expr), expr),
            _ => anyhow(expr),
        },
        other => {
            let still = super::expr::children(other).into_iter().all(|child| moves(child) == Moves::Not);
            let known = matches!(
                other,
                Expr::GetAttr { .. } | Expr::Like { .. } | Expr::Is { .. } | Expr::Set(_) | Expr::Record(_)
            );
            if known && still { Moves::Not } else { anyhow(expr) }
        }
    }
}

/// How a member of the context moves.
fn member(path: &[&str], expr: &Expr) -> Moves {
    match path {
        ["leaks"] | ["scores", _] => Moves::Up,
        ["named"] => Moves::Down,
        ["sinks", _] => Moves::Gains,
        ["from", _] => Moves::Sources,
        [] | ["sinks" | "from" | "scores" | "leaks" | "named", ..] => anyhow(expr),
        _ => Moves::Not,
    }
}

fn binary(op: BinaryOp, (left, right): (&Expr, &Expr), whole: &Expr) -> Moves {
    let (a, b) = (moves(left), moves(right));
    match (op, &a, &b) {
        (_, Moves::Not, Moves::Not) => Moves::Not,
        (BinaryOp::And | BinaryOp::Or | BinaryOp::Add, ..) => join(a, b, whole),
        (BinaryOp::Greater | BinaryOp::GreaterEq | BinaryOp::Sub, ..) => join(a, flip(b), whole),
        (BinaryOp::Less | BinaryOp::LessEq, ..) => join(flip(a), b, whole),
        (BinaryOp::Eq, ..) => equal(a, b, (left, right), whole),
        (BinaryOp::NotEq, ..) => flip(equal(a, b, (left, right), whole)),
        (BinaryOp::Contains | BinaryOp::ContainsAll | BinaryOp::ContainsAny, Moves::Gains, Moves::Not)
        | (BinaryOp::ContainsAny, Moves::Not, Moves::Gains) => Moves::Up,
        (BinaryOp::ContainsAll, Moves::Not, Moves::Gains) => Moves::Down,
        (BinaryOp::ContainsAll, Moves::Not, Moves::Sources) if are_trusted(left) => Moves::Down,
        _ => match (a, b) {
            (Moves::Anyhow(reason), _) | (_, Moves::Anyhow(reason)) => Moves::Anyhow(reason),
            _ => anyhow(whole),
        },
    }
}

/// A boolean that is compared with `true` or `false`.
fn equal(a: Moves, b: Moves, (left, right): (&Expr, &Expr), whole: &Expr) -> Moves {
    match (a, left, b, right) {
        (moved @ (Moves::Up | Moves::Down), _, Moves::Not, Expr::Literal(Literal::Bool(wanted)))
        | (Moves::Not, Expr::Literal(Literal::Bool(wanted)), moved @ (Moves::Up | Moves::Down), _) => {
            if *wanted {
                moved
            } else {
                flip(moved)
            }
        }
        (Moves::Anyhow(reason), ..) | (_, _, Moves::Anyhow(reason), _) => Moves::Anyhow(reason),
        _ => anyhow(whole),
    }
}

/// Whether the expression lists sources, none of them untrusted, none a class that others widen to.
fn are_trusted(list: &Expr) -> bool {
    let is_trusted = |item: &Expr| match item {
        Expr::Literal(Literal::EntityUID(uid)) => {
            uid.ty.to_string() == "Source" && !uid.eid.starts_with(UNTRUSTED) && !uid.eid.ends_with('*')
        }
        _ => false,
    };
    matches!(list, Expr::Set(items) if items.iter().all(|item| is_trusted(item)))
}

#[cfg(test)]
mod tests {
    use cedar_policy::Policy;

    use super::*;

    fn shown(text: &str) -> Result<(), String> {
        let policy = Policy::parse(None, text).unwrap();
        let body = policy.to_pst().unwrap().body().clone();
        check(text.starts_with("forbid"), body.clauses())
    }

    #[test]
    fn what_only_gets_stricter_is_shown() {
        for condition in [
            "when { !context.sinks.untrusted.isEmpty() && context.acts }",
            "unless { [Source::\"shop/find_order\", Source::\"request\"].containsAll(context.from.iban) }",
            "when { context.leaks == true || context.scores.injection + context.scores.pii > 50 }",
            "when { if context.acts then context.leaks else 70 <= context.scores.pii } unless { context.named }",
            "when { context.sinks.ambiguous.containsAny([\"iban\", \"to\"]) && context.from has iban }",
            "unless { [\"note\"].containsAll(context.sinks.unclear) || context.args.cents * 2 < 100 }",
            "when { context.args.name like \"x*\" && principal in Role::\"lead\" && [1, 2].contains(context.args.n) }",
            "when { !(context.leaks != true) }",
        ] {
            assert_eq!(shown(&format!("forbid(principal, action, resource) {condition};")), Ok(()), "{condition}");
        }
        let released =
            "when { !context.leaks && [\"iban\"].containsAll(context.sinks.ambiguous) && context.scores.pii <= 3 }";
        assert_eq!(shown(&format!("permit(principal, action, resource) {released};")), Ok(()));
    }

    #[test]
    fn what_may_get_laxer_is_named() {
        for (condition, reason) in [
            ("when { context.sinks.untrusted.isEmpty() }", "context.sinks.untrusted.isEmpty()"),
            ("unless { context.from.iban.contains(Source::\"shop\") }", "context.from.iban.contains(Source::\"shop\")"),
            (
                "unless { [Source::\"untrusted/mail\"].containsAll(context.from.a) }",
                "[Source::\"untrusted/mail\"].containsAll(context.from.a)",
            ),
            (
                "unless { [Source::\"mail/*\"].containsAll(context.from.a) }",
                "[Source::\"mail/*\"].containsAll(context.from.a)",
            ),
            ("when { context.scores.pii < 5 && context.acts }", "(context.scores.pii < 5) && context.acts"),
            ("when { context.leaks && context.named }", "context.leaks && context.named"),
            ("when { context.from.a == [Source::\"shop\"] }", "context.from.a == [Source::\"shop\"]"),
            ("when { context.scores == {injection: 1} }", "context.scores"),
            ("when { if context.leaks then true else false }", "if context.leaks then true else false"),
            ("unless { context.leaks }", "context.leaks"),
        ] {
            let found = shown(&format!("forbid(principal, action, resource) {condition};")).unwrap_err();
            assert_eq!(found, reason, "{condition}");
        }
    }
}
