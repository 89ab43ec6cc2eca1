//! Encoding: what was stored before is referred to; what is new is remembered.

use serde_json::{Map, Value, json};

use super::{
    CAT, ESC, EXT, MAX_DEPTH, MIN_BYTES, REF, SET, STR, Store,
    measure::{Hash, Node, hash, is_reserved, measure, shape},
    table::{Entry, Pieces, Place, Shape, Table, short},
};

/// Objects of fewer fields are stored field by field.
const MIN_FIELDS: usize = 4;

impl Store {
    /// The stored form of a value that will stand at `pointer` in the event of this version.
    pub(super) fn encode_value(&mut self, version: u64, pointer: &str, value: &Value) -> Value {
        let mut writer = Writer::new(&mut self.table, version, pointer);
        let node = measure(value, writer.table, &mut writer.scratch);
        writer.write(value, &node)
    }
}

/// Walks a value; `at` is where it stands in the event.
pub(super) struct Writer<'a> {
    pub(super) table: &'a mut Table,
    version: u64,
    pub(super) at: String,
    pub(super) scratch: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(table: &'a mut Table, version: u64, pointer: &str) -> Self {
        Self { table, version, at: short(pointer), scratch: Vec::new() }
    }

    /// Where the value at hand stands.
    pub(super) fn here(&self) -> Place {
        Place { version: self.version, pointer: self.at.as_str().into() }
    }

    /// Goes down a segment of the pointer.
    pub(super) fn within<T>(&mut self, segment: &str, then: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.at.len();
        self.at.push_str(segment);
        let done = then(self);
        self.at.truncate(before);
        done
    }

    /// Goes down to a field.
    pub(super) fn field<T>(&mut self, key: &str, then: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.at.len();
        self.at.push('/');
        self.at.push_str(&nx_types::json::escape(key));
        let done = then(self);
        self.at.truncate(before);
        done
    }

    fn write(&mut self, value: &Value, node: &Node) -> Value {
        let Some(hash) = node.hash else { return escaped(value) };
        if let Some(entry) = self.table.find(&hash) {
            return form(REF, Value::from(entry.place.text()));
        }
        match value {
            Value::String(text) => self.write_text(text, node, hash),
            Value::Array(items) => self.write_array(items, node, hash),
            Value::Object(fields) => self.write_object(fields, node, hash),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn write_text(&mut self, text: &str, node: &Node, hash: Hash) -> Value {
        let here = self.here();
        self.table.insert_text(text.len());
        let base = node.prefixes.iter().rev().find_map(|(length, prefix)| Some((self.table.find(prefix)?, *length)));
        let base = base.filter(|(entry, _)| continues(entry, node.size));
        let Some((entry, rest)) = base.and_then(|(entry, length)| Some((entry, text.get(length..)?))) else {
            let pieces = Pieces::new(here.clone(), None);
            self.table.insert_text_at(hash, here, 0, Some(pieces));
            return Value::from(text);
        };
        let piece = self.within("/$str/1", |writer| writer.here());
        let pieces = entry.pieces.clone().map(|before| Pieces::new(piece, Some(before)));
        if entry.depth < MAX_DEPTH {
            let depth = entry.depth + 1;
            self.table.insert_text_at(hash, here, depth, pieces);
            return form(STR, json!([entry.place.text(), rest]));
        }
        self.table.insert_text_at(hash, here, 1, pieces);
        form(STR, json!([cat(entry.pieces.as_deref()), rest]))
    }

    fn write_array(&mut self, items: &[Value], node: &Node, hash: Hash) -> Value {
        let here = self.here();
        let base = node.prefixes.iter().rev().find_map(|(length, prefix)| {
            let entry = self.table.find(prefix)?;
            (entry.items == Some(*length)).then_some((entry, *length))
        });
        let Some((entry, length)) = base.filter(|(entry, _)| continues(entry, node.size)) else {
            let encoded = self.write_items(items, &node.children);
            let pieces = Pieces::new(here.clone(), None);
            self.table.insert(hash, here, 0, Some((items.len(), Some(pieces))));
            return Value::Array(encoded);
        };
        let rest = items.get(length..).unwrap_or_default();
        let nodes = node.children.get(length..).unwrap_or_default();
        let (piece, encoded) = self.within("/$ext/1", |writer| (writer.here(), writer.write_items(rest, nodes)));
        let pieces = entry.pieces.clone().map(|before| Pieces::new(piece, Some(before)));
        if entry.depth < MAX_DEPTH {
            let depth = entry.depth + 1;
            self.table.insert(hash, here, depth, Some((items.len(), pieces)));
            return form(EXT, json!([entry.place.text(), encoded]));
        }
        // The chain has become long: this array names its pieces, so that the next one begins a new chain.
        self.table.insert(hash, here, 1, Some((items.len(), pieces)));
        form(EXT, json!([cat(entry.pieces.as_deref()), encoded]))
    }

    fn write_items(&mut self, items: &[Value], nodes: &[Node]) -> Vec<Value> {
        let numbered = items.iter().zip(nodes).enumerate();
        numbered.map(|(n, (item, node))| self.field(&n.to_string(), |writer| writer.write(item, node))).collect()
    }

    fn write_object(&mut self, fields: &Map<String, Value>, node: &Node, whole: Hash) -> Value {
        let here = self.here();
        let reserved = fields.keys().any(|key| is_reserved(key));
        let shaped = (!reserved).then(|| self.shape_of(fields, node)).flatten();
        if let Some((keys, digests)) = &shaped
            && let Some(base) = self.table.shape(keys).filter(|known| known.depth < MAX_DEPTH)
        {
            let changed: Vec<bool> = base.fields.iter().zip(digests).map(|(held, new)| held != new).collect();
            let count = changed.iter().filter(|changed| **changed).count();
            if changed.len() == fields.len() && count * 2 <= fields.len() {
                let base = base.clone();
                let changes = self
                    .within("/$set/1", |writer| writer.write_fields(fields, node, |n| changed.get(n) == Some(&true)));
                let depth = base.depth + 1;
                self.table.insert(whole, here.clone(), depth, None);
                self.table.insert_shape(*keys, Shape { place: here, depth, fields: digests.clone() });
                return form(SET, json!([base.place.text(), changes, depth]));
            }
        }
        let segment = if reserved { "/$esc" } else { "" };
        let encoded = self.within(segment, |writer| writer.write_fields(fields, node, |_| true));
        self.table.insert(whole, here.clone(), 0, None);
        if let Some((keys, fields)) = shaped {
            self.table.insert_shape(keys, Shape { place: here, depth: 0, fields });
        }
        if reserved { form(ESC, Value::Object(encoded)) } else { Value::Object(encoded) }
    }

    fn write_fields(
        &mut self,
        fields: &Map<String, Value>,
        node: &Node,
        which: impl Fn(usize) -> bool,
    ) -> Map<String, Value> {
        let mut encoded = Map::new();
        for (n, ((key, field), node)) in fields.iter().zip(&node.children).enumerate() {
            if which(n) {
                encoded.insert(key.clone(), self.field(key, |writer| writer.write(field, node)));
            }
        }
        encoded
    }

    /// For objects that may be stored by their changes: digests of the keys, and of each field.
    pub(super) fn shape_of(&mut self, fields: &Map<String, Value>, node: &Node) -> Option<(Hash, Vec<Hash>)> {
        if fields.len() < MIN_FIELDS || node.size < 4 * MIN_BYTES {
            return None;
        }
        let scratch = &mut self.scratch;
        let digests = fields.values().zip(&node.children).map(|(field, node)| hash(field, node, scratch)).collect();
        Some((shape(fields.keys()), digests))
    }
}

/// Whether to extend a value: its chain is short, or naming all its pieces is cheaper than storing it anew.
fn continues(entry: &Entry, size: usize) -> bool {
    entry.depth < MAX_DEPTH || entry.pieces.as_ref().is_some_and(|pieces| pieces.bytes() < size)
}

/// The form of several pieces in one, the first one first. Pieces at the same pointer of events at even distances, as
/// they come of one step in a loop, are named together: `[POINTER, VERSION, COUNT, DISTANCE]`.
fn cat(mut piece: Option<&Pieces>) -> Value {
    let mut places = Vec::new();
    while let Some(held) = piece {
        places.push(&held.place);
        piece = held.before.as_deref();
    }
    let mut groups = Vec::new();
    while let Some(first) = places.pop() {
        let mut last = first.version;
        let (mut count, mut distance) = (1u64, 0);
        while let Some(next) = places.last().filter(|next| next.pointer == first.pointer && next.version > last)
            && (count == 1 || next.version - last == distance)
        {
            distance = next.version - last;
            last = next.version;
            count += 1;
            places.pop();
        }
        groups.push(match count {
            1 => Value::from(first.text()),
            _ => json!([first.pointer, first.version, count, distance]),
        });
    }
    form(CAT, Value::Array(groups))
}

/// A small value as it is, but for objects that could be mistaken for a form.
fn escaped(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(escaped).collect()),
        Value::Object(fields) => {
            let reserved = fields.keys().any(|key| is_reserved(key));
            let fields = fields.iter().map(|(key, field)| (key.clone(), escaped(field))).collect();
            if reserved { form(ESC, Value::Object(fields)) } else { Value::Object(fields) }
        }
        other => other.clone(),
    }
}

fn form(key: &str, content: Value) -> Value {
    let mut fields = Map::new();
    fields.insert(key.to_owned(), content);
    Value::Object(fields)
}
