//! The mail sink, against lettre and against a client that tests its limits.

use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use parcels::services::smtp::Maildir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Dock, dock};

async fn send(dock: &Dock, id: &str, text: &str) {
    let address = dock.world.addresses().smtp;
    let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1").port(address.port()).build();
    let message = Message::builder()
        .from("Dock <dock@parcels.example>".parse().unwrap())
        .to("Ada <ada@customers.example>".parse().unwrap())
        .subject("Order A17")
        .message_id(Some(id.to_owned()))
        .body(text.to_owned())
        .unwrap();
    transport.send(message).await.unwrap();
}

/// Sends all at once, reads until the server closes.
async fn talk(dock: &Dock, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(dock.world.addresses().smtp).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.lines().map(|line| line.get(..3).unwrap()).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn lettre_delivers_and_the_message_is_found() {
    let dock = dock().await;
    let text = ".a dot first\r\n\r\n.\r\nand after it\r\n";
    send(&dock, "<k1@parcels.example>", text).await;
    send(&dock, "<k2@parcels.example>", "x").await;
    let mails = dock.world.maildir().messages().unwrap();
    assert_eq!(mails.len(), 2);
    let found = dock.world.maildir().find("<k1@parcels.example>").await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].subject.as_str(), found[0].to.as_str()), ("Order A17", "Ada <ada@customers.example>"));
    assert!(dock.world.maildir().find("<k3@parcels.example>").await.unwrap().is_empty());
    let file = dock.world.addresses().maildir.join("new").join(&found[0].file);
    let bytes = std::fs::read_to_string(file).unwrap();
    assert!(bytes.contains(&format!("\r\n\r\n{text}")), "{bytes}");
    assert!(bytes.starts_with("Return-Path: <dock@parcels.example>\r\nDelivered-To: ada@customers.example\r\n"));
    assert_eq!(std::fs::read_dir(dock.world.addresses().maildir.join("tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn commands_may_be_pipelined() {
    let dock = dock().await;
    let lines = "EHLO me\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n";
    let talked = talk(&dock, format!("{lines}Message-ID: <p>\r\n\r\nhi\r\n.\r\nQUIT\r\n").as_bytes()).await;
    assert_eq!(talked, "220 250 250 250 250 250 250 250 354 250 221");
    assert_eq!(dock.world.maildir().find("<p>").await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_breaks_the_rules_is_not_kept() {
    let dock = dock().await;
    let head = "HELO me\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n";
    // Smuggling: a lone LF around the dot ends nothing.
    let smuggled = format!("{head}hi\n.\nMAIL FROM:<evil@x.example>\r\n.\r\nQUIT\r\n");
    assert_eq!(talk(&dock, smuggled.as_bytes()).await, "220 250 250 250 354 554 221");
    let long = format!("{head}{}\r\n.\r\nQUIT\r\n", "x".repeat(5000));
    assert_eq!(talk(&dock, long.as_bytes()).await, "220 250 250 250 354 554 221");
    let big = format!("{head}{}.\r\nQUIT\r\n", "0123456789abcdef\r\n".repeat(20_000));
    assert_eq!(talk(&dock, big.as_bytes()).await, "220 250 250 250 354 552 221");
    // Cut off before the end: no message.
    let mut stream = TcpStream::connect(dock.world.addresses().smtp).await.unwrap();
    stream.write_all(format!("{head}half").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(dock.world.maildir().messages().unwrap().is_empty());
}

#[tokio::test]
async fn a_stopping_server_says_so() {
    let dock = dock().await;
    let mut stream = TcpStream::connect(dock.world.addresses().smtp).await.unwrap();
    let mut greeting = [0; 3];
    stream.read_exact(&mut greeting).await.unwrap();
    dock.world.shutdown().await;
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("421 4.3.2 shutting down\r\n"), "{rest}");
}

#[tokio::test]
async fn what_was_half_written_goes() {
    let dir = tempfile::tempdir().unwrap();
    Maildir::open(dir.path()).unwrap();
    std::fs::write(dir.path().join("tmp/1.left"), "half").unwrap();
    let maildir = Maildir::open(dir.path()).unwrap();
    assert!(!dir.path().join("tmp/1.left").exists() && maildir.messages().unwrap().is_empty());
}
