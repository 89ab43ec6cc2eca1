//! Changing resources: apply, delete, status. Each change is one commit, checked against what it was made from.

use nx_journal::{Commit, Delete, NewEvent, Precondition, Put, Reader};
use nx_types::{FieldError, Namespace, Resource};
use serde::Serialize;
use serde_json::{Value, json};

use super::{ATTEMPTS, NAMESPACE, RESOURCE, SECRET, STATUS, Store, event_type, row, row_key, subject, to_bytes};
use crate::{
    Error,
    diff::{Diff, comparable},
    hash,
    sealed::Sealed,
};

/// Specs up to this size stand in the event that records them.
const MAX_SPEC_IN_EVENT: usize = 10 << 10;
/// Most manifests of one request: they are applied in one commit.
const MAX_MANIFESTS: usize = 256;

/// How manifests are applied.
#[derive(Debug, Clone, Default)]
pub struct ApplyOptions {
    /// Check and compare, and change nothing.
    pub dry_run: bool,
    /// Who asks for it, for the record.
    pub by: String,
}

/// What became of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There was none of that name.
    Created,
    /// It differed.
    Updated,
    /// It was the same; nothing was recorded.
    Unchanged,
}

/// An applied manifest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Applied {
    /// What became of it.
    pub outcome: Outcome,
    /// The resource as it is now (or would be, in a dry run), secret values left out.
    pub resource: Resource,
    /// What changed.
    pub diff: Diff,
}

/// A deleted resource.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Deleted {
    /// The resource as it was.
    pub resource: Resource,
}

/// One manifest, compared with what is stored.
struct Planned {
    applied: Applied,
    /// The row's version that was compared with.
    version: u64,
    sealed: Option<(Sealed, u64)>,
}

impl Store {
    /// Applies manifests in one commit: all of them, or none.
    pub(crate) async fn apply(
        &self,
        namespace: &Namespace,
        manifests: &[Value],
        options: &ApplyOptions,
    ) -> Result<Vec<Applied>, Error> {
        if manifests.len() > MAX_MANIFESTS {
            let what = "the number of manifests".to_owned();
            return Err(Error::TooLarge { what, size: manifests.len(), max: MAX_MANIFESTS });
        }
        let resources = self.check_all(namespace, manifests)?;
        for attempt in 1.. {
            let (store, copies) = (self.clone(), resources.clone());
            let target = namespace.clone();
            let (mut planned, known) = self
                .read(move |reader| {
                    let known = reader.state(&Namespace::default(), NAMESPACE, target.as_str())?.is_some();
                    Ok((store.plan_all(reader, &copies)?, known))
                })
                .await?;
            let changing = planned.iter().any(|plan| plan.applied.outcome != Outcome::Unchanged);
            if changing && !options.dry_run {
                let mut commit = commit(namespace, &planned, &options.by)?;
                commit.puts.extend((!known).then(|| namespace_row(namespace)));
                match self.journal().commit(commit).await {
                    Ok(receipt) => {
                        for plan in planned.iter_mut().filter(|plan| plan.applied.outcome != Outcome::Unchanged) {
                            plan.applied.resource.metadata.resource_version = Some(receipt.last.0);
                        }
                    }
                    Err(nx_journal::Error::StateConflict { .. }) if attempt < ATTEMPTS => continue,
                    Err(err) => return Err(err.into()),
                }
            }
            return Ok(planned.into_iter().map(|plan| plan.applied).collect());
        }
        Err(Error::Stopped)
    }

    /// Every mistake of every manifest at once. With several, pointers start with the manifest's place.
    fn check_all(&self, namespace: &Namespace, manifests: &[Value]) -> Result<Vec<Resource>, Error> {
        let checked: Vec<Result<Resource, Error>> =
            manifests.iter().map(|manifest| self.registry().check(manifest, namespace)).collect();
        let mut resources = Vec::new();
        let mut errors = Vec::new();
        for (place, result) in checked.into_iter().enumerate() {
            match result {
                Err(err) if manifests.len() == 1 => return Err(err),
                Err(Error::Invalid { resource, errors: found }) => errors.extend(found.into_iter().map(|err| {
                    FieldError::new(format!("/{place}{}", err.pointer), format!("{resource}: {}", err.message))
                })),
                Err(err) => errors.push(FieldError::new(format!("/{place}/kind"), err.to_string())),
                Ok(resource) => {
                    let same = |other: &&Resource| {
                        other.kind == resource.kind && other.metadata.name == resource.metadata.name
                    };
                    if resources.iter().any(|other| same(&other)) {
                        let message = format!("{} `{}` stands there twice", resource.kind, resource.metadata.name);
                        errors.push(FieldError::new(format!("/{place}/metadata/name"), message));
                    }
                    resources.push(resource);
                }
            }
        }
        if errors.is_empty() {
            return Ok(resources);
        }
        Err(Error::Invalid { resource: format!("one of {} manifests", manifests.len()), errors })
    }

