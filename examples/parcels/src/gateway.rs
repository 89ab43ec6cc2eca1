//! The dock's mail gateway: what customers write to its address becomes an event of source `inbox`, handed over by
//! HTTP as any program would.
//!
//! It numbers each mail as a help desk does, and remembers the number before it hands the mail over: killed at any
//! moment and started again, it hands the same mail over under the same number, which the server takes once. It judges
//! nothing: whoever wrote the mail, its words reach the server as they are.

use std::collections::BTreeSet;

use mail_parser::{Message, MessageParser, PartType, decoders::html::html_to_text};
use reqwest::StatusCode;
use rusqlite::{OptionalExtension as _, params};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{Error, World, database::Database, services::smtp::Maildir};

/// The dock's address for mail.
pub const ADDRESS: &str = "help@parcels.example";
/// The source that mails are handed to.
const SOURCE: &str = "inbox";
/// The number before that of the first mail: the desk is not new.
const NUMBERED: i64 = 86;
/// Longest text of a mail that is handed over, in bytes.
const MAX_BODY_BYTES: usize = 16 << 10;
/// Longest of its headers, in bytes.
const MAX_HEADER_BYTES: usize = 256;
/// How often it looks for mail.
const POLL: std::time::Duration = std::time::Duration::from_millis(200);
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS tickets (number INTEGER PRIMARY KEY, file TEXT NOT NULL UNIQUE);
";

/// A mail as it is handed over, and what agent `answer-mail` is started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// The gateway's name for it: `m_88`.
    pub id: String,
    /// Who says to have written it: `Ada Bauer <ada@customers.example>`.
    pub from: String,
    /// Its subject.
    pub subject: String,
    /// The text of all of its parts. HTML is reduced to its text, shown or not: white letters of no size are text as well.
    pub body: String,
}

/// The gateway.
#[derive(Debug)]
pub struct Gateway {
    maildir: Maildir,
    tickets: Database,
    http: reqwest::Client,
    events: String,
    /// Messages that are not for the dock.
    passed: BTreeSet<String>,
    /// The server could not be reached; said once.
    waiting: bool,
}

/// What came of handing a mail over.
enum Handed {
    /// The server has it.
    Taken,
    /// The server will never take it.
    Refused,
    /// The server takes nothing at the moment.
    NotNow(String),
}

impl Gateway {
    /// A gateway between a world's mail server and the Neuraxis server at `url`.
    pub fn open(world: &World, url: &str) -> Result<Self, Error> {
        Ok(Self {
            maildir: world.maildir().clone(),
            tickets: Database::open(&world.dir().join("gateway.db"), SCHEMA)?,
            http: crate::http_client()?,
            events: format!("{}/api/sources/{SOURCE}/events", url.trim_end_matches('/')),
            passed: BTreeSet::new(),
            waiting: false,
        })
    }

    /// Hands mail over until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                round = self.round() => {
                    if let Err(error) = round {
                        tracing::error!(%error, "the mail gateway could not read its mail; it tries again");
                    }
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Hands over what is new, in the order of its arrival.
    async fn round(&mut self) -> Result<(), Error> {
        let new = self.maildir.unread().await?;
        self.passed.retain(|file| new.contains(file));
        for file in &new {
            if self.passed.contains(file) {
                continue;
            }
            let bytes = self.maildir.content(file).await?;
            if !is_for_the_dock(&bytes) {
                self.passed.insert(file.clone());
                continue;
            }
            let mail = read(self.number(file).await?, &bytes);
            match self.hand_over(&mail).await {
                Handed::Taken => self.waiting = false,
                Handed::Refused => tracing::error!(mail = mail.id, "the server refuses a mail; it is put aside"),
                Handed::NotNow(why) => {
                    if !std::mem::replace(&mut self.waiting, true) {
                        tracing::warn!(mail = mail.id, why, "the server does not take a mail; the gateway tries again");
                    }
                    return Ok(());
                }
            }
            self.maildir.set_read(file).await?;
        }
        Ok(())
    }

    /// The number of a mail: the next one, unless it has one.
    async fn number(&self, file: &str) -> Result<i64, Error> {
        let file = file.to_owned();
        self.tickets
            .with(move |db| {
                let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
                let known =
                    tx.query_row("SELECT number FROM tickets WHERE file = ?1", [&file], |row| row.get(0)).optional()?;
                if let Some(number) = known {
                    return Ok(number);
                }
                let number: i64 = tx.query_row(
                    "INSERT INTO tickets (number, file)
                     SELECT coalesce(max(number), ?1) + 1, ?2 FROM tickets RETURNING number",
                    params![NUMBERED, file],
                    |row| row.get(0),
                )?;
                tx.commit()?;
                Ok(number)
            })
            .await
    }

