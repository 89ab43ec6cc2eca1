//! The example's worker: connects to a server like any other, over the worker protocol.

use neuraxis_sdk::{CancellationToken, Options, Worker};

use crate::{Error, Tools, World, agents};

/// What the worker offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// The toolsets and the agents.
    All,
    /// The toolsets alone: the agents run elsewhere, as those of `python/parcels_agents.py`.
    Toolsets,
}

/// Serves a world's tools, and the agents if asked, until `shutdown`.
pub async fn serve(world: &World, options: Options, parts: Parts, shutdown: CancellationToken) -> Result<(), Error> {
    let tools = Tools::new(world)?;
    let worker = tools.serve(Worker::new(options));
    let worker = match parts {
        Parts::All => agents::offer(&tools, worker),
        Parts::Toolsets => worker,
    };
    worker.run(shutdown).await.map_err(|error| Error::Worker { detail: error.to_string() })
}
