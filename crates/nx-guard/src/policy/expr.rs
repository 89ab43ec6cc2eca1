//! What a clause's conditions look at: which parts of the context, which sources. Read off Cedar's public syntax tree.

use std::collections::BTreeSet;

use cedar_policy::pst::{BinaryOp, Clause, EntityUID, Expr, Literal, Var};

/// Names of members that are looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Names {
    /// None.
    #[default]
    None,
    /// These.
    Some(BTreeSet<String>),
    /// All, or it cannot be told.
    All,
}

impl Names {
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::Some(names) => names.contains(name),
            Self::All => true,
        }
    }

    /// Whether one that starts so is among them.
    pub(super) fn has_within(&self, prefix: &str) -> bool {
        match self {
            Self::None => false,
            Self::Some(names) => names.iter().any(|name| name.starts_with(prefix)),
            Self::All => true,
        }
    }

    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The names, where they are known.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let names = if let Self::Some(names) = self { Some(names) } else { None };
        names.into_iter().flatten().map(String::as_str)
    }

    fn add(&mut self, name: Option<&str>) {
        match (&mut *self, name) {
            (Self::Some(names), Some(name)) => {
                names.insert(name.to_owned());
            }
            (Self::None, Some(name)) => *self = Self::Some([name.to_owned()].into()),
            (_, None) => *self = Self::All,
            (Self::All, Some(_)) => {}
        }
    }

    fn join(&mut self, other: &Self) {
        match other {
            Self::None => {}
            Self::Some(names) => names.iter().for_each(|name| self.add(Some(name))),
            Self::All => *self = Self::All,
        }
    }
}

/// The members of the records within the context.
pub(super) const MEMBERS: [&str; 8] = [
    "sinks.untrusted",
    "sinks.unclear",
    "sinks.ambiguous",
    "sinks.chosen",
    "scores.injection",
    "scores.takeover",
    "scores.pii",
    "scores.secrets",
];

/// What is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// Arguments.
    pub(super) args: Names,
    /// Arguments whose sources are looked at.
    pub(super) from: Names,
    /// Other members of the context.
    pub(super) members: Names,
    /// Entities: what is in what, and the principal's members.
    pub(super) graph: bool,
    /// `Source::"…"` in the text.
    pub(super) sources: BTreeSet<String>,
    /// Entities that are no sources.
    pub(super) entities: BTreeSet<(String, String)>,
}

impl Needs {
    /// What the conditions look at.
    pub(super) fn of(conditions: &[Clause]) -> Self {
        let mut needs = Self::default();
        for condition in conditions {
            match condition {
                Clause::When(expr) | Clause::Unless(expr) => needs.walk(expr),
            }
        }
        needs
    }

    pub(super) fn join(&mut self, other: &Self) {
        self.args.join(&other.args);
        self.from.join(&other.from);
        self.members.join(&other.members);
        self.graph |= other.graph;
        self.sources.extend(other.sources.iter().cloned());
        self.entities.extend(other.entities.iter().cloned());
    }

    fn walk(&mut self, expr: &Expr) {
        if let Some(path) = path(expr) {
            return self.path(&path);
        }
        match expr {
            Expr::Literal(Literal::EntityUID(uid)) => self.entity(uid),
            Expr::Var(Var::Principal) => self.graph = true,
            other => {
                self.graph |=
                    matches!(other, Expr::BinaryOp { op: BinaryOp::In, .. } | Expr::Is { in_expr: Some(_), .. });
                for child in children(other) {
                    self.walk(child);
                }
            }
        }
    }

    fn entity(&mut self, uid: &EntityUID) {
        let kind = uid.ty.to_string();
        if kind == "Source" {
            self.sources.insert(uid.eid.to_string());
        } else {
            self.entities.insert((kind, uid.eid.to_string()));
        }
    }

    fn path(&mut self, path: &[&str]) {
        match path {
            ["args", rest @ ..] => self.args.add(rest.first().copied()),
            ["from", rest @ ..] => self.from.add(rest.first().copied()),
            // Of these, each member is looked at by itself.
            [record @ ("sinks" | "scores"), member, ..] => self.members.add(Some(&format!("{record}.{member}"))),
            [record @ ("sinks" | "scores")] => MEMBERS
                .iter()
                .filter(|member| member.starts_with(record))
                .for_each(|member| self.members.add(Some(member))),
            [member, ..] => self.members.add(Some(member)),
            [] => {
                self.args = Names::All;
                self.from = Names::All;
                self.members = Names::All;
            }
        }
    }
}

/// The members that lead from the context to what the expression looks at, if that is all it does.
pub(super) fn path(expr: &Expr) -> Option<Vec<&str>> {
    match expr {
        Expr::Var(Var::Context) => Some(Vec::new()),
        Expr::GetAttr { expr, attr } => {
            let mut path = path(expr)?;
            path.push(attr.as_str());
            Some(path)
        }
        Expr::HasAttr { expr, attrs } => {
            let mut path = path(expr)?;
            path.extend(attrs.iter().map(|attr| attr.as_str()));
            Some(path)
        }
        _ => None,
    }
}

/// The parts of an expression.
pub(super) fn children(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::UnaryOp { expr, .. }
        | Expr::GetAttr { expr, .. }
        | Expr::HasAttr { expr, .. }
        | Expr::Like { expr, .. } => {
            vec![expr]
        }
        Expr::BinaryOp { left, right, .. } => vec![left, right],
        Expr::Is { expr, in_expr, .. } => std::iter::once(expr).chain(in_expr).map(|expr| &**expr).collect(),
        Expr::IfThenElse { cond, then_expr, else_expr } => vec![cond, then_expr, else_expr],
        Expr::Set(items) => items.iter().map(|item| &**item).collect(),
        Expr::Record(fields) => fields.values().map(|field| &**field).collect(),
        _ => Vec::new(),
    }
}
