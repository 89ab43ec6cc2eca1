//! The shop: a `SQLite` database of customers, items, orders and parcels. The rows are made up from a seed, the database
//! and its transactions are real.

mod goods;

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use crate::{Error, database::Database};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS customers (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL, iban TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS items (
        sku TEXT PRIMARY KEY, name TEXT NOT NULL, cents INTEGER NOT NULL, stock INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS orders (
        id TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, customer INTEGER NOT NULL REFERENCES customers,
        cents INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS lines (
        order_id TEXT NOT NULL REFERENCES orders, sku TEXT NOT NULL REFERENCES items, quantity INTEGER NOT NULL,
        PRIMARY KEY (order_id, sku)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS parcels (
        id TEXT PRIMARY KEY, order_id TEXT NOT NULL REFERENCES orders, belt TEXT, slack_min INTEGER NOT NULL,
        state TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS restocks (
        key TEXT PRIMARY KEY, order_id TEXT NOT NULL REFERENCES orders, undone INTEGER NOT NULL DEFAULT 0)
        WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS closings (
        order_id TEXT PRIMARY KEY REFERENCES orders, key TEXT NOT NULL UNIQUE) WITHOUT ROWID;
";

/// Orders that may still be refunded: their goods have not come back, and nobody has closed them.
const OPEN: &str = "NOT EXISTS (SELECT 1 FROM closings WHERE order_id = p.order_id)";

/// The shop's database; cheap to clone.
#[derive(Debug, Clone)]
pub struct Shop {
    database: Database,
}

/// An order with all that a refund needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The order's number: `A17`.
    pub id: String,
    /// Its parcel: `P88`.
    pub parcel: String,
    /// What was paid, in cents of a euro.
    pub cents: i64,
    /// The customer's name.
    pub customer: String,
    /// The customer's address for mail.
    pub email: String,
    /// The account on file.
    pub iban: String,
    /// What was ordered.
    pub lines: Vec<Line>,
}

/// A line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The item.
    pub sku: String,
    /// Its name.
    pub name: String,
    /// How many.
    pub quantity: i64,
}

/// A parcel that will miss its departure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateParcel {
    /// The parcel: `P88`.
    pub parcel: String,
    /// Its order: `A17`.
    pub order: String,
    /// Minutes by which it could have waited.
    pub slack_min: i64,
}

/// Goods of an order put back on the shelf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restocked {
    /// The order.
    pub order: String,
    /// The key under which it was done.
    pub key: String,
    /// How many pieces.
    pub pieces: i64,
}

/// An order that is closed: what there was to refund of it is being refunded, and it is not refunded again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// The order.
    pub order: String,
    /// The key under which it was closed.
    pub key: String,
}

/// What closing an order came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closing {
    /// It is closed under this key, now or by an earlier call.
    Done(Closed),
    /// Somebody else has closed it.
    Taken,
    /// There is no such order.
    Unknown,
}

impl Shop {
    /// Opens the database; a new one is filled with 200 orders made up from `seed`.
    pub async fn open(file: &Path, seed: u64) -> Result<Self, Error> {
        let database = Database::open(file, SCHEMA)?;
        database.with(move |db| goods::fill(db, seed)).await?;
        Ok(Self { database })
    }

    /// The order with this number.
    pub async fn order(&self, id: &str) -> Result<Option<Order>, Error> {
        let id = id.to_owned();
        self.database.with(move |db| order(db, &id)).await
    }

    /// The order that a parcel belongs to.
    pub async fn order_of(&self, parcel: &str) -> Result<Option<Order>, Error> {
        let parcel = parcel.to_owned();
        self.database
            .with(move |db| {
                let id: Option<String> = db
                    .query_row("SELECT order_id FROM parcels WHERE id = ?1", [&parcel], |row| row.get(0))
                    .optional()?;
                id.map_or(Ok(None), |id| order(db, &id))
            })
            .await
    }

    /// The parcels on `belt` that miss their departure if it stands for `outage_min` minutes; the most urgent first.
    pub async fn late_parcels(&self, belt: &str, outage_min: i64) -> Result<Vec<LateParcel>, Error> {
        let belt = belt.to_owned();
        self.database
            .with(move |db| {
                db.prepare_cached(&format!(
                    "SELECT id, order_id, slack_min FROM parcels p
                     WHERE belt = ?1 AND state = 'on_belt' AND slack_min < ?2 AND {OPEN}
                     ORDER BY slack_min, id LIMIT 100",
                ))?
                .query_map(params![belt, outage_min], |row| {
                    Ok(LateParcel { parcel: row.get(0)?, order: row.get(1)?, slack_min: row.get(2)? })
                })?
                .collect()
            })
            .await
    }

    /// Orders that are not refunded, by number: their goods have not come back, and nobody has closed them.
    pub async fn open_orders(&self) -> Result<Vec<String>, Error> {
        self.database
            .with(|db| {
                db.prepare_cached(&format!(
                    "SELECT o.id FROM orders o JOIN parcels p ON p.order_id = o.id
                     WHERE p.state != 'returned' AND {OPEN} ORDER BY o.number LIMIT 1000",
                ))?
                .query_map([], |row| row.get(0))?
                .collect()
            })
            .await
    }

