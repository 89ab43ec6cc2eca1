//! Cuts a policy's text into clauses before Cedar parses them, so that each clause has its own errors, nothing nests deeper
//! than a stack holds, and `Tool::"pay/refund"` may be written for what Cedar wants to be called an action.

/// What is put in after `Tool` and `Toolset`: Cedar takes as an action only an entity whose type ends so.
const ACTION: &str = "::Action";
/// The types that are actions in truth.
const ACTIONS: [&str; 2] = ["Tool", "Toolset"];
/// Deepest expression. Parsing, checking and dropping an expression recurse; a clause for people nests a dozen levels.
pub(super) const MAX_DEPTH: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Text,
    Open,
    Close,
    Comma,
    Semicolon,
    Colons,
    Logic,
    Other,
}

#[derive(Debug, Clone, Copy)]
struct Token<'a> {
    kind: Kind,
    text: &'a str,
    at: usize,
}

/// One clause as written, and as Cedar takes it.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    /// As written, from its first annotation to its semicolon.
    pub(super) text: &'a str,
    /// As Cedar takes it.
    pub(super) cedar: String,
    /// How deep it nests, at most.
    pub(super) depth: usize,
    pub(super) places: Places,
}

/// Where what Cedar sees stands in the policy's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Places {
    /// Where the clause begins.
    pub(super) at: usize,
    len: usize,
    /// Where something was put in, in places of Cedar's text.
    inserted: Vec<usize>,
}

impl Places {
    /// The place in the policy's text of a place in Cedar's.
    pub(super) fn of(&self, offset: usize) -> usize {
        let shift: usize = (self.inserted.iter())
            .map(|at| if *at + ACTION.len() <= offset { ACTION.len() } else { offset.saturating_sub(*at) })
            .sum();
        self.at + offset.saturating_sub(shift).min(self.len)
    }
}

/// Words of Cedar as a user wrote them.
pub(super) fn unwritten(message: &str) -> String {
    let message = message
        .replace("entity uid with type `Action`", "entity of type `Tool` or `Toolset`")
        .replace("; action entities must have type `Action`, optionally in a namespace", "");
    ACTIONS.iter().fold(message, |text, name| text.replace(&format!("{name}{ACTION}"), name))
}

/// The line and column, both from 1, of a place in `text`.
pub(super) fn line_column(text: &str, at: usize) -> (u32, u32) {
    let before = text.char_indices().take_while(|(place, _)| *place < at).map(|(_, c)| c);
    before.fold((1, 1), |(line, column), c| if c == '\n' { (line + 1, 1) } else { (line, column + 1) })
}

/// The clauses of a policy's text, at most `most` and one more.
pub(super) fn pieces(text: &str, most: usize) -> Vec<Piece<'_>> {
    let tokens = tokens(text);
    let mut pieces = Vec::new();
    let mut open = 0_usize;
    let mut begin = 0;
    for (n, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open => open += 1,
            Kind::Close => open = open.saturating_sub(1),
            _ => {}
        }
        if (token.kind == Kind::Semicolon && open == 0) || n + 1 == tokens.len() {
            pieces.extend(piece(text, tokens.get(begin..=n).unwrap_or_default()));
            begin = n + 1;
            if pieces.len() > most {
                break;
            }
        }
    }
    pieces
}

