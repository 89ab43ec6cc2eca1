//! Sizes and digests of values: equal digests mean equal values. SHA-256 cut to 128 bits, since what users send is not
//! to be trusted to lack collisions.

use ring::digest::{Context, SHA256};
use serde_json::Value;

use super::{MIN_BYTES, RESERVED, table::Table};

/// A digest.
pub(super) type Hash = [u8; 16];

/// What is known of a value of at least [`MIN_BYTES`]; of smaller ones there is only the size.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) size: usize,
    pub(super) hash: Option<Hash>,
    pub(super) children: Vec<Self>,
    /// For arrays and texts: lengths at which a known one may end, and the digest up to there; longest last.
    pub(super) prefixes: Vec<(usize, Hash)>,
}

/// Whether the value is stored as it is without a look at the table: small, and not mistakable for a form.
pub(super) fn is_plain(value: &Value) -> bool {
    fn walk(value: &Value, left: &mut usize) -> bool {
        let cost = match value {
            Value::String(text) => text.len() + 2,
            Value::Array(items) => {
                if !items.iter().all(|item| walk(item, left)) {
                    return false;
                }
                2 + items.len()
            }
            Value::Object(fields) => {
                if fields.keys().any(|key| is_reserved(key)) {
                    return false;
                }
                if !fields.values().all(|field| walk(field, left)) {
                    return false;
                }
                2 + fields.keys().map(|key| key.len() + 4).sum::<usize>()
            }
            Value::Number(_) => 8,
            Value::Bool(_) | Value::Null => 4,
        };
        match left.checked_sub(cost) {
            Some(rest) => {
                *left = rest;
                true
            }
            None => false,
        }
    }
    walk(value, &mut MIN_BYTES.clone())
}

pub(super) fn is_reserved(key: &str) -> bool {
    key.starts_with('$') && RESERVED.contains(&key)
}

pub(super) fn cut(context: Context) -> Hash {
    let mut hash = [0; 16];
    for (to, from) in hash.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    hash
}

/// Measures a value. `scratch` holds the JSON of small values.
pub(super) fn measure(value: &Value, table: &Table, scratch: &mut Vec<u8>) -> Node {
    match value {
        Value::String(text) => {
            if text.len() + 2 < MIN_BYTES {
                return Node { size: text.len() + 2, ..Node::default() };
            }
            let mut context = Context::new(&SHA256);
            context.update(b"s");
            let mut prefixes = Vec::new();
            let mut done = 0;
            for length in table.text_lengths().filter(|&length| length < text.len()) {
                if let Some(part) = text.as_bytes().get(done..length) {
                    context.update(part);
                    prefixes.push((length, cut(context.clone())));
                    done = length;
                }
            }
            context.update(text.as_bytes().get(done..).unwrap_or_default());
            Node { size: text.len() + 2, hash: Some(cut(context)), children: Vec::new(), prefixes }
        }
        Value::Array(items) => {
            let children: Vec<Node> = items.iter().map(|item| measure(item, table, scratch)).collect();
            let size = 2 + children.iter().map(|child| child.size + 1).sum::<usize>();
            if size < MIN_BYTES {
                return Node { size, ..Node::default() };
            }
            let mut context = Context::new(&SHA256);
            context.update(b"a");
            let mut prefixes = Vec::new();
            for (place, (item, child)) in items.iter().zip(&children).enumerate() {
                if place > 0 && table.knows_array_of(place) {
                    prefixes.push((place, cut(context.clone())));
                }
                update(&mut context, item, child, scratch);
            }
            Node { size, hash: Some(cut(context)), children, prefixes }
        }
        Value::Object(fields) => {
            let children: Vec<Node> = fields.values().map(|field| measure(field, table, scratch)).collect();
            let keys: usize = fields.keys().map(|key| key.len() + 4).sum();
            let size = 2 + keys + children.iter().map(|child| child.size).sum::<usize>();
            if size < MIN_BYTES {
                return Node { size, ..Node::default() };
            }
            let mut context = Context::new(&SHA256);
            context.update(b"o");
            for ((key, field), child) in fields.iter().zip(&children) {
                context.update(&(key.len() as u32).to_be_bytes());
                context.update(key.as_bytes());
                update(&mut context, field, child, scratch);
            }
            Node { size, hash: Some(cut(context)), children, prefixes: Vec::new() }
        }
        Value::Number(_) => Node { size: 8, ..Node::default() },
        Value::Bool(_) | Value::Null => Node { size: 4, ..Node::default() },
    }
}

fn update(context: &mut Context, value: &Value, node: &Node, scratch: &mut Vec<u8>) {
    match &node.hash {
        Some(hash) => {
            context.update(&u32::MAX.to_be_bytes());
            context.update(hash);
        }
        None => {
            json(value, scratch);
            context.update(&(scratch.len() as u32).to_be_bytes());
            context.update(scratch);
        }
    }
}

fn json(value: &Value, into: &mut Vec<u8>) {
    into.clear();
    // Writing a value to memory cannot fail; an empty text would only hide that two values are equal.
    if serde_json::to_writer(&mut *into, value).is_err() {
        into.clear();
    }
}

/// The digest of a value, whatever its size.
pub(super) fn hash(value: &Value, node: &Node, scratch: &mut Vec<u8>) -> Hash {
    node.hash.unwrap_or_else(|| {
        json(value, scratch);
        let mut context = Context::new(&SHA256);
        context.update(b"j");
        context.update(scratch);
        cut(context)
    })
}

/// The digest of an object's keys.
pub(super) fn shape<'a>(keys: impl Iterator<Item = &'a String>) -> Hash {
    let mut context = Context::new(&SHA256);
    for key in keys {
        context.update(&(key.len() as u32).to_be_bytes());
        context.update(key.as_bytes());
    }
    cut(context)
}