    fn plan_all(&self, reader: &Reader, resources: &[Resource]) -> Result<Vec<Planned>, Error> {
        resources.iter().map(|resource| self.plan(reader, resource.clone())).collect()
    }

    fn plan(&self, reader: &Reader, mut resource: Resource) -> Result<Planned, Error> {
        let (namespace, name) = (resource.metadata.namespace.clone(), resource.metadata.name.clone());
        let descriptor = self.registry().kind(&resource.kind)?;
        let kind = descriptor.kind;
        let stored = row::find(reader, &namespace, kind, &name)?;
        if let Some(expected) = resource.metadata.resource_version {
            let actual = stored.as_ref().map_or(0, |stored| stored.seq);
            if expected != actual {
                return Err(Error::Conflict { resource: row_key(kind, &name), expected, actual });
            }
        }
        let (old_sealed, sealed_version) = row::sealed(reader, &namespace, kind, &name)?;
        let rng = self.journal().env().rng();
        let sealed = Sealed::take(&mut resource.spec, descriptor.secret, &old_sealed, rng)
            .map_err(|errors| Error::Invalid { resource: format!("{kind} `{name}`"), errors })?;
        let before = stored.as_ref().map(|stored| {
            comparable(kind, &stored.resource(&namespace, kind, &name, Value::Null).metadata, &stored.row.spec)
        });
        let mut shown = resource.spec.clone();
        if stored.is_some() {
            sealed.mark_changes(&mut shown, &old_sealed);
        }
        let after = comparable(kind, &resource.metadata, &shown);
        let diff = Diff::between(&row_key(kind, &name), before.as_ref(), Some(&after));
        let spec_changed = stored.as_ref().is_none_or(|stored| stored.row.spec != shown);
        let outcome = match &stored {
            None => Outcome::Created,
            Some(_) if diff.is_empty() => Outcome::Unchanged,
            Some(_) => Outcome::Updated,
        };
        let generation = stored.as_ref().map_or(0, |stored| stored.row.generation) + u64::from(spec_changed);
        resource.metadata.generation = Some(generation);
        resource.metadata.created =
            Some(stored.as_ref().map_or_else(|| self.journal().env().now(), |stored| stored.row.created));
        resource.metadata.resource_version = stored.as_ref().map(|stored| stored.seq);
        if stored.is_some() {
            resource.status = row::status(reader, &namespace, &row_key(kind, &name))?;
        }
        let sealed = (sealed != old_sealed && !(sealed.values.is_empty() && sealed_version == 0))
            .then_some((sealed, sealed_version));
        let version = stored.map_or(0, |stored| stored.version);
        Ok(Planned { applied: Applied { outcome, resource, diff }, version, sealed })
    }

    /// Deletes a resource. Its secret values are erased first: neither they nor their key remain on the disk.
    pub(crate) async fn delete(
        &self,
        namespace: &Namespace,
        kind: &str,
        name: &str,
        resource_version: Option<u64>,
        options: &ApplyOptions,
    ) -> Result<Deleted, Error> {
        let kind = self.registry().kind(kind)?.kind;
        let resource = self.get(namespace, kind, name).await?;
        let actual = resource.metadata.resource_version.unwrap_or_default();
        if let Some(expected) = resource_version.filter(|expected| *expected != actual) {
            return Err(Error::Conflict { resource: row_key(kind, name), expected, actual });
        }
        if options.dry_run {
            return Ok(Deleted { resource });
        }
        let key = row_key(kind, name);
        let (found, sealed_version) = {
            let (namespace, name) = (namespace.clone(), name.to_owned());
            self.read(move |reader| {
                Ok((row::find(reader, &namespace, kind, &name)?, row::sealed(reader, &namespace, kind, &name)?.1))
            })
            .await?
        };
        if sealed_version > 0 {
            let reason = format!("{kind} `{name}` was deleted");
            let erased =
                self.journal().erase(namespace.clone(), secret_subject(&key), reason, options.by.clone()).await;
            match erased {
                Ok(_) | Err(nx_journal::Error::DataSubjectUnknown { .. }) => {}
                Err(err) => return Err(err.into()),
            }
        }
        let data = json!({ "kind": kind, "name": name, "by": options.by });
        let mut commit = Commit::of([event(namespace, "resource.deleted", kind, name, &data)?]);
        let version = found.map_or(0, |stored| stored.version);
        commit.preconditions.push(state_at(namespace, RESOURCE, &key, version));
        for row_kind in [RESOURCE, STATUS, SECRET] {
            let (namespace, kind, key) = (namespace.clone(), row_kind.to_owned(), key.clone());
            commit.deletes.push(Delete { namespace, kind, key });
        }
        match self.journal().commit(commit).await {
            Ok(_) => Ok(Deleted { resource }),
            Err(nx_journal::Error::StateConflict { .. }) => Err(Error::Conflict {
                resource: key,
                expected: actual,
                actual: self.current(namespace, kind, name).await?,
            }),
            Err(err) => Err(err.into()),
        }
    }