    /// Closes an order, once per key: two complaints about one order are not two refunds.
    pub async fn close(&self, id: &str, key: &str) -> Result<Closing, Error> {
        let (id, key) = (id.to_owned(), key.to_owned());
        self.database
            .with(move |db| {
                let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
                let closing = "INSERT OR IGNORE INTO closings (order_id, key) SELECT id, ?2 FROM orders WHERE id = ?1";
                tx.execute(closing, [&id, &key])?;
                let by: Option<String> =
                    tx.query_row("SELECT key FROM closings WHERE order_id = ?1", [&id], |row| row.get(0)).optional()?;
                tx.commit()?;
                Ok(match by {
                    Some(by) if by == key => Closing::Done(Closed { order: id, key }),
                    Some(_other) => Closing::Taken,
                    None => Closing::Unknown,
                })
            })
            .await
    }

    /// Opens an order that was closed under a key. Says whether there was one.
    pub async fn reopen(&self, key: &str) -> Result<bool, Error> {
        let key = key.to_owned();
        self.database.with(move |db| Ok(db.execute("DELETE FROM closings WHERE key = ?1", [&key])? > 0)).await
    }

    /// Puts the goods of an order back on the shelf, once per key.
    pub async fn restock(&self, id: &str, key: &str) -> Result<Option<Restocked>, Error> {
        let (id, key) = (id.to_owned(), key.to_owned());
        self.database
            .with(move |db| {
                let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
                let known: Option<i64> =
                    tx.query_row("SELECT sum(quantity) FROM lines WHERE order_id = ?1", [&id], |row| row.get(0))?;
                let Some(pieces) = known else { return Ok(None) };
                let new = tx.execute("INSERT OR IGNORE INTO restocks (key, order_id) VALUES (?1, ?2)", [&key, &id])?;
                if new > 0 {
                    shelve(&tx, &id, 1)?;
                    tx.execute("UPDATE parcels SET state = 'returned' WHERE order_id = ?1", [&id])?;
                }
                tx.commit()?;
                Ok(Some(Restocked { order: id, key, pieces }))
            })
            .await
    }

    /// Takes back what [`Shop::restock`] did under a key. Says whether there was anything to take back.
    pub async fn unstock(&self, key: &str) -> Result<bool, Error> {
        let key = key.to_owned();
        self.database
            .with(move |db| {
                let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
                let order: Option<String> = tx
                    .query_row("SELECT order_id FROM restocks WHERE key = ?1 AND undone = 0", [&key], |row| row.get(0))
                    .optional()?;
                let Some(order) = order else { return Ok(false) };
                tx.execute("UPDATE restocks SET undone = 1 WHERE key = ?1", [&key])?;
                shelve(&tx, &order, -1)?;
                tx.execute("UPDATE parcels SET state = 'on_belt' WHERE order_id = ?1", [&order])?;
                tx.commit()?;
                Ok(true)
            })
            .await
    }

    /// How many pieces of an item are on the shelf.
    pub async fn stock(&self, sku: &str) -> Result<Option<i64>, Error> {
        let sku = sku.to_owned();
        self.database
            .with(move |db| db.query_row("SELECT stock FROM items WHERE sku = ?1", [&sku], |row| row.get(0)).optional())
            .await
    }

    /// How many orders there are, and how often goods were put back for good.
    pub async fn counts(&self) -> Result<(i64, i64), Error> {
        self.database
            .with(|db| {
                db.query_row(
                    "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM restocks WHERE undone = 0)",
                    [],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
            })
            .await
    }
}

fn shelve(db: &Connection, order: &str, sign: i64) -> rusqlite::Result<usize> {
    db.execute(
        "UPDATE items SET stock = stock + ?2 * (SELECT quantity FROM lines WHERE order_id = ?1 AND sku = items.sku)
         WHERE sku IN (SELECT sku FROM lines WHERE order_id = ?1)",
        params![order, sign],
    )
}

fn order(db: &Connection, id: &str) -> rusqlite::Result<Option<Order>> {
    let head = db
        .prepare_cached(
            "SELECT o.id, p.id, o.cents, c.name, c.email, c.iban FROM orders o
             JOIN customers c ON c.id = o.customer JOIN parcels p ON p.order_id = o.id WHERE o.id = ?1",
        )?
        .query_row([id], |row| {
            Ok(Order {
                id: row.get(0)?,
                parcel: row.get(1)?,
                cents: row.get(2)?,
                customer: row.get(3)?,
                email: row.get(4)?,
                iban: row.get(5)?,
                lines: Vec::new(),
            })
        })
        .optional()?;
    let Some(mut order) = head else { return Ok(None) };
    order.lines = db
        .prepare_cached(
            "SELECT i.sku, i.name, l.quantity FROM lines l JOIN items i ON i.sku = l.sku
             WHERE l.order_id = ?1 ORDER BY i.sku",
        )?
        .query_map([id], |row| Ok(Line { sku: row.get(0)?, name: row.get(1)?, quantity: row.get(2)? }))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(order))
}
