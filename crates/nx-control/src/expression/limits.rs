//! What an expression may cost: known from its tree and the size of its input before it runs.

use std::collections::BTreeSet;

use cel::common::ast::{EntryExpr, Expr, IdedExpr};

/// Deepest tree that is evaluated.
const MAX_DEPTH: usize = 100;
/// Most list comprehensions (`all`, `exists`, `map`, `filter`) within one another.
const MAX_LOOPS: u32 = 3;

/// How much there is to evaluate.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Size {
    nodes: u64,
    loops: u32,
    /// The longest list or map written in the expression.
    longest: u64,
}

impl Size {
    /// An upper bound of the steps for input whose longest list or map has `longest` items.
    pub(super) fn work(self, longest: u64) -> u64 {
        let items = longest.max(self.longest).max(1);
        self.nodes.saturating_mul(items.saturating_pow(self.loops))
    }
}

/// Walks the tree without recursion: what is too deep must not overflow the stack before it is refused.
pub(super) fn measure(root: &IdedExpr) -> Result<Size, String> {
    let mut size = Size::default();
    let mut open: Vec<(&IdedExpr, usize, u32)> = vec![(root, 1, 0)];
    while let Some((node, depth, loops)) = open.pop() {
        if depth > MAX_DEPTH {
            return Err(format!("it is nested deeper than {MAX_DEPTH} levels"));
        }
        size.nodes += 1;
        size.loops = size.loops.max(loops);
        match &node.expr {
            Expr::List(list) => size.longest = size.longest.max(list.elements.len() as u64),
            Expr::Map(map) => size.longest = size.longest.max(map.entries.len() as u64),
            _ => {}
        }
        if loops > MAX_LOOPS {
            return Err(format!("it has more than {MAX_LOOPS} comprehensions within one another"));
        }
        children(node, |child, looped| open.push((child, depth + 1, loops + u32::from(looped))));
    }
    Ok(size)
}

/// The names that an expression refers to.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) variables: BTreeSet<String>,
    pub(super) functions: BTreeSet<String>,
    bound: Vec<String>,
}

/// Collects the names; the tree's depth was bounded by [`measure`].
pub(super) fn names(node: &IdedExpr, found: &mut Names) {
    match &node.expr {
        Expr::Ident(name) => {
            let name = name.trim_start_matches('.');
            if !found.bound.iter().any(|bound| bound == name) {
                found.variables.insert(name.to_owned());
            }
        }
        Expr::Call(call) => {
            found.functions.insert(call.func_name.clone());
            children(node, |child, _| names(child, found));
        }
        Expr::Comprehension(parts) => {
            names(&parts.iter_range, found);
            names(&parts.accu_init, found);
            let before = found.bound.len();
            found.bound.push(parts.iter_var.clone());
            found.bound.extend(parts.iter_var2.clone());
            found.bound.push(parts.accu_var.clone());
            names(&parts.loop_cond, found);
            names(&parts.loop_step, found);
            names(&parts.result, found);
            found.bound.truncate(before);
        }
        _ => children(node, |child, _| names(child, found)),
    }
}

/// Calls `each` with every child, and whether it is evaluated once per item of a list.
fn children<'a>(node: &'a IdedExpr, mut each: impl FnMut(&'a IdedExpr, bool)) {
    match &node.expr {
        Expr::Call(call) => {
            if let Some(target) = &call.target {
                each(target, false);
            }
            call.args.iter().for_each(|arg| each(arg, false));
        }
        Expr::Comprehension(parts) => {
            each(&parts.iter_range, false);
            each(&parts.accu_init, false);
            each(&parts.loop_cond, true);
            each(&parts.loop_step, true);
            each(&parts.result, false);
        }
        Expr::List(list) => list.elements.iter().for_each(|item| each(item, false)),
        Expr::Map(map) => map.entries.iter().for_each(|entry| entry_children(&entry.expr, &mut each)),
        Expr::Struct(parts) => parts.entries.iter().for_each(|entry| entry_children(&entry.expr, &mut each)),
        Expr::Select(select) => each(&select.operand, false),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
    }
}

fn entry_children<'a>(entry: &'a EntryExpr, each: &mut impl FnMut(&'a IdedExpr, bool)) {
    match entry {
        EntryExpr::StructField(field) => each(&field.value, false),
        EntryExpr::MapEntry(entry) => {
            each(&entry.key, false);
            each(&entry.value, false);
        }
    }
}
