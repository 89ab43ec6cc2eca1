//! The worker's process: connects, is welcomed, executes, reconnects.
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use crate::{error::Error, options::Options, worker::Offers};
pub(crate) async fn run(options: Options, offers: Arc<Offers>, shutdown: CancellationToken) -> Result<(), Error> {
    let _ = (options, offers); shutdown.cancelled().await; Ok(())
}
