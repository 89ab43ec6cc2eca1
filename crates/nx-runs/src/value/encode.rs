//! Encoding: what was stored before is referred to; what is new is remembered.

use serde_json::{Map, Value, json};

use super::{
    CAT, ESC, EXT, MAX_DEPTH, MIN_BYTES, REF, SET, STR, Store,
    measure::{Hash, Node, hash, is_reserved, measure, shape},
    table::{Entry, Pieces, Place, Shape},
};

/// Objects of fewer fields are stored field by field.
const MIN_FIELDS: usize = 4;

impl Store {
    /// The stored form of a value that will stand at `pointer` in the event of this version.
    pub(super) fn encode_value(&mut self, version: u64, pointer: &str, value: &Value) -> Value {
        let mut scratch = Vec::new();
        let node = measure(value, &self.table, &mut scratch);
        let mut pointer = pointer.to_owned();
        self.write(version, &mut pointer, value, &node, &mut scratch)
    }

    fn write(&mut self, version: u64, at: &mut String, value: &Value, node: &Node, scratch: &mut Vec<u8>) -> Value {
        let Some(hash) = node.hash else { return escaped(value) };
        if let Some(entry) = self.table.find(&hash) {
            return form(REF, json!([entry.place.version, entry.place.pointer]));
        }
        match value {
            Value::String(text) => self.write_text(version, at, text, node, hash),
            Value::Array(items) => self.write_array(version, at, items, node, hash, scratch),
            Value::Object(fields) => self.write_object(version, at, fields, node, hash, scratch),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn write_text(&mut self, version: u64, at: &str, text: &str, node: &Node, hash: Hash) -> Value {
        let here = Place { version, pointer: at.into() };
        let length = text.len();
        self.table.insert_text(length);
        let base = node.prefixes.iter().rev().find_map(|(length, prefix)| Some((self.table.find(prefix)?, *length)));
        let base = base.filter(|(entry, _)| continues(entry, node.size));
        let Some((entry, rest)) = base.and_then(|(entry, length)| Some((entry, text.get(length..)?))) else {
            let pieces = Pieces::new(here.clone(), None);
            self.table.insert_text_at(hash, here, 0, Some(pieces));
            return Value::from(text);
        };
        let pieces = entry.pieces.clone().map(|before| {
            let place = Place { version, pointer: format!("{at}/$str/2").into() };
            Pieces::new(place, Some(before))
        });
        if entry.depth < MAX_DEPTH {
            let depth = entry.depth + 1;
            self.table.insert_text_at(hash, here, depth, pieces);
            return form(STR, json!([entry.place.version, entry.place.pointer, rest, depth]));
        }
        self.table.insert_text_at(hash, here, 1, pieces);
        form(STR, json!([0, cat(entry.pieces.as_deref()), rest, 1]))
    }

    fn write_array(
        &mut self,
        version: u64,
        at: &mut String,
        items: &[Value],
        node: &Node,
        hash: Hash,
        scratch: &mut Vec<u8>,
    ) -> Value {
        let base = node.prefixes.iter().rev().find_map(|(length, prefix)| {
            let entry = self.table.find(prefix)?;
            (entry.items == Some(*length)).then_some((entry, *length))
        });
        let here = Place { version, pointer: at.as_str().into() };
        let Some((entry, length)) = base.filter(|(entry, _)| continues(entry, node.size)) else {
            let pieces = Pieces::new(here.clone(), None);
            let encoded = self.write_items(version, at, items, &node.children, scratch);
            self.table.insert(hash, here, 0, Some((items.len(), Some(pieces))));
            return Value::Array(encoded);
        };
        let rest = items.get(length..).unwrap_or_default();
        let nodes = node.children.get(length..).unwrap_or_default();
        let flat = entry.depth >= MAX_DEPTH;
        let before = at.len();
        at.push_str("/$ext/2");
        let pieces = entry.pieces.clone().map(|before| {
            let place = Place { version, pointer: at.as_str().into() };
            Pieces::new(place, Some(before))
        });
        let encoded = self.write_items(version, at, rest, nodes, scratch);
        at.truncate(before);
        if !flat {
            let depth = entry.depth + 1;
            self.table.insert(hash, here, depth, Some((items.len(), pieces)));
            return form(EXT, json!([entry.place.version, entry.place.pointer, encoded, depth]));
        }
        // The chain has become long: this array names its pieces, so that the next one begins a new chain.
        self.table.insert(hash, here, 1, Some((items.len(), pieces)));
        form(EXT, json!([0, cat(entry.pieces.as_deref()), encoded, 1]))
    }

    fn write_items(
        &mut self,
        version: u64,
        at: &mut String,
        items: &[Value],
        nodes: &[Node],
        scratch: &mut Vec<u8>,
    ) -> Vec<Value> {
        let before = at.len();
        let mut encoded = Vec::with_capacity(items.len());
        for (place, (item, node)) in items.iter().zip(nodes).enumerate() {
            at.push('/');
            at.push_str(itoa(place).as_str());
            encoded.push(self.write(version, at, item, node, scratch));
            at.truncate(before);
        }
        encoded
    }

    fn write_object(
        &mut self,
        version: u64,
        at: &mut String,
        fields: &Map<String, Value>,
        node: &Node,
        whole: Hash,
        scratch: &mut Vec<u8>,
    ) -> Value {
        let here = Place { version, pointer: at.as_str().into() };
        let reserved = fields.keys().any(|key| is_reserved(key));
        let wide = fields.len() >= MIN_FIELDS && node.size >= 4 * MIN_BYTES && !reserved;
        let mut shaped = None;
        if wide {
            let keys = shape(fields.keys());
            let digests: Vec<Hash> =
                fields.values().zip(&node.children).map(|(field, node)| hash(field, node, scratch)).collect();
            if let Some(known) = self.table.shape(&keys).filter(|known| known.depth < MAX_DEPTH) {
                let same: Vec<bool> = known.fields.iter().zip(&digests).map(|(a, b)| a == b).collect();
                let changed = same.iter().filter(|same| !**same).count();
                if same.len() == fields.len() && changed * 2 <= fields.len() {
                    let base = known.clone();
                    return self.write_changes(version, at, fields, node, (whole, keys), (base, same, digests), scratch);
                }
            }
            shaped = Some((keys, digests));
        }
        let before = at.len();
        if reserved {
            at.push_str("/$esc");
        }
        let start = at.len();
        let mut encoded = Map::new();
        for ((key, field), node) in fields.iter().zip(&node.children) {
            at.push('/');
            at.push_str(&nx_types::json::escape(key));
            encoded.insert(key.clone(), self.write(version, at, field, node, scratch));
            at.truncate(start);
        }
        at.truncate(before);
        self.table.insert(whole, here.clone(), 0, None);
        if let Some((keys, fields)) = shaped {
            self.table.insert_shape(keys, Shape { place: here, depth: 0, fields });
        }
        if reserved { form(ESC, Value::Object(encoded)) } else { Value::Object(encoded) }
    }

    #[expect(clippy::too_many_arguments, reason = "one recursion's state, split for its length")]
    fn write_changes(
        &mut self,
        version: u64,
        at: &mut String,
        fields: &Map<String, Value>,
        node: &Node,
        (whole, keys): (Hash, Hash),
        (base, same, digests): (Shape, Vec<bool>, Vec<Hash>),
        scratch: &mut Vec<u8>,
    ) -> Value {
        let here = Place { version, pointer: at.as_str().into() };
        let before = at.len();
        at.push_str("/$set/2");
        let start = at.len();
        let mut changes = Map::new();
        for (((key, field), node), same) in fields.iter().zip(&node.children).zip(same) {
            if !same {
                at.push('/');
                at.push_str(&nx_types::json::escape(key));
                changes.insert(key.clone(), self.write(version, at, field, node, scratch));
                at.truncate(start);
            }
        }
        at.truncate(before);
        let depth = base.depth + 1;
        self.table.insert(whole, here.clone(), depth, None);
        self.table.insert_shape(keys, Shape { place: here, depth, fields: digests });
        form(SET, json!([base.place.version, base.place.pointer, changes, depth]))
    }

    /// Remembers a value that was read back, as [`Self::write`] did when it was stored.
    pub(super) fn remember(&mut self, version: u64, pointer: &str, stored: &Value, value: &Value) {
        let mut scratch = Vec::new();
        let node = measure(value, &self.table, &mut scratch);
        let mut at = pointer.to_owned();
        self.learn(version, &mut at, stored, value, &node, &mut scratch);
    }

    fn learn(
        &mut self,
        version: u64,
        at: &mut String,
        stored: &Value,
        value: &Value,
        node: &Node,
        scratch: &mut Vec<u8>,
    ) {
        let Some(digest) = node.hash else { return };
        let here = Place { version, pointer: at.as_str().into() };
        match (super::decode::form_of(stored), value) {
            (Some((REF, _)), _) => {}
            (Some((EXT, Value::Array(parts))), Value::Array(items)) => {
                let Some(Value::Array(added)) = parts.get(2) else { return };
                let length = items.len().saturating_sub(added.len());
                let depth = parts.get(3).and_then(Value::as_u64).unwrap_or(MAX_DEPTH);
                let prefix = node.prefixes.iter().find(|(held, _)| *held == length).map(|(_, prefix)| *prefix);
                let base = prefix.and_then(|prefix| self.table.find(&prefix)).and_then(|entry| entry.pieces);
                let start = at.len();
                at.push_str("/$ext/2");
                let pieces = base.map(|before| {
                    let place = Place { version, pointer: at.as_str().into() };
                    Pieces::new(place, Some(before))
                });
                let rest = items.get(length..).unwrap_or_default();
                let nodes = node.children.get(length..).unwrap_or_default();
                self.learn_items(version, at, added, rest, nodes, scratch);
                at.truncate(start);
                self.table.insert(digest, here, depth, Some((items.len(), pieces)));
            }
            (Some((STR, Value::Array(parts))), Value::String(text)) => {
                let depth = parts.get(3).and_then(Value::as_u64).unwrap_or(MAX_DEPTH);
                let added = parts.get(2).and_then(Value::as_str).map_or(0, str::len);
                let length = text.len().saturating_sub(added);
                let prefix = node.prefixes.iter().find(|(held, _)| *held == length).map(|(_, prefix)| *prefix);
                let base = prefix.and_then(|prefix| self.table.find(&prefix)).and_then(|entry| entry.pieces);
                let pieces = base.map(|before| {
                    let place = Place { version, pointer: format!("{at}/$str/2").into() };
                    Pieces::new(place, Some(before))
                });
                self.table.insert_text(text.len());
                self.table.insert_text_at(digest, here, depth, pieces);
            }
            (Some((SET, Value::Array(parts))), Value::Object(fields)) => {
                let Some(Value::Object(changes)) = parts.get(2) else { return };
                let depth = parts.get(3).and_then(Value::as_u64).unwrap_or(MAX_DEPTH);
                let start = at.len();
                at.push_str("/$set/2");
                self.learn_fields(version, at, changes, fields, node, scratch);
                at.truncate(start);
                self.learn_object(here, depth, fields, node, digest, scratch);
            }
            (Some((ESC, Value::Object(inner))), Value::Object(fields)) => {
                let start = at.len();
                at.push_str("/$esc");
                self.learn_fields(version, at, inner, fields, node, scratch);
                at.truncate(start);
                self.table.insert(digest, here, 0, None);
            }
            (None, Value::String(text)) => {
                self.table.insert_text(text.len());
                let pieces = Pieces::new(here.clone(), None);
                self.table.insert_text_at(digest, here, 0, Some(pieces));
            }
            (None, Value::Array(items)) => {
                let Value::Array(inner) = stored else { return };
                self.learn_items(version, at, inner, items, &node.children, scratch);
                let pieces = Pieces::new(here.clone(), None);
                self.table.insert(digest, here, 0, Some((items.len(), Some(pieces))));
            }
            (None, Value::Object(fields)) => {
                let Value::Object(inner) = stored else { return };
                self.learn_fields(version, at, inner, fields, node, scratch);
                self.learn_object(here, 0, fields, node, digest, scratch);
            }
            _ => {}
        }
    }

    fn learn_items(
        &mut self,
        version: u64,
        at: &mut String,
        stored: &[Value],
        items: &[Value],
        nodes: &[Node],
        scratch: &mut Vec<u8>,
    ) {
        let start = at.len();
        for (place, ((stored, item), node)) in stored.iter().zip(items).zip(nodes).enumerate() {
            at.push('/');
            at.push_str(itoa(place).as_str());
            self.learn(version, at, stored, item, node, scratch);
            at.truncate(start);
        }
    }

    fn learn_fields(
        &mut self,
        version: u64,
        at: &mut String,
        stored: &Map<String, Value>,
        fields: &Map<String, Value>,
        node: &Node,
        scratch: &mut Vec<u8>,
    ) {
        let start = at.len();
        for ((key, field), node) in fields.iter().zip(&node.children) {
            if let Some(stored) = stored.get(key) {
                at.push('/');
                at.push_str(&nx_types::json::escape(key));
                self.learn(version, at, stored, field, node, scratch);
                at.truncate(start);
            }
        }
    }

    fn learn_object(
        &mut self,
        here: Place,
        depth: u64,
        fields: &Map<String, Value>,
        node: &Node,
        digest: Hash,
        scratch: &mut Vec<u8>,
    ) {
        self.table.insert(digest, here.clone(), depth, None);
        if fields.len() >= MIN_FIELDS && node.size >= 4 * MIN_BYTES {
            let digests = fields.values().zip(&node.children).map(|(field, node)| hash(field, node, scratch)).collect();
            self.table.insert_shape(shape(fields.keys()), Shape { place: here, depth, fields: digests });
        }
    }
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
            1 => json!([first.version, first.pointer]),
            _ => json!([first.pointer, first.version, count, distance]),
        });
    }
    form(CAT, Value::Array(groups))
}

fn itoa(number: usize) -> String {
    number.to_string()
}
