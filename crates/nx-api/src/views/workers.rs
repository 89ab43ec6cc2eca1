//! Workers.

use nx_runs::service::WorkerView;
use nx_types::{Namespace, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::text;

/// A connected worker.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkerBody {
    /// The connection's name.
    session: String,
    /// The process, as it names itself.
    worker: String,
    /// The SDK.
    sdk: String,
    /// Its namespace.
    #[schema(value_type = text::Namespace)]
    namespace: Namespace,
    /// Agents, with versions: `NAME@VERSION`.
    agents: Vec<String>,
    /// Toolsets.
    toolsets: Vec<String>,
    /// Runs it has now.
    runs: u32,
    /// Runs it takes at most.
    max_runs: u32,
    /// Calls in flight.
    calls: u32,
    /// When it connected.
    #[schema(value_type = text::Instant)]
    connected: Timestamp,
    /// When it was last heard of.
    #[schema(value_type = text::Instant)]
    heard: Timestamp,
}

impl From<WorkerView> for WorkerBody {
    fn from(worker: WorkerView) -> Self {
        let WorkerView { session, worker, sdk, namespace, agents, toolsets, runs, max_runs, calls, connected, heard } =
            worker;
        Self { session, worker, sdk, namespace, agents, toolsets, runs, max_runs, calls, connected, heard }
    }
}

/// The connected workers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkersBody {
    /// Each worker.
    items: Vec<WorkerBody>,
}

impl From<Vec<WorkerView>> for WorkersBody {
    fn from(workers: Vec<WorkerView>) -> Self {
        Self { items: workers.into_iter().map(WorkerBody::from).collect() }
    }
}