    async fn current(&self, namespace: &Namespace, kind: &'static str, name: &str) -> Result<u64, Error> {
        let (namespace, name) = (namespace.clone(), name.to_owned());
        self.read(move |reader| Ok(row::find(reader, &namespace, kind, &name)?.map_or(0, |stored| stored.seq))).await
    }

    /// Stores what a controller reports. The same status again records nothing.
    pub(crate) async fn set_status(
        &self,
        namespace: &Namespace,
        kind: &str,
        name: &str,
        status: Value,
    ) -> Result<(), Error> {
        let kind = self.registry().kind(kind)?.kind;
        let current = self.get(namespace, kind, name).await?;
        if current.status == status {
            return Ok(());
        }
        let data = json!({ "kind": kind, "name": name, "status": status });
        let mut commit = Commit::of([event(namespace, "resource.status", kind, name, &data)?]);
        commit.puts.push(put(namespace, STATUS, kind, name, &status)?);
        self.journal().commit(commit).await?;
        Ok(())
    }
}

/// Secret values have a key of their own, so that they can be erased alone.
fn secret_subject(key: &str) -> String {
    format!("secret/{key}")
}

fn commit(namespace: &Namespace, planned: &[Planned], by: &str) -> Result<Commit, Error> {
    let mut commit = Commit::default();
    for plan in planned {
        let Applied { outcome, resource, .. } = &plan.applied;
        let (kind, name) = (resource.kind.as_str(), resource.metadata.name.as_str());
        let key = row_key(kind, name);
        commit.preconditions.push(state_at(namespace, RESOURCE, &key, plan.version));
        if *outcome == Outcome::Unchanged {
            continue;
        }
        commit.events.push(applied_event(plan, by)?);
        let row = row::ResourceRow {
            annotations: resource.metadata.annotations.clone(),
            generation: resource.metadata.generation.unwrap_or(1),
            created: resource.metadata.created.unwrap_or_default(),
            spec: resource.spec.clone(),
        };
        commit.puts.push(put(namespace, RESOURCE, kind, name, &json!(row))?);
        if *outcome == Outcome::Created {
            // A status that was written while the former resource of that name went away.
            commit.deletes.push(Delete { namespace: namespace.clone(), kind: STATUS.to_owned(), key: key.clone() });
        }
        if let Some((sealed, version)) = &plan.sealed {
            commit.preconditions.push(state_at(namespace, SECRET, &key, *version));
            let mut row = put(namespace, SECRET, kind, name, &json!(sealed))?;
            row.data_subject = secret_subject(&key);
            commit.puts.push(row);
        }
    }
    Ok(commit)
}

/// Lets controllers find the namespaces that hold resources.
fn namespace_row(namespace: &Namespace) -> Put {
    Put {
        namespace: Namespace::default(),
        kind: NAMESPACE.to_owned(),
        key: namespace.to_string(),
        data_subject: "namespaces".to_owned(),
        bytes: b"{}".to_vec(),
        index: Vec::new(),
    }
}

fn applied_event(plan: &Planned, by: &str) -> Result<NewEvent, Error> {
    let Applied { outcome, resource, .. } = &plan.applied;
    let spec = resource.spec.to_string();
    let mut data = json!({
        "kind": resource.kind,
        "name": resource.metadata.name,
        "outcome": outcome,
        "generation": resource.metadata.generation,
        "digest": hash::sha256(spec.as_bytes(), 32),
        "by": by,
    });
    if spec.len() <= MAX_SPEC_IN_EVENT {
        data["spec"] = resource.spec.clone();
    }
    if let Some((sealed, _)) = &plan.sealed {
        data["sealed"] = json!(sealed.digests());
    }
    event(&resource.metadata.namespace, "resource.applied", &resource.kind, &resource.metadata.name, &data)
}

fn event(namespace: &Namespace, event: &'static str, kind: &str, name: &str, data: &Value) -> Result<NewEvent, Error> {
    Ok(NewEvent::new(namespace.clone(), event_type(event)?, subject(kind, name)?, to_bytes(data)))
}

fn put(namespace: &Namespace, row: &str, kind: &str, name: &str, value: &Value) -> Result<Put, Error> {
    Ok(Put {
        namespace: namespace.clone(),
        kind: row.to_owned(),
        key: row_key(kind, name),
        data_subject: subject(kind, name)?.to_string(),
        bytes: to_bytes(value),
        index: Vec::new(),
    })
}

fn state_at(namespace: &Namespace, kind: &str, key: &str, version: u64) -> Precondition {
    Precondition::StateAt { namespace: namespace.clone(), kind: kind.to_owned(), key: key.to_owned(), version }
}
