//! The tools with which agents act on the dock: toolsets `shop`, `pay`, `post` and `belt`, served by a worker.
//!
//! What each tool does to the world is declared twice on purpose: here, next to the code that keeps the promise, and in
//! the manifests, where a person reads and changes it. The manifest wins.

pub(crate) mod belt;
pub(crate) mod pay;
pub(crate) mod post;
pub(crate) mod shop;

use lettre::{AsyncSmtpTransport, Tokio1Executor};
use neuraxis_sdk::Worker;

use crate::{
    Error, World,
    services::{shop::Shop, smtp::Maildir},
};

/// What the tools hold: clients of the services. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tools {
    http: reqwest::Client,
    payment: String,
    logistics: String,
    belt: String,
    shop: Shop,
    mail: AsyncSmtpTransport<Tokio1Executor>,
    maildir: Maildir,
}

impl Tools {
    /// Clients of a world's services.
    pub fn new(world: &World) -> Result<Self, Error> {
        let addresses = world.addresses();
        let mail = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(addresses.smtp.ip().to_string())
            .port(addresses.smtp.port())
            .timeout(Some(std::time::Duration::from_secs(10)))
            .build();
        Ok(Self {
            http: crate::http_client()?,
            payment: format!("http://{}", addresses.payment),
            logistics: format!("http://{}", addresses.logistics),
            belt: format!("http://{}", addresses.belt),
            shop: world.shop().clone(),
            mail,
            maildir: world.maildir().clone(),
        })
    }

    /// Serves every toolset on a worker.
    pub fn serve(&self, worker: Worker) -> Worker {
        let worker = shop::serve(self, worker);
        let worker = pay::serve(self, worker);
        let worker = post::serve(self, worker);
        belt::serve(self, worker)
    }
}
