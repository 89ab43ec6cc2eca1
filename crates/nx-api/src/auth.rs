//! Who asks: tokens with roles. A token is 256 random bits; the log keeps its SHA-256 alone.
//!
//! On a loopback address without `--require-token` a request without a token is the local user's, who may do
//! everything. Everywhere else a token is needed.
//!
//! A handler takes the least role as an argument, before path, query and body: what a caller may not do is refused
//! before anything of the request is read.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use nx_journal::{Commit, IndexEntry, IndexRange, NewEvent, Put};
use nx_types::{EventType, Namespace, Subject, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use utoipa::ToSchema;

use crate::{Error, Shared};

/// May do everything.
pub const ADMIN: &str = "admin";
/// May start, cancel and repair runs and send events.
pub const OPERATOR: &str = "operator";
/// May read.
pub const VIEWER: &str = "viewer";
/// May connect as a worker.
pub const WORKER: &str = "worker";

const KIND: &str = "token";
const BY_HASH: &str = "hash";
/// Tokens are about the installation, not about a person: they are sealed under this data subject.
const DATA_SUBJECT: &str = "installation";

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The name, as it stands in the record.
    pub name: String,
    /// What it may do. Roles other than the four built-in ones say which approvals it may decide.
    pub roles: BTreeSet<String>,
}

impl Principal {
    /// The person at a loopback address that wants no token.
    pub fn local() -> Self {
        Self { name: "local".to_owned(), roles: BTreeSet::from([ADMIN.to_owned()]) }
    }

    /// Refuses unless the principal has the role, or is an administrator.
    pub(crate) fn need(&self, role: &str) -> Result<(), Error> {
        let reads = role == VIEWER && self.roles.contains(OPERATOR);
        if reads || self.roles.contains(ADMIN) || self.roles.contains(role) {
            Ok(())
        } else {
            Err(Error::Forbidden { who: self.name.clone(), role: role.to_owned() })
        }
    }

    /// Whether every approval may be decided.
    pub fn is_admin(&self) -> bool {
        self.roles.contains(ADMIN)
    }
}

/// A token as the log keeps it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// The name of the principal.
    pub name: String,
    /// Its roles.
    pub roles: BTreeSet<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
}

fn digest(token: &str) -> Vec<u8> {
    ring::digest::digest(&ring::digest::SHA256, token.as_bytes()).as_ref().to_vec()
}

/// Makes a token and returns its secret, which is kept nowhere.
pub(crate) async fn create(shared: &Shared, name: &str, roles: BTreeSet<String>, by: &str) -> Result<String, Error> {
    let mut secret = [0; 32];
    shared.env.rng().fill(&mut secret);
    let text = format!("nx_{}", URL_SAFE_NO_PAD.encode(secret));
    let token = Token { name: name.to_owned(), roles, created: shared.env.now() };
    let bytes = serde_json::to_vec(&token).map_err(|error| Error::Request(error.to_string()))?;
    let namespace = Namespace::default();
    let data = serde_json::json!({"name": token.name, "roles": token.roles, "by": by});
    let event = NewEvent {
        data_subject: Some(DATA_SUBJECT.to_owned()),
        ..NewEvent::new(namespace.clone(), kind("token.created")?, subject(name)?, data.to_string().into_bytes())
    };
    let put = Put {
        namespace,
        kind: KIND.to_owned(),
        key: name.to_owned(),
        data_subject: DATA_SUBJECT.to_owned(),
        bytes,
        index: vec![IndexEntry { name: BY_HASH.to_owned(), value: digest(&text) }],
    };
    shared.journal.commit(Commit { puts: vec![put], ..Commit::of([event]) }).await?;
    // A token of this name that was there before is no longer known.
    drop(shared.revocations.send(Arc::from(name)));
    Ok(text)
}

