//! What the payment service keeps: every request, every booking. The counts here are the judge of whether an effect
//! was repeated.

use std::path::Path;

use nx_types::Env;
use rusqlite::{OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use crate::{Error, database::Database};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS requests (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL, reference TEXT NOT NULL, fault TEXT, at_us INTEGER NOT NULL);
    CREATE INDEX IF NOT EXISTS requests_by_reference ON requests (reference);
    CREATE TABLE IF NOT EXISTS refunds (
        key TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL, reference TEXT NOT NULL,
        cents INTEGER NOT NULL, iban TEXT NOT NULL, state TEXT NOT NULL, at_us INTEGER NOT NULL) WITHOUT ROWID;
";

/// A request to refund.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefundRequest {
    /// The order that it is for.
    pub order: String,
    /// The amount in cents of a euro.
    pub cents: i64,
    /// The account that gets it.
    pub iban: String,
}

/// A booking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// The service's name for it.
    pub id: String,
    /// The idempotency key it was booked under.
    pub key: String,
    /// The order.
    pub order: String,
    /// The amount in cents of a euro.
    pub cents: i64,
    /// The account.
    pub iban: String,
    /// Whether it still stands.
    pub state: State,
}

/// Whether a booking stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The money goes to the account.
    Booked,
    /// It was taken back.
    Cancelled,
}

/// Counts since the file was created.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Requests to refund, whatever came of them.
    pub requests: u64,
    /// Different idempotency keys among them.
    pub distinct_keys: u64,
    /// Requests that met a fault.
    pub faults: u64,
    /// Refunds booked, those taken back included.
    pub refunds: u64,
    /// Orders that have a refund which stands.
    pub orders: u64,
    /// Refunds taken back.
    pub cancelled: u64,
    /// Cents booked and not taken back.
    pub booked_cents: i64,
}

/// What booking came to.
pub(super) enum Booking {
    New(Refund),
    Replayed(Refund),
    /// The key was used for another body.
    Conflict,
}

/// The service's database.
#[derive(Debug, Clone)]
pub(super) struct Store {
    database: Database,
    env: Env,
}

impl Store {
    pub(super) fn open(file: &Path, env: Env) -> Result<Self, Error> {
        Ok(Self { database: Database::open(file, SCHEMA)?, env })
    }

    /// Records that a request came, and with which attempt for its order it is, from 1.
    pub(super) async fn arrived(&self, key: &str, reference: &str) -> Result<(i64, u64), Error> {
        let (key, reference, now) = (key.to_owned(), reference.to_owned(), self.env.now().as_micros());
        self.database
            .with(move |db| {
                let tx = db.transaction()?;
                tx.prepare_cached("INSERT INTO requests (key, reference, at_us) VALUES (?1, ?2, ?3)")?
                    .execute(params![key, reference, now])?;
                let id = tx.last_insert_rowid();
                let attempt = tx
                    .prepare_cached("SELECT count(*) FROM requests WHERE reference = ?1")?
                    .query_row([&reference], |row| row.get::<_, i64>(0))?;
                tx.commit()?;
                Ok((id, attempt.unsigned_abs()))
            })
            .await
    }

    /// Notes the fault that a request met.
    pub(super) async fn faulted(&self, request: i64, fault: &'static str) -> Result<(), Error> {
        self.database
            .with(move |db| db.execute("UPDATE requests SET fault = ?2 WHERE id = ?1", params![request, fault]))
            .await
            .map(|_rows| ())
    }

    /// Books, unless the key was used. One transaction: there is no moment at which a booking is half done.
    pub(super) async fn book(&self, key: &str, request: RefundRequest) -> Result<Booking, Error> {
        let (key, now) = (key.to_owned(), self.env.now().as_micros());
        let mut bytes = [0; 8];
        self.env.rng().fill(&mut bytes);
        let id = format!("rf_{:016x}", u64::from_be_bytes(bytes));
        self.database
            .with(move |db| {
                let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
                let body = format!("{}|{}|{}", request.order, request.cents, request.iban);
                if let Some(refund) = find(&tx, &key)? {
                    let first: String =
                        tx.query_row("SELECT body FROM refunds WHERE key = ?1", [&key], |row| row.get(0))?;
                    return Ok(if first == body { Booking::Replayed(refund) } else { Booking::Conflict });
                }
                tx.execute(
                    "INSERT INTO refunds (key, id, body, reference, cents, iban, state, at_us)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'booked', ?7)",
                    params![key, id, body, request.order, request.cents, request.iban, now],
                )?;
                tx.commit()?;
                let RefundRequest { order, cents, iban } = request;
                Ok(Booking::New(Refund { id, key, order, cents, iban, state: State::Booked }))
            })
            .await
    }

    /// The booking under a key.
    pub(super) async fn refund(&self, key: &str) -> Result<Option<Refund>, Error> {
        let key = key.to_owned();
        self.database.with(move |db| find(db, &key)).await
    }

    /// Takes a booking back.
    pub(super) async fn cancel(&self, key: &str) -> Result<Option<Refund>, Error> {
        let key = key.to_owned();
        self.database
            .with(move |db| {
                db.execute("UPDATE refunds SET state = 'cancelled' WHERE key = ?1", [&key])?;
                find(db, &key)
            })
            .await
    }

    pub(super) async fn stats(&self) -> Result<Stats, Error> {
        self.database
            .with(|db| {
                db.query_row(
                    "SELECT (SELECT count(*) FROM requests), (SELECT count(DISTINCT key) FROM requests),
                        (SELECT count(fault) FROM requests), (SELECT count(*) FROM refunds),
                        (SELECT count(DISTINCT reference) FROM refunds WHERE state = 'booked'),
                        (SELECT count(*) FROM refunds WHERE state = 'cancelled'),
                        (SELECT coalesce(sum(cents), 0) FROM refunds WHERE state = 'booked')",
                    [],
                    |row| {
                        let count = |n| row.get::<_, i64>(n).map(i64::unsigned_abs);
                        Ok(Stats {
                            requests: count(0)?,
                            distinct_keys: count(1)?,
                            faults: count(2)?,
                            refunds: count(3)?,
                            orders: count(4)?,
                            cancelled: count(5)?,
                            booked_cents: row.get(6)?,
                        })
                    },
                )
            })
            .await
    }
}

fn find(db: &rusqlite::Connection, key: &str) -> rusqlite::Result<Option<Refund>> {
    db.prepare_cached("SELECT id, key, reference, cents, iban, state FROM refunds WHERE key = ?1")?
        .query_row([key], |row| {
            let state: String = row.get(5)?;
            Ok(Refund {
                id: row.get(0)?,
                key: row.get(1)?,
                order: row.get(2)?,
                cents: row.get(3)?,
                iban: row.get(4)?,
                state: if state == "booked" { State::Booked } else { State::Cancelled },
            })
        })
        .optional()
}
