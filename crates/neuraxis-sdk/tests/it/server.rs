//! A server that says what the test tells it to, over a real WebSocket.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use neuraxis_sdk::{
    CancellationToken, Error, Options, RunId, Worker,
    frames::{Hello, SUBPROTOCOL, Server as ServerFrame, Start, Step, Welcome, Worker as WorkerFrame},
};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        http::HeaderValue,
    },
};
use tokio_util::task::TaskTracker;

pub(crate) const RUN: &str = "r_0000000000000000";

pub(crate) fn run_id() -> RunId {
    RUN.parse().unwrap()
}

/// A listening server.
pub(crate) struct Server {
    pub(crate) listener: TcpListener,
    pub(crate) url: String,
}

/// One accepted worker.
pub(crate) struct Peer {
    socket: WebSocketStream<TcpStream>,
    pub(crate) hello: Hello,
}

impl Server {
    pub(crate) async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self { listener, url }
    }

    pub(crate) fn options(&self) -> Options {
        let mut options = Options::new(self.url.as_str()).name("test");
        options.reconnect_min = Duration::from_millis(1);
        options
    }

    /// Accepts a worker and reads its hello.
    pub(crate) async fn accept(&self) -> Peer {
        let (stream, _from) = self.listener.accept().await.unwrap();
        #[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
        let choose = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            assert_eq!(request.uri().path(), neuraxis_sdk::frames::PATH);
            assert_eq!(request.headers()["sec-websocket-protocol"], SUBPROTOCOL);
            response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
            Ok(response)
        };
        let mut socket = accept_hdr_async(stream, choose).await.unwrap();
        let WorkerFrame::Hello(hello) = read(&mut socket).await.expect("a hello") else { panic!("no hello") };
        Peer { socket, hello }
    }

    /// Accepts a worker and welcomes it.
    pub(crate) async fn welcome(&self) -> Peer {
        let mut peer = self.accept().await;
        peer.send(ServerFrame::Welcome(welcome())).await;
        peer
    }
}

pub(crate) fn welcome() -> Welcome {
    Welcome {
        protocol: 1,
        server: "test".to_owned(),
        session: "s".to_owned(),
        max_frame_bytes: 1 << 20,
        credit: 64,
        lease_ms: 10_000,
    }
}

async fn read(socket: &mut WebSocketStream<TcpStream>) -> Option<WorkerFrame> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            _ => return None,
        }
    }
}

impl Peer {
    pub(crate) async fn send(&mut self, frame: ServerFrame) {
        self.socket.send(Message::text(serde_json::to_string(&frame).unwrap())).await.unwrap();
    }

    pub(crate) async fn say(&mut self, frame: Value) {
        self.socket.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// The worker's next frame; `None` when it closed the connection.
    pub(crate) async fn next(&mut self) -> Option<WorkerFrame> {
        tokio::time::timeout(Duration::from_secs(20), read(&mut self.socket)).await.expect("the worker says something")
    }

    /// Cuts the connection once all that was sent has arrived: the answer to a ping says so.
    pub(crate) async fn cut(mut self) {
        self.socket.send(Message::Ping("cut".into())).await.unwrap();
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Pong(payload))) if payload == "cut" => return,
                Some(Ok(_)) => {}
                other => panic!("no answer to a ping but {other:?}"),
            }
        }
    }

    pub(crate) async fn step(&mut self) -> Step {
        match self.next().await {
            Some(WorkerFrame::Step(step)) => *step,
            other => panic!("no step but {other:?}"),
        }
    }

    pub(crate) async fn json(&mut self) -> Value {
        serde_json::to_value(self.next().await.expect("a frame")).unwrap()
    }

    pub(crate) async fn start(&mut self, agent: &str, input: Value, live: bool) {
        self.start_inc(agent, input, live, 1).await;
    }

    pub(crate) async fn start_inc(&mut self, agent: &str, input: Value, live: bool, inc: u32) {
        let start = Start {
            run: run_id(),
            inc,
            agent: agent.to_owned(),
            input,
            state: None,
            key: Some("A17".to_owned()),
            deadline: None,
            recorded: 0,
            live,
            traceparent: None,
        };
        self.send(ServerFrame::Start(Box::new(start))).await;
    }

    pub(crate) async fn result(&mut self, call: u64, value: Value) {
        self.send(ServerFrame::Result { call, value, reused: false, live: false }).await;
    }

    pub(crate) async fn execute(&mut self, call: u64, step: u64, attempt: u32) {
        self.say(
            json!({"t": "execute", "call": call, "grant": {"step": step, "attempt": attempt}, "idempotency_key": "K"}),
        )
        .await;
    }

    /// Reads the run's result and closes the run.
    pub(crate) async fn completed(&mut self) -> Value {
        match self.next().await {
            Some(WorkerFrame::Complete { result, inc, .. }) => {
                let closed = ServerFrame::Closed { run: run_id(), inc, state: "completed".to_owned() };
                self.send(closed).await;
                result
            }
            other => panic!("not completed but {other:?}"),
        }
    }
}

/// A worker in a task of its own.
pub(crate) struct Running {
    pub(crate) shutdown: CancellationToken,
    tracker: TaskTracker,
    ended: tokio::task::JoinHandle<Result<(), Error>>,
}

pub(crate) fn run(worker: Worker) -> Running {
    let shutdown = CancellationToken::new();
    let tracker = TaskTracker::new();
    let ended = tracker.spawn(worker.run(shutdown.clone()));
    Running { shutdown, tracker, ended }
}

impl Running {
    pub(crate) async fn end(self) -> Result<(), Error> {
        self.tracker.close();
        self.ended.await.unwrap()
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.end().await.unwrap();
    }
}
