//! What the tests share: a world in a directory of its own, and a client.

use nx_types::Env;
use parcels::{Options, World, services::faults::Faults};
use serde_json::Value;
use tempfile::TempDir;

/// A running world and the directory it lives in.
pub(crate) struct Dock {
    pub(crate) _dir: TempDir,
    pub(crate) world: World,
    pub(crate) http: reqwest::Client,
}

/// A world without faults.
pub(crate) async fn dock() -> Dock {
    dock_with(Faults::none()).await
}

/// A world whose payment service has these faults.
pub(crate) async fn dock_with(faults: Faults) -> Dock {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(dir.path(), Options { faults, ..Options::default() }, Env::system()).await.unwrap();
    Dock { _dir: dir, world, http: parcels::http_client().unwrap() }
}

impl Dock {
    /// The payment service's URL.
    pub(crate) fn payment(&self, path: &str) -> String {
        format!("http://{}{path}", self.world.addresses().payment)
    }

    /// A JSON answer.
    pub(crate) async fn get(&self, url: String) -> Value {
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }
}
