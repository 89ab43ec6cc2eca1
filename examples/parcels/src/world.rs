//! The world: every service of the dock, started together on one directory.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use nx_types::{Env, Timestamp};
use serde::{Deserialize, Serialize};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Error,
    services::{belt, faults::Faults, logistics, payment, shop::Shop, smtp, smtp::Maildir},
};

/// How the world is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What the shop's orders are made up from.
    pub seed: u64,
    /// What goes wrong at the payment service.
    pub faults: Faults,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 2013, faults: Faults::default() }
    }
}

/// Where the services are; kept as `world.json`, so that they are found again, by people and by the Python agents, and
/// keep their ports over a restart if nobody took them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// The payment service, HTTP.
    pub payment: SocketAddr,
    /// The carrier's webhook receiver, HTTP.
    pub logistics: SocketAddr,
    /// The conveyor's controller, HTTP.
    pub belt: SocketAddr,
    /// The mail server, SMTP.
    pub smtp: SocketAddr,
    /// The shop's database, `SQLite`.
    pub shop: PathBuf,
    /// The mail server's maildir.
    pub maildir: PathBuf,
    /// When the dock opened: its first start in this directory.
    #[serde(default = "long_ago")]
    pub opened: Timestamp,
}

/// For a file that an earlier version wrote.
fn long_ago() -> Timestamp {
    Timestamp::from_micros(0)
}

/// The running services. Dropping it tells them to stop; [`World::shutdown`] waits until they have.
#[derive(Debug)]
pub struct World {
    dir: PathBuf,
    addresses: Addresses,
    shop: Shop,
    maildir: Maildir,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl World {
    /// Starts every service on 127.0.0.1, with its files under `dir`, which is made if need be. A world that was killed
    /// starts again from the same directory with all it had acknowledged.
    pub async fn start(dir: &Path, options: Options, env: Env) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(Error::file(dir))?;
        let file = dir.join("world.json");
        let known = read(&file);
        let port = |of: fn(&Addresses) -> SocketAddr| known.as_ref().map(|known| of(known).port());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        // Should one service fail to start, those started before it stop.
        let guard = stop.clone().drop_guard();
        let shop_file = dir.join("shop.db");
        let shop = Shop::open(&shop_file, options.seed).await?;
        let maildir = Maildir::open(dir.join("maildir"))?;
        let payment = payment::start(
            &dir.join("payments.db"),
            options.faults,
            env.clone(),
            port(|known| known.payment),
            (&tasks, &stop),
        )
        .await?;
        let logistics = dir.join("logistics.db");
        let logistics =
            logistics::start(&logistics, env.clone(), port(|known| known.logistics), (&tasks, &stop)).await?;
        let belt = belt::start(&dir.join("belt.db"), env.clone(), port(|known| known.belt), (&tasks, &stop)).await?;
        let opened = known.as_ref().map_or_else(|| env.now(), |known| known.opened);
        let smtp = smtp::start(maildir.clone(), env, port(|known| known.smtp), (&tasks, &stop)).await?;
        tasks.close();
        let maildir_path = dir.join("maildir");
        let addresses = Addresses { payment, logistics, belt, smtp, shop: shop_file, maildir: maildir_path, opened };
        write(&file, &addresses)?;
        guard.disarm();
        Ok(Self { dir: dir.to_owned(), addresses, shop, maildir, tasks, stop })
    }

    /// Where the services are.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The shop's database.
    pub fn shop(&self) -> &Shop {
        &self.shop
    }

    /// All mail, to customers and to the dock.
    pub fn maildir(&self) -> &Maildir {
        &self.maildir
    }

    /// Stops every service: requests in flight are answered, then the ports are free.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The addresses of an earlier start. A file that cannot be read only costs the ports.
fn read(file: &Path) -> Option<Addresses> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

fn write(file: &Path, addresses: &Addresses) -> Result<(), Error> {
    let text = serde_json::to_vec_pretty(addresses).map_err(|error| Error::file(file)(error.into()))?;
    let fresh = file.with_extension("json.new");
    fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, file)).map_err(Error::file(file))
}
