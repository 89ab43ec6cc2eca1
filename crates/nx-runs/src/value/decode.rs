//! Decoding: references are followed to the events they name. Bounded in depth and in the size of what comes out,
//! whatever is stored.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{CAT, EXT, Fetch, MAX_DEPTH, MAX_EXPANSION, REF, SET, STR, Store, measure::is_reserved, table::long};
use crate::Error;

/// Deepest nesting of values and references together.
const MAX_NESTING: usize = 256;
/// What an array item, a field or a small value is counted as.
const NODE_BYTES: usize = 16;

/// The reserved key and the content, if the stored value is a form.
pub(super) fn form_of(stored: &Value) -> Option<(&'static str, &Value)> {
    let Value::Object(fields) = stored else { return None };
    if fields.len() != 1 {
        return None;
    }
    let (key, content) = fields.iter().next()?;
    if !is_reserved(key) {
        return None;
    }
    let known = super::RESERVED.into_iter().find(|known| known == key)?;
    Some((known, content))
}

fn broken(what: &str) -> Error {
    Error::value(format!("a stored value is damaged: {what}"))
}

struct Resolver<'a, 'b> {
    store: &'a mut Store,
    /// The event that is being decoded: its values may refer to each other.
    own: (u64, &'a [u8]),
    fetch: &'a mut Fetch<'b>,
    budget: &'a mut usize,
}

impl Store {
    /// The value in full.
    pub(super) fn resolve(
        &mut self,
        stored: &Value,
        own: (u64, &[u8]),
        mut fetch: Fetch<'_>,
        budget: &mut usize,
    ) -> Result<Value, Error> {
        Resolver { store: self, own, fetch: &mut fetch, budget }.value(stored, 0)
    }
}

impl Resolver<'_, '_> {
    fn spend(&mut self, bytes: usize) -> Result<(), Error> {
        *self.budget = self.budget.checked_sub(bytes).ok_or_else(|| broken("it expands beyond 64 MiB"))?;
        Ok(())
    }

    fn value(&mut self, stored: &Value, nesting: usize) -> Result<Value, Error> {
        if nesting > MAX_NESTING {
            return Err(broken("its references nest too deep"));
        }
        self.spend(NODE_BYTES)?;
        match (form_of(stored), stored) {
            (Some((REF, place)), _) => {
                let (version, pointer) = place_of(place)?;
                let event = self.event(version)?;
                let target = event.pointer(&pointer).ok_or_else(|| broken("a reference leads nowhere"))?;
                if form_of(target).is_some_and(|(key, _)| key == REF) {
                    return Err(broken("a reference leads to a reference"));
                }
                self.value(target, nesting + 1)
            }
            (Some((EXT | CAT, _)), _) => {
                let mut items = Vec::new();
                self.array(stored, nesting, &mut items)?;
                Ok(Value::Array(items))
            }
            (Some((STR, _)), _) => self.text(stored).map(Value::String),
            (Some((SET, _)), _) => self.object(stored, nesting).map(Value::Object),
            (Some((_, content)), _) => match content {
                Value::Object(fields) => self.fields(fields, nesting).map(Value::Object),
                _ => Err(broken("`$esc` holds no object")),
            },
            (None, Value::Array(items)) => {
                let items = items.iter().map(|item| self.value(item, nesting + 1));
                Ok(Value::Array(items.collect::<Result<_, Error>>()?))
            }
            (None, Value::Object(fields)) => self.fields(fields, nesting).map(Value::Object),
            (None, Value::String(text)) => {
                self.spend(text.len())?;
                Ok(stored.clone())
            }
            (None, _) => Ok(stored.clone()),
        }
    }

    fn fields(&mut self, fields: &Map<String, Value>, nesting: usize) -> Result<Map<String, Value>, Error> {
        let mut out = Map::new();
        for (key, field) in fields {
            self.spend(key.len())?;
            out.insert(key.clone(), self.value(field, nesting + 1)?);
        }
        Ok(out)
    }

    /// Follows extensions of arrays back to an array in full, then goes forward.
    fn array(&mut self, stored: &Value, nesting: usize, out: &mut Vec<Value>) -> Result<(), Error> {
        if nesting > MAX_NESTING {
            return Err(broken("its references nest too deep"));
        }
        let mut added: Vec<Arc<Value>> = Vec::new();
        let mut at = Arc::new(stored.clone());
        loop {
            if added.len() as u64 > 2 * MAX_DEPTH {
                return Err(broken("a chain of extensions is too long"));
            }
            let next = match form_of(&at) {
                Some((EXT, Value::Array(parts))) => match parts.as_slice() {
                    [place @ Value::String(_), Value::Array(_)] => {
                        let (version, pointer) = place_of(place)?;
                        let event = self.event(version)?;
                        Arc::new(event.pointer(&pointer).ok_or_else(|| broken("an extension leads nowhere"))?.clone())
                    }
                    [base @ Value::Object(_), Value::Array(_)] => Arc::new(base.clone()),
                    _ => return Err(broken("`$ext` has another form")),
                },
                Some((CAT, Value::Array(places))) => {
                    for place in places {
                        let (versions, pointer) = group_of(place)?;
                        for version in versions {
                            self.spend(NODE_BYTES)?;
                            let event = self.event(version)?;
                            let Some(Value::Array(items)) = event.pointer(&pointer) else {
                                return Err(broken("a piece of an array is none"));
                            };
                            self.items(items, nesting, out)?;
                        }
                    }
                    break;
                }
                None => {
                    let Value::Array(items) = &*at else { return Err(broken("what is extended is no array")) };
                    self.items(items, nesting, out)?;
                    break;
                }
                Some(_) => return Err(broken("what is extended is no array")),
            };
            added.push(std::mem::replace(&mut at, next));
        }
        for part in added.iter().rev() {
            if let Some(Value::Array(items)) = form_of(part).and_then(|(_, content)| content.get(1)) {
                self.items(items, nesting, out)?;
            }
        }
        Ok(())
    }

