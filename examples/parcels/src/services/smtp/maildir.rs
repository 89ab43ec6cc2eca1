//! Messages as files: written to `tmp`, synced, then renamed into `new`. A message is there whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use nx_types::Env;

use super::session::Envelope;
use crate::Error;

/// Longest header section that is read back.
const MAX_HEADER_BYTES: u64 = 64 << 10;

/// A directory of messages; cheap to clone.
#[derive(Debug, Clone)]
pub struct Maildir(Arc<Path>);

/// A message that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The file's name.
    pub file: String,
    /// What stands in `Message-ID`, brackets included.
    pub message_id: String,
    /// What stands in `To`.
    pub to: String,
    /// What stands in `Subject`.
    pub subject: String,
}

impl Maildir {
    /// Opens a maildir; makes its directories if need be. What a killed server left half written was never
    /// acknowledged, and goes. One server owns a maildir.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        for part in ["tmp", "new", "cur"] {
            let part = path.join(part);
            fs::create_dir_all(&part).map_err(Error::file(&part))?;
        }
        let tmp = path.join("tmp");
        for entry in fs::read_dir(&tmp).map_err(Error::file(&tmp))? {
            let left = entry.map_err(Error::file(&tmp))?.path();
            fs::remove_file(&left).map_err(Error::file(&left))?;
        }
        Ok(Self(path.into()))
    }

    /// Keeps a message. It is durable when this returns, with its file name.
    pub(super) async fn deliver(&self, message: Envelope, env: &Env) -> Result<String, Error> {
        let now = env.now();
        let name = format!("{}.{:016x}.parcels", now.as_micros(), env.rng().next_u64());
        let date = jiff::Timestamp::from_microsecond(now.as_micros())
            .ok()
            .and_then(|time| jiff::fmt::rfc2822::to_string(&time.to_zoned_datetime(jiff::tz::TimeZone::UTC)).ok())
            .unwrap_or_default();
        let mut bytes = format!(
            "Return-Path: <{}>\r\nDelivered-To: {}\r\nReceived: from {} by parcels.example with ESMTP id {name};\r\n\t{date}\r\n",
            message.from,
            message.to.join(",\r\n\t"),
            message.client,
        )
        .into_bytes();
        bytes.extend_from_slice(&message.content);
        let (maildir, file) = (self.clone(), name.clone());
        match tokio::task::spawn_blocking(move || maildir.write(&file, &bytes)).await {
            Ok(written) => written.map_err(Error::file(&*self.0)).map(|()| name),
            Err(_stopped) => Err(Error::Stopping),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let (tmp, new) = (self.0.join("tmp").join(name), self.0.join("new"));
        let mut file = File::create_new(&tmp)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&tmp, new.join(name))?;
        File::open(new)?.sync_all()
    }

    /// All messages, oldest first. Blocks.
    pub fn messages(&self) -> Result<Vec<Mail>, Error> {
        let mut mails = Vec::new();
        for part in ["new", "cur"] {
            let part = self.0.join(part);
            for entry in fs::read_dir(&part).map_err(Error::file(&part))? {
                let path = entry.map_err(Error::file(&part))?.path();
                match read(&path) {
                    Ok(mail) => mails.push(mail),
                    // Just read by somebody: it is in `cur` by now, which is listed next.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(Error::file(&path)(error)),
                }
            }
        }
        mails.sort_by(|a, b| a.file.cmp(&b.file));
        Ok(mails)
    }

    /// The names of messages that nobody has read, oldest first.
    pub async fn unread(&self) -> Result<Vec<String>, Error> {
        self.blocking(|maildir| {
            let new = maildir.0.join("new");
            let mut names = Vec::new();
            for entry in fs::read_dir(&new).map_err(Error::file(&new))? {
                names.push(entry.map_err(Error::file(&new))?.file_name().to_string_lossy().into_owned());
            }
            names.sort();
            Ok(names)
        })
        .await
    }

    /// An unread message, whole.
    pub async fn content(&self, file: &str) -> Result<Vec<u8>, Error> {
        let file = self.0.join("new").join(file);
        self.blocking(move |_| fs::read(&file).map_err(Error::file(&file))).await
    }

    /// Puts a message with those that were read, as readers of a maildir do.
    pub async fn set_read(&self, file: &str) -> Result<(), Error> {
        let (from, to) = (self.0.join("new").join(file), self.0.join("cur").join(format!("{file}:2,S")));
        self.blocking(move |_| fs::rename(&from, to).map_err(Error::file(&from))).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let maildir = self.clone();
        tokio::task::spawn_blocking(move || work(&maildir)).await.unwrap_or(Err(Error::Stopping))
    }

    /// The messages with this `Message-ID`: none, or one, or as many as were sent by mistake.
    pub async fn find(&self, message_id: &str) -> Result<Vec<Mail>, Error> {
        let message_id = message_id.to_owned();
        self.blocking(move |maildir| {
            let mut mails = maildir.messages()?;
            mails.retain(|mail| mail.message_id == message_id);
            Ok(mails)
        })
        .await
    }
}

fn read(path: &Path) -> io::Result<Mail> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_HEADER_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let head = text.split_once("\r\n\r\n").map_or(&*text, |(head, _body)| head);
    // A line that begins with a blank continues the one before: RFC 5322 section 2.2.3.
    let head = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    let field = |name: &str| {
        head.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    };
    Ok(Mail {
        file: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        message_id: field("message-id"),
        to: field("to"),
        subject: field("subject"),
    })
}
