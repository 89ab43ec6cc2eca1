//! Kinds of action: whether the request asks for what a tool does, by groups of verbs.

use std::collections::HashSet;

/// Verbs that ask for the same kind of action. A verb may stand in several.
const GROUPS: [&[&str]; 14] = [
    &["delete", "remove", "erase", "drop", "discard", "purge", "clear"],
    &["send", "email", "mail", "message", "notify", "forward", "reply", "write", "tell", "inform"],
    &["append", "add", "insert", "write", "extend", "include", "put"],
    &["create", "make", "new", "add", "write", "set", "book", "draft"],
    &["update", "change", "modify", "adjust", "edit", "correct", "set", "fix"],
    &["share", "give", "grant", "access"],
    &["invite", "add"],
    &["post", "publish", "share", "put"],
    &["reserve", "book", "reservation"],
    &["cancel", "abort", "call"],
    &["reschedule", "move", "postpone", "shift"],
    &["schedule", "plan", "recurring", "standing", "set"],
    &["pay", "transfer", "send", "refund", "money"],
    &["add", "include", "invite", "append"],
];
/// Most letters that an ending adds: `send`, `sending`.
const MAX_ENDING: usize = 3;

/// Which groups a request asks for.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    groups: [bool; GROUPS.len()],
}

impl Asked {
    pub(super) fn new(request: &HashSet<String>) -> Self {
        let mut groups = [false; GROUPS.len()];
        for (asked, group) in groups.iter_mut().zip(GROUPS) {
            *asked = group.iter().any(|verb| request.contains(*verb))
                || request.iter().any(|word| group.iter().any(|verb| is_form(word, verb)));
        }
        Self { groups }
    }

    /// Whether the request asks for the kind of action that the tool's name says; a name without a verb says none.
    pub(super) fn covers(&self, tool: &str) -> bool {
        let words = words(tool);
        let mut named = false;
        for (asked, group) in self.groups.iter().zip(GROUPS) {
            if words.iter().any(|word| group.contains(&word.as_str())) {
                named = true;
                if *asked {
                    return true;
                }
            }
        }
        !named
    }
}

fn is_form(word: &str, verb: &str) -> bool {
    word.strip_prefix(verb).is_some_and(|ending| ending.chars().count() <= MAX_ENDING)
}

/// The words of a name: `send_email`, `sendEmail`, `pay/refund`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && lower) {
            words.push(String::new());
        }
        lower = c.is_lowercase();
        if let Some(word) = words.last_mut()
            && c.is_alphanumeric()
        {
            word.extend(c.to_lowercase());
        }
    }
    words
}