fn piece<'a>(text: &'a str, tokens: &[Token<'a>]) -> Option<Piece<'a>> {
    let (first, last) = (tokens.first()?, tokens.last()?);
    let written = text.get(first.at..last.at + last.text.len())?;
    let mut cedar = String::with_capacity(written.len() + 64);
    let mut inserted = Vec::new();
    let mut copied = first.at;
    for (n, token) in tokens.iter().enumerate() {
        let names = token.kind == Kind::Word && ACTIONS.contains(&token.text);
        let qualified = n.checked_sub(1).and_then(|n| tokens.get(n)).is_some_and(|before| before.kind == Kind::Colons);
        let entity = matches!(tokens.get(n + 1..n + 3), Some([colons, id]) if colons.kind == Kind::Colons && id.kind == Kind::Text);
        if names && entity && !qualified {
            let end = token.at + token.text.len();
            cedar.push_str(text.get(copied..end)?);
            inserted.push(cedar.len());
            cedar.push_str(ACTION);
            copied = end;
        }
    }
    cedar.push_str(text.get(copied..last.at + last.text.len())?);
    let places = Places { at: first.at, len: written.len(), inserted };
    Some(Piece { text: written, cedar, depth: depth(tokens), places })
}

/// What is known of an open bracket while its content is read.
#[derive(Default)]
struct Level {
    /// Deepest of the parts between commas that are done.
    done: usize,
    /// `&&`, `||` and the like in this part: they nest to the left.
    chain: usize,
    /// Deepest operand in this part.
    operand: usize,
    /// Operators of the operand that is read.
    operators: usize,
    /// Deepest bracket of the operand that is read.
    within: usize,
}

impl Level {
    fn end_operand(&mut self) {
        self.operand = self.operand.max(self.operators + self.within);
        self.operators = 0;
        self.within = 0;
    }

    fn end_part(&mut self) {
        self.end_operand();
        self.done = self.done.max(self.chain + self.operand);
        self.chain = 0;
        self.operand = 0;
    }
}

/// How deep the expression nests, at most: no less than the tree that a parser makes of it.
fn depth(tokens: &[Token<'_>]) -> usize {
    let mut above: Vec<Level> = Vec::new();
    let mut level = Level::default();
    let close = |above: &mut Vec<Level>, level: &mut Level| {
        level.end_part();
        if let Some(outer) = above.pop() {
            let inner = std::mem::replace(level, outer);
            level.within = level.within.max(inner.done + 1);
        }
    };
    for token in tokens {
        match token.kind {
            Kind::Open => above.push(std::mem::take(&mut level)),
            Kind::Close => close(&mut above, &mut level),
            Kind::Comma => level.end_part(),
            Kind::Logic => {
                level.end_operand();
                level.chain += 1;
            }
            Kind::Other => level.operators += 1,
            Kind::Word | Kind::Text | Kind::Semicolon | Kind::Colons => {}
        }
    }
    while !above.is_empty() {
        close(&mut above, &mut level);
    }
    level.end_part();
    level.done
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let (kind, len) = token(rest);
        if let (Some(kind), Some(text)) = (kind, rest.get(..len)) {
            tokens.push(Token { kind, text, at });
        }
        at += len.max(1);
    }
    tokens
}

/// The token that `rest` begins with, `None` for what is skipped, and its length in bytes.
fn token(rest: &str) -> (Option<Kind>, usize) {
    let mut chars = rest.chars();
    let (first, second) = (chars.next().unwrap_or(' '), chars.next().unwrap_or(' '));
    match (first, second) {
        ('/', '/') => (None, rest.find(['\n', '\r']).unwrap_or(rest.len())),
        ('"', _) => (Some(Kind::Text), text_len(rest)),
        (':', ':') => (Some(Kind::Colons), 2),
        ('&', '&') | ('|', '|') => (Some(Kind::Logic), 2),
        ('=' | '!' | '<' | '>', '=') => (Some(Kind::Other), 2),
        ('(' | '[' | '{', _) => (Some(Kind::Open), 1),
        (')' | ']' | '}', _) => (Some(Kind::Close), 1),
        (',', _) => (Some(Kind::Comma), 1),
        (';', _) => (Some(Kind::Semicolon), 1),
        (c, _) if c == '_' || c.is_ascii_alphanumeric() => {
            let len = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
            let kind = match rest.get(..len) {
                Some("if" | "then" | "else" | "when" | "unless") => Kind::Logic,
                Some("in" | "has" | "like" | "is") => Kind::Other,
                _ => Kind::Word,
            };
            (Some(kind), len)
        }
        (c, _) if c.is_whitespace() => (None, c.len_utf8()),
        (c, _) => (Some(Kind::Other), c.len_utf8()),
    }
}

/// The length of a text with its quotes; all that is left, where it is not closed.
fn text_len(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_become_actions_and_places_stay() {
        let text = "// Tool::\"a\"\n@id(\"Tool::\\\"x\\\"\")\nforbid(principal, action in [Tool::\"a\", Toolset :: \"b\"], resource) when { bad };\n";
        let pieces = pieces(text, 10);
        assert_eq!(pieces.len(), 1);
        let piece = &pieces[0];
        assert!(piece.cedar.contains("[Tool::Action::\"a\", Toolset::Action :: \"b\"]"), "{}", piece.cedar);
        assert!(piece.cedar.starts_with("@id(\"Tool::\\\"x\\\"\")"));
        let wrong = piece.cedar.find("bad").unwrap();
        assert_eq!(piece.places.of(wrong), text.find("bad").unwrap());
        assert_eq!(line_column(text, piece.places.of(wrong)), (3, 75));
        assert_eq!(unwritten("no Tool::Action::\"a\""), "no Tool::\"a\"");
    }

    #[test]
    fn clauses_are_cut_at_their_semicolons() {
        let text = "a { ; } ; b \"; \" ; // ;\n c";
        let cut: Vec<&str> = pieces(text, 10).iter().map(|piece| piece.text).collect();
        assert_eq!(cut, ["a { ; } ;", "b \"; \" ;", "c"]);
        assert_eq!(pieces(";;;;;;", 2).len(), 3);
    }

    #[test]
    fn depth_is_bounded_from_above() {
        let deep = |text: &str| pieces(text, 1)[0].depth;
        assert!(deep("[a.b.c, a.b.c, a.b.c, a.b.c]") < 5);
        assert!(deep(&format!("{}{}", "(".repeat(500), ")".repeat(500))) >= 500);
        assert!(deep(&"(".repeat(500)) >= 500);
        assert!(deep(&"a && ".repeat(500)) >= 500);
        assert!(deep(&format!("(a{}) || b", " && a".repeat(500))) >= 500);
        assert!(deep(&"!".repeat(500)) >= 500);
        assert!(deep(&format!("x{}", ".y".repeat(500))) >= 500);
    }
}