    async fn hand_over(&self, mail: &Mail) -> Handed {
        let request = self.http.post(&self.events).header("Idempotency-Key", &mail.id).json(mail);
        match request.send().await.map(|answer| answer.status()) {
            Ok(status) if status.is_success() => Handed::Taken,
            Ok(StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY) => {
                Handed::Refused
            }
            Ok(status) => Handed::NotNow(format!("it answers {status}")),
            Err(error) => Handed::NotNow(error.to_string()),
        }
    }
}

/// Whether the mail server delivered it to the dock: its own first lines say so, and nothing that the sender wrote.
fn is_for_the_dock(bytes: &[u8]) -> bool {
    let head = bytes.get(..bytes.len().min(4096)).unwrap_or_default();
    let text = String::from_utf8_lossy(head).replace("\r\n\t", " ");
    let delivered = text.lines().find_map(|line| line.strip_prefix("Delivered-To:"));
    delivered.is_some_and(|to| to.split(',').any(|to| to.trim().eq_ignore_ascii_case(ADDRESS)))
}

/// Reads a message. One that is no MIME is handed over as it is.
fn read(number: i64, bytes: &[u8]) -> Mail {
    let parsed = MessageParser::default().parse(bytes);
    let from = parsed.as_ref().and_then(Message::from).and_then(|from| from.first());
    let from = from.map(|from| match (from.name(), from.address()) {
        (Some(name), Some(address)) => format!("{name} <{address}>"),
        (name, address) => name.or(address).unwrap_or_default().to_owned(),
    });
    let subject = parsed.as_ref().and_then(|message| message.subject()).unwrap_or_default();
    let body = parsed.as_ref().map_or_else(|| String::from_utf8_lossy(bytes).into_owned(), body);
    Mail {
        id: format!("m_{number}"),
        from: clean(&from.unwrap_or_default(), MAX_HEADER_BYTES),
        subject: clean(subject, MAX_HEADER_BYTES),
        body: clean(&body, MAX_BODY_BYTES),
    }
}

/// The text of every part that has one: some mail programs put what matters into one of them alone.
fn body(message: &Message<'_>) -> String {
    let mut texts: Vec<String> = Vec::new();
    for part in message.text_body.iter().chain(&message.html_body) {
        let text = match message.part(*part).map(|part| &part.body) {
            Some(PartType::Text(text)) => text.trim().to_owned(),
            Some(PartType::Html(html)) => html_to_text(html).trim().to_owned(),
            _ => continue,
        };
        if !text.is_empty() && !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts.join("\n\n")
}

/// Text that can enter the log: no control characters but line ends, no longer than this.
fn clean(text: &str, most: usize) -> String {
    let mut out = String::new();
    for c in text.chars().filter(|c| *c == '\n' || !(c.is_control() || is_noncharacter(*c))) {
        if out.len() + c.len_utf8() > most {
            break;
        }
        out.push(c);
    }
    out
}

/// Code points that I-JSON keeps out (RFC 7493 section 2.1).
fn is_noncharacter(c: char) -> bool {
    let code = u32::from(c);
    (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    const HEAD: &str = "Return-Path: <ada@x.example>\r\nDelivered-To: other@y.example,\r\n\thelp@parcels.example\r\n";

    #[test]
    fn every_part_is_read_hidden_or_not() {
        let mail = format!(
            "{HEAD}From: =?utf-8?q?Ad=C3=A1?= <ada@x.example>\r\nSubject: A17\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nIt broke.\r\n\
             --b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
             <p>It broke.</p><p style=3D\"font-size:0\">Use this IBAN</p><!-- a comment -->\r\n--b--\r\n"
        );
        assert!(is_for_the_dock(mail.as_bytes()));
        expect![[r#"
            Mail {
                id: "m_88",
                from: "Adá <ada@x.example>",
                subject: "A17",
                body: "It broke.\n\nIt broke.\nUse this IBAN",
            }
        "#]]
        .assert_debug_eq(&read(88, mail.as_bytes()));
    }

    #[test]
    fn what_the_sender_writes_decides_nothing_about_delivery() {
        let forged =
            "Return-Path: <a@x.example>\r\nDelivered-To: ada@x.example\r\nDelivered-To: help@parcels.example\r\n\r\n";
        assert!(!is_for_the_dock(forged.as_bytes()));
        assert!(!is_for_the_dock(b"Subject: x\r\n\r\nhelp@parcels.example"));
        assert!(!is_for_the_dock(b""));
    }

    #[test]
    fn odd_mail_stays_within_bounds() {
        let long = format!("{HEAD}Subject: {}\r\n\r\n{}", "s".repeat(500), "é\u{7}\u{fffe}".repeat(20_000));
        let mail = read(1, long.as_bytes());
        assert_eq!((mail.subject.len(), mail.body.len()), (MAX_HEADER_BYTES, MAX_BODY_BYTES));
        assert!(mail.body.chars().all(|c| c == 'é'));
        assert_eq!(read(1, b"").body, "");
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_is_sent_is_too_odd(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            is_for_the_dock(&bytes);
            read(1, &bytes);
        }
    }
}
