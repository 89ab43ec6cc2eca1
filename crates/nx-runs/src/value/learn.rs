//! Remembering values that were read back, as if they had just been stored: a run that was loaded goes on sharing.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    ESC, EXT, MAX_DEPTH, REF, SET, STR, Store,
    decode::form_of,
    encode::Writer,
    measure::{Hash, Node, measure},
    table::{Pieces, Shape},
};

impl Store {
    /// Remembers the value at `pointer` of the event of this version: as it is stored, and in full.
    pub(super) fn remember(&mut self, version: u64, pointer: &str, stored: &Value, value: &Value) {
        let mut writer = Writer::new(&mut self.table, version, pointer);
        let node = measure(value, writer.table, &mut writer.scratch);
        writer.learn(stored, value, &node);
    }
}

impl Writer<'_> {
    fn learn(&mut self, stored: &Value, value: &Value, node: &Node) {
        let Some(digest) = node.hash else { return };
        let here = self.here();
        match (form_of(stored), value) {
            (Some((REF, _)), _) => {}
            (Some((EXT, Value::Array(parts))), Value::Array(items)) => {
                let Some(Value::Array(added)) = parts.get(1) else { return };
                let length = items.len().saturating_sub(added.len());
                let base = self.base_of(node, length, parts);
                let rest = items.get(length..).unwrap_or_default();
                let nodes = node.children.get(length..).unwrap_or_default();
                let piece = self.within("/$ext/1", |writer| {
                    writer.learn_items(added, rest, nodes);
                    writer.here()
                });
                let (depth, before) = base;
                let pieces = before.map(|before| Pieces::new(piece, Some(before)));
                self.table.insert(digest, here, depth, Some((items.len(), pieces)));
            }
            (Some((STR, Value::Array(parts))), Value::String(text)) => {
                let added = parts.get(1).and_then(Value::as_str).map_or(0, str::len);
                let (depth, before) = self.base_of(node, text.len().saturating_sub(added), parts);
                let piece = self.within("/$str/1", |writer| writer.here());
                let pieces = before.map(|before| Pieces::new(piece, Some(before)));
                self.table.insert_text(text.len());
                self.table.insert_text_at(digest, here, depth, pieces);
            }
            (Some((SET, Value::Array(parts))), Value::Object(fields)) => {
                let Some(Value::Object(changes)) = parts.get(1) else { return };
                self.within("/$set/1", |writer| writer.learn_fields(changes, fields, node));
                let depth = parts.get(2).and_then(Value::as_u64).unwrap_or(MAX_DEPTH);
                self.learn_object(depth, fields, node, digest);
            }
            (Some((ESC, Value::Object(inner))), Value::Object(fields)) => {
                self.within("/$esc", |writer| writer.learn_fields(inner, fields, node));
                self.table.insert(digest, here, 0, None);
            }
            (None, Value::String(text)) => {
                self.table.insert_text(text.len());
                let pieces = Pieces::new(here.clone(), None);
                self.table.insert_text_at(digest, here, 0, Some(pieces));
            }
            (None, Value::Array(items)) => {
                let Value::Array(inner) = stored else { return };
                self.learn_items(inner, items, &node.children);
                let pieces = Pieces::new(here.clone(), None);
                self.table.insert(digest, here, 0, Some((items.len(), Some(pieces))));
            }
            (None, Value::Object(fields)) => {
                let Value::Object(inner) = stored else { return };
                self.learn_fields(inner, fields, node);
                self.learn_object(0, fields, node, digest);
            }
            _ => {}
        }
    }

    /// How deep an extension is, and the pieces of what it extends. Of an unknown value nothing is known but that it
    /// may be deep.
    fn base_of(&mut self, node: &Node, length: usize, parts: &[Value]) -> (u64, Option<Arc<Pieces>>) {
        let prefix = node.prefixes.iter().find(|(held, _)| *held == length).map(|(_, prefix)| *prefix);
        let base = prefix.and_then(|prefix| self.table.find(&prefix));
        let flat = parts.first().is_some_and(Value::is_object);
        match base {
            Some(base) if flat => (1, base.pieces),
            Some(base) => ((base.depth + 1).min(MAX_DEPTH), base.pieces),
            None => (MAX_DEPTH, None),
        }
    }

    fn learn_items(&mut self, stored: &[Value], items: &[Value], nodes: &[Node]) {
        for (n, ((stored, item), node)) in stored.iter().zip(items).zip(nodes).enumerate() {
            self.field(&n.to_string(), |writer| writer.learn(stored, item, node));
        }
    }

    fn learn_fields(&mut self, stored: &Map<String, Value>, fields: &Map<String, Value>, node: &Node) {
        for ((key, field), node) in fields.iter().zip(&node.children) {
            if let Some(stored) = stored.get(key) {
                self.field(key, |writer| writer.learn(stored, field, node));
            }
        }
    }

    fn learn_object(&mut self, depth: u64, fields: &Map<String, Value>, node: &Node, digest: Hash) {
        let here = self.here();
        self.table.insert(digest, here.clone(), depth, None);
        if let Some((keys, digests)) = self.shape_of(fields, node) {
            self.table.insert_shape(keys, Shape { place: here, depth, fields: digests });
        }
    }
}
