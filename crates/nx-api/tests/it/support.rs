//! A server with all its parts, and requests written by hand.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use nx_api::{Options, Parts, Server};
use nx_journal::{Journal, verify::Notary};
use nx_runs::{engine::RunKey, service::Service as Runs};
use nx_types::Env;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A bound for a hung server, not a timing.
const HUNG: Duration = Duration::from_mins(1);

pub(crate) struct Stage {
    pub(crate) address: SocketAddr,
    pub(crate) admin: Option<String>,
    journal: Journal,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Stage {
    /// A server on a free port; `set` changes its options.
    pub(crate) async fn start(dir: &Path, set: impl FnOnce(&mut Options)) -> Self {
        let env = Env::system();
        let (journal, log) = Journal::open(nx_journal::Options::new(dir), env.clone()).expect("the log opens");
        let tasks = TaskTracker::new();
        tasks.spawn(async move { log.run().await.expect("the log") });
        let notary = Arc::new(Notary::open(dir, journal.origin(), &env).expect("a notary"));
        let (runs, service) =
            Runs::open(journal.clone(), nx_runs::service::Options::new(RunKey::random(env.rng()))).expect("runs");
        let stop = CancellationToken::new();
        let runs_stop = service.stop();
        tasks.spawn(async move { service.run().await.expect("the runs") });
        let kinds = nx_control::kinds().into_iter().chain(nx_runs::kinds::descriptors()).collect();
        let (control_service, control) = nx_control::start(journal.clone(), nx_control::Options::new(kinds));
        tasks.spawn({
            let stop = stop.clone();
            async move { control_service.run(stop).await.expect("the resources") }
        });
        let (models_service, models) = nx_models::open(journal.clone(), nx_models::Options::default());
        tasks.spawn(models_service.run(stop.clone()));
        let token_file = dir.join("admin.token");
        let mut options = Options::new(&token_file);
        options.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        set(&mut options);
        let parts = Parts {
            journal: journal.clone(),
            runs,
            control,
            models,
            notary,
            declaring: tokio::sync::mpsc::channel(1).0,
        };
        let server = Server::bind(options, parts, env).await.expect("the server");
        let url = server.url();
        let address = url.rsplit('/').next().unwrap_or_default().parse().expect("an address");
        tasks.spawn(server.run(stop.clone()));
        tasks.spawn({
            let stop = stop.clone();
            async move {
                stop.cancelled().await;
                runs_stop.cancel();
            }
        });
        let admin = std::fs::read_to_string(&token_file).ok().map(|token| token.trim().to_owned());
        Self { address, admin, journal, stop, tasks }
    }

    /// Stops everything; a task that stays would hang here.
    pub(crate) async fn close(self) {
        self.stop.cancel();
        self.tasks.close();
        self.journal.close().await;
        tokio::time::timeout(HUNG, self.tasks.wait()).await.expect("every task ends");
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    /// Sends bytes and reads all that comes until the server closes.
    pub(crate) async fn raw(&self, text: &str) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.expect("sent");
        rest(&mut stream).await
    }

    /// A request of which only the head and what came with it is read: answers may be endless.
    pub(crate) async fn ask(&self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(self.request(method, path, token, body).as_bytes()).await.expect("sent");
        head(&mut stream).await
    }

    /// The bytes of a request.
    pub(crate) fn request(&self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> String {
        let token = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let body = body.map(Value::to_string).unwrap_or_default();
        let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
        let (host, length) = (self.address, body.len());
        format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n{token}{kind}content-length: {length}\r\n\r\n{body}")
    }

    /// A request whose answer is read to its end.
    pub(crate) async fn json(&self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Value {
        let request = self.request(method, path, token, body).replacen("\r\n", "\r\nconnection: close\r\n", 1);
        let answer = self.raw(&request).await;
        serde_json::from_str(&answer.body).unwrap_or_else(|_err| panic!("no JSON: {answer:?}"))
    }

    /// A new token.
    pub(crate) async fn token(&self, name: &str, role: &str) -> String {
        let body = serde_json::json!({"name": name, "roles": [role]});
        let made = self.json("POST", "/api/tokens", self.admin.as_deref(), Some(&body)).await;
        made["token"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
    }
}

/// What the server said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        Self { status, headers, body: body.to_owned() }
    }
}

/// Reads the head of an answer.
pub(crate) async fn head(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        let read = tokio::time::timeout(HUNG, stream.read_buf(&mut bytes)).await.expect("the server answers");
        if read.expect("read") == 0 {
            break;
        }
    }
    Answer::of(&bytes)
}

/// Reads until the server closes. A reset is a close too.
pub(crate) async fn rest(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    drop(tokio::time::timeout(HUNG, stream.read_to_end(&mut bytes)).await.expect("the server closes"));
    Answer::of(&bytes)
}