/// Revokes a token by its name. True if there was one.
pub(crate) async fn revoke(shared: &Shared, name: &str, by: &str) -> Result<bool, Error> {
    let namespace = Namespace::default();
    let (reader, row_namespace, key) = (shared.journal.reader(), namespace.clone(), name.to_owned());
    if shared.blocking(move || Ok(reader.state(&row_namespace, KIND, &key)?)).await?.is_none() {
        return Ok(false);
    }
    let data = serde_json::json!({"name": name, "by": by});
    let event = NewEvent {
        data_subject: Some(DATA_SUBJECT.to_owned()),
        ..NewEvent::new(namespace.clone(), kind("token.revoked")?, subject(name)?, data.to_string().into_bytes())
    };
    let delete = nx_journal::Delete { namespace, kind: KIND.to_owned(), key: name.to_owned() };
    shared.journal.commit(Commit { deletes: vec![delete], ..Commit::of([event]) }).await?;
    drop(shared.revocations.send(Arc::from(name)));
    Ok(true)
}

/// The tokens, without secrets.
pub(crate) async fn list(shared: &Shared) -> Result<Vec<Token>, Error> {
    let reader = shared.journal.reader();
    let rows = shared.blocking(move || Ok(reader.state_scan(&Namespace::default(), KIND, None, 1000)?)).await?;
    Ok(rows.iter().filter_map(|row| serde_json::from_slice(&row.bytes).ok()).collect())
}

fn kind(text: &str) -> Result<EventType, Error> {
    EventType::new(text).map_err(|error| Error::Request(error.to_string()))
}

fn subject(name: &str) -> Result<Subject, Error> {
    let hash = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
    let short: [u8; 8] = hash.as_ref().first_chunk().copied().unwrap_or_default();
    Subject::new(&format!("token/{:016x}", u64::from_be_bytes(short)))
        .map_err(|error| Error::Request(error.to_string()))
}

async fn authenticate(shared: &Shared, parts: &Parts) -> Result<Principal, Error> {
    let Some(value) = parts.headers.get(header::AUTHORIZATION) else {
        return if shared.require_token { Err(Error::Unauthenticated) } else { Ok(Principal::local()) };
    };
    let text = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer ")).ok_or(Error::Unauthenticated)?;
    if text.len() > 256 {
        return Err(Error::Unauthenticated);
    }
    // The lookup is by SHA-256 of a 256-bit secret: its timing tells nothing that helps to guess one.
    let (hash, reader) = (digest(text), shared.journal.reader());
    let rows = shared
        .blocking(move || {
            Ok(reader.index(&Namespace::default(), KIND, BY_HASH, &IndexRange::Eq(hash), None, 1, false)?)
        })
        .await?;
    let row = rows.into_iter().next().map(|(_, row)| row).ok_or(Error::Unauthenticated)?;
    let token: Token = serde_json::from_slice(&row.bytes).map_err(|_err| Error::Unauthenticated)?;
    Ok(Principal { name: token.name, roles: token.roles })
}

impl FromRequestParts<Shared> for Principal {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Error> {
        authenticate(shared, parts).await
    }
}

macro_rules! roles {
    ($($(#[$doc:meta])* $name:ident: $role:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name(pub(crate) Principal);

        impl FromRequestParts<Shared> for $name {
            type Rejection = Error;

            async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Error> {
                let principal = authenticate(shared, parts).await?;
                principal.need($role)?;
                Ok(Self(principal))
            }
        }
    )*};
}

roles! {
    /// Someone who may read.
    Viewer: VIEWER;
    /// Someone who may start, cancel and repair runs and send events.
    Operator: OPERATOR;
    /// Someone who may do everything.
    Admin: ADMIN;
    /// A worker.
    Worker: WORKER;
}

/// Revocations from now on: what lasts longer than a request ends with the token that it was opened with. A handler
/// takes it before the role, so that no revocation falls between the two.
#[derive(Debug)]
pub(crate) struct Revocations(broadcast::Receiver<Arc<str>>);

impl Revocations {
    /// Ends when this principal's token is revoked or replaced, or when so many were that this one may be among them.
    pub(crate) async fn of(mut self, principal: Principal) {
        while let Ok(revoked) = self.0.recv().await {
            if *revoked == *principal.name {
                return;
            }
        }
    }
}

impl FromRequestParts<Shared> for Revocations {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(_parts: &mut Parts, shared: &Shared) -> Result<Self, Self::Rejection> {
        Ok(Self(shared.revocations.subscribe()))
    }
}
