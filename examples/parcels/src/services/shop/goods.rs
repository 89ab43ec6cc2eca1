//! Plausible rows for the shop, the same for the same seed. Names and accounts are invented; the addresses are of the
//! domain that RFC 2606 keeps free for examples.

use nx_types::{Rng as _, env::SeededRng};
use rusqlite::{Connection, params};

use crate::services::iban;

/// Orders in a new shop.
const ORDERS: i64 = 200;
/// Parcel numbers run ahead of order numbers by this: order `A17` travels in parcel `P88`.
const PARCEL_OFFSET: i64 = 71;
/// The order of the story: a grinder at €84, more than the limit of an unattended refund.
const STORY: i64 = 17;
/// Orders whose parcels are about to miss their departure, with the minutes they can wait.
const URGENT: [(i64, i64); 5] = [(12, 6), (STORY, 9), (31, 14), (58, 22), (103, 27)];

const ITEM_COUNT: u32 = 12;
const ITEMS: [(&str, &str, i64); ITEM_COUNT as usize] = [
    ("BK-102", "field guide to owls", 1890),
    ("BK-117", "sourdough, a handbook", 2450),
    ("GA-004", "watering can, 5 l", 1595),
    ("GA-021", "seed box, herbs", 990),
    ("HO-310", "enamel mug", 1250),
    ("HO-322", "wool blanket", 6900),
    ("KI-041", "coffee grinder", 8400),
    ("KI-055", "cast-iron pan", 5490),
    ("KI-078", "paring knife", 2190),
    ("TO-009", "wooden train set", 4350),
    ("TO-013", "kite", 1790),
    ("TO-030", "puzzle, 1000 pieces", 1690),
];
/// Items so cheap that two pieces stay under the limit of an unattended refund.
const CHEAP: [usize; 7] = [0, 1, 2, 3, 4, 8, 10];
const STORY_ITEM: usize = 6;

const FIRST: [&str; 16] = [
    "Ada", "Bruno", "Clara", "Deniz", "Emil", "Fatma", "Greta", "Hugo", "Ines", "Jonas", "Kaya", "Lena", "Mirko",
    "Nora", "Oskar", "Paula",
];
const LAST: [&str; 16] = [
    "Albrecht", "Bauer", "Costa", "Demir", "Engel", "Fischer", "Graf", "Huber", "Ivanova", "Jansen", "Keller",
    "Lorenz", "Meier", "Novak", "Otto", "Peters",
];

/// A number below `below`.
fn draw(rng: &SeededRng, below: u32) -> u32 {
    u32::try_from(rng.next_u64() % u64::from(below.max(1))).unwrap_or(0)
}

/// One of a handful.
fn one_of<T: Copy>(rng: &SeededRng, of: &[T]) -> Option<T> {
    of.get(draw(rng, u32::try_from(of.len()).unwrap_or(1)) as usize).copied()
}

/// Fills a database that holds no orders yet; one transaction.
pub(super) fn fill(db: &mut Connection, seed: u64) -> rusqlite::Result<()> {
    let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let present: i64 = tx.query_row("SELECT count(*) FROM orders", [], |row| row.get(0))?;
    if present > 0 {
        return Ok(());
    }
    let rng = SeededRng::new(seed);
    for (sku, name, cents) in ITEMS {
        tx.execute(
            "INSERT INTO items VALUES (?1, ?2, ?3, ?4)",
            params![sku, name, cents, 5 + i64::from(draw(&rng, 60))],
        )?;
    }
    for number in 1..=ORDERS {
        customer(&tx, &rng, number)?;
        order(&tx, &rng, number)?;
    }
    tx.commit()
}

fn customer(db: &Connection, rng: &SeededRng, number: i64) -> rusqlite::Result<()> {
    let (first, last) = (one_of(rng, &FIRST).unwrap_or_default(), one_of(rng, &LAST).unwrap_or_default());
    let account = rng.next_u64() % 10_000_000_000;
    let iban = match draw(rng, 3) {
        0 => iban::make("NL", &format!("ABNA{account:010}")),
        _ => iban::make("DE", &format!("{:08}{account:010}", 10_000_000 + rng.next_u64() % 80_000_000)),
    };
    let email = format!("{}.{}{number}@customers.example", first.to_lowercase(), last.to_lowercase());
    db.execute("INSERT INTO customers VALUES (?1, ?2, ?3, ?4)", params![number, format!("{first} {last}"), email, iban])
        .map(|_rows| ())
}

fn order(db: &Connection, rng: &SeededRng, number: i64) -> rusqlite::Result<()> {
    let urgent = URGENT.iter().find(|(order, _)| *order == number);
    let mut lines: Vec<(usize, i64)> = Vec::new();
    if number == STORY {
        lines.push((STORY_ITEM, 1));
    } else if urgent.is_some() {
        lines.push((one_of(rng, &CHEAP).unwrap_or(0), 1 + i64::from(draw(rng, 2))));
    } else {
        for _ in 0..=draw(rng, 3) {
            let item = draw(rng, ITEM_COUNT) as usize;
            if lines.iter().all(|(other, _)| *other != item) {
                lines.push((item, 1 + i64::from(draw(rng, 2))));
            }
        }
    }
    let id = format!("A{number}");
    let priced = lines.iter().filter_map(|(item, quantity)| ITEMS.get(*item).map(|item| (item, *quantity)));
    let cents: i64 = priced.clone().map(|((_, _, cents), quantity)| cents * quantity).sum();
    db.execute("INSERT INTO orders VALUES (?1, ?2, ?3, ?4)", params![id, number, number, cents])?;
    for ((sku, _, _), quantity) in priced {
        db.execute("INSERT INTO lines VALUES (?1, ?2, ?3)", params![id, sku, quantity])?;
    }
    let (belt, slack, state) = match urgent {
        Some((_, slack)) => (Some("conveyor-1"), *slack, "on_belt"),
        None => match draw(rng, 8) {
            0 => (Some("conveyor-1"), 60 + i64::from(draw(rng, 240)), "on_belt"),
            1 => (Some("conveyor-2"), 5 + i64::from(draw(rng, 240)), "on_belt"),
            2 => (None, 300 + i64::from(draw(rng, 600)), "packed"),
            _ => (None, 0, "delivered"),
        },
    };
    db.execute(
        "INSERT INTO parcels VALUES (?1, ?2, ?3, ?4, ?5)",
        params![format!("P{}", number + PARCEL_OFFSET), id, belt, slack, state],
    )
    .map(|_rows| ())
}