    fn items(&mut self, items: &[Value], nesting: usize, out: &mut Vec<Value>) -> Result<(), Error> {
        for item in items {
            let item = self.value(item, nesting + 1)?;
            out.push(item);
        }
        Ok(())
    }

    fn text(&mut self, stored: &Value) -> Result<String, Error> {
        let mut parts = Vec::new();
        let mut at = stored.clone();
        let start = loop {
            if parts.len() as u64 > MAX_DEPTH {
                return Err(broken("a chain of extensions is too long"));
            }
            at = match (form_of(&at), &at) {
                (Some((STR, content)), _) => {
                    let rest =
                        content.get(1).and_then(Value::as_str).ok_or_else(|| broken("`$str` has another form"))?;
                    parts.push(rest.to_owned());
                    match content.get(0) {
                        Some(base @ Value::Object(_)) => base.clone(),
                        place => {
                            let (version, pointer) = place_of(place.unwrap_or(&Value::Null))?;
                            let event = self.event(version)?;
                            event.pointer(&pointer).ok_or_else(|| broken("an extension leads nowhere"))?.clone()
                        }
                    }
                }
                (Some((CAT, Value::Array(places))), _) => {
                    let mut text = String::new();
                    for place in places {
                        let (versions, pointer) = group_of(place)?;
                        for version in versions {
                            self.spend(NODE_BYTES)?;
                            let event = self.event(version)?;
                            let piece = event.pointer(&pointer).and_then(Value::as_str);
                            text.push_str(piece.ok_or_else(|| broken("a piece of a text is none"))?);
                            if text.len() > *self.budget {
                                return Err(broken("it expands beyond 64 MiB"));
                            }
                        }
                    }
                    break text;
                }
                (None, Value::String(text)) => break text.clone(),
                _ => return Err(broken("what is extended is no text")),
            };
        };
        let mut text = start;
        for part in parts.iter().rev() {
            text.push_str(part);
        }
        self.spend(text.len())?;
        Ok(text)
    }

    fn object(&mut self, stored: &Value, nesting: usize) -> Result<Map<String, Value>, Error> {
        let mut changes = Vec::new();
        let mut at = stored.clone();
        let mut object = loop {
            if changes.len() as u64 > MAX_DEPTH {
                return Err(broken("a chain of changes is too long"));
            }
            at = match (form_of(&at), &at) {
                (Some((SET, content)), _) => {
                    let (version, pointer) = place_of(content.get(0).unwrap_or(&Value::Null))?;
                    let Some(Value::Object(fields)) = content.get(1) else {
                        return Err(broken("`$set` has another form"));
                    };
                    changes.push(fields.clone());
                    let event = self.event(version)?;
                    event.pointer(&pointer).ok_or_else(|| broken("a change leads nowhere"))?.clone()
                }
                // Fields that are different anyway need not be resolved.
                (None, Value::Object(fields)) => break fields.clone(),
                _ => return Err(broken("what is changed is no object")),
            };
        };
        for fields in changes.into_iter().rev() {
            object.extend(fields);
        }
        self.fields(&object, nesting)
    }

    fn event(&mut self, version: u64) -> Result<Arc<Value>, Error> {
        if let Some(event) = self.store.cache.get(version) {
            return Ok(event);
        }
        let fetched;
        let data = if version == self.own.0 {
            self.own.1
        } else {
            fetched = (self.fetch)(version)?.1;
            fetched.as_slice()
        };
        let event: Value =
            serde_json::from_slice(data).map_err(|error| broken(&format!("event {version}: {error}")))?;
        let event = Arc::new(event);
        self.store.cache.put(version, event.clone(), 2 * data.len());
        Ok(event)
    }
}

/// The versions and the pointer of a piece, or of several at even distances.
fn group_of(content: &Value) -> Result<(impl Iterator<Item = u64>, String), Error> {
    let (pointer, first, count, distance) = match content {
        Value::Array(parts) => {
            let number = |place: usize| parts.get(place).and_then(Value::as_u64);
            let numbers = number(1).zip(number(2)).zip(number(3));
            let pointer = parts.first().and_then(Value::as_str);
            let (pointer, ((first, count), distance)) =
                pointer.zip(numbers).ok_or_else(|| broken("a group has another form"))?;
            (long(pointer), first, count, distance)
        }
        place => {
            let (version, pointer) = place_of(place)?;
            (pointer, version, 1, 0)
        }
    };
    if count > MAX_EXPANSION as u64 {
        return Err(broken("a group is too large"));
    }
    Ok(((0..count).map(move |place| first.saturating_add(place.saturating_mul(distance))), pointer))
}

/// The version and the pointer that a place's text names.
fn place_of(content: &Value) -> Result<(u64, String), Error> {
    let text = content.as_str().ok_or_else(|| broken("a place is no text"))?;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let parts = text.split_at_checked(digits).and_then(|(version, rest)| Some((version.parse().ok()?, long(rest))));
    parts.ok_or_else(|| broken("a place has no version"))
}
