//! The SMTP conversation without its socket: a line in, an action out.

use super::line::Line;

/// Longest message.
pub(super) const MAX_MESSAGE_BYTES: usize = 256 << 10;
/// Most recipients of a message: RFC 5321 section 4.5.3.1.8 asks for at least 100.
const MAX_RECIPIENTS: usize = 100;
/// Longest command line without CR LF; `MAIL` may be longer by its parameters (RFC 1870, RFC 6152).
const MAX_COMMAND_BYTES: usize = 510;
const MAX_MAIL_COMMAND_BYTES: usize = MAX_COMMAND_BYTES + 26 + 17;
/// Errors after which a client that talks nonsense is told to go away.
const MAX_ERRORS: u32 = 20;

/// A message as it was handed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Envelope {
    /// How the client called itself.
    pub(super) client: String,
    /// The reverse path; empty for `<>`.
    pub(super) from: String,
    /// The recipients.
    pub(super) to: Vec<String>,
    /// The content, dots unstuffed, lines ended by CR LF.
    pub(super) content: Vec<u8>,
}

/// What a line leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing to say yet.
    None,
    /// Say this.
    Reply(String),
    /// Keep the message, then say whether it was kept.
    Deliver(Envelope),
    /// Say goodbye.
    Quit,
}

/// The state of one connection.
#[derive(Debug, Default)]
pub(super) struct Session {
    client: Option<String>,
    from: Option<String>,
    to: Vec<String>,
    data: Option<Data>,
    errors: u32,
}

#[derive(Debug, Default)]
struct Data {
    content: Vec<u8>,
    /// Why the message will be refused at its end.
    refusal: Option<&'static str>,
}

impl Session {
    /// Takes the next line.
    pub(super) fn feed(&mut self, line: Line) -> Action {
        if let Some(data) = &mut self.data {
            if !data.add(line) {
                return Action::None;
            }
            return self.end_of_data();
        }
        let reply = match line {
            Line::Text(line) => self.command(&line),
            Line::Bare => Err("500 5.5.2 lines end with CR LF"),
            Line::TooLong => Err("500 5.5.6 line too long"),
        };
        match reply {
            Ok(action) => action,
            Err(text) => {
                self.errors += 1;
                if self.errors > MAX_ERRORS { Action::Quit } else { Action::Reply(format!("{text}\r\n")) }
            }
        }
    }

    fn end_of_data(&mut self) -> Action {
        let data = self.data.take().unwrap_or_default();
        let (from, to) = (self.from.take().unwrap_or_default(), std::mem::take(&mut self.to));
        match data.refusal {
            Some(text) => Action::Reply(format!("{text}\r\n")),
            None => Action::Deliver(Envelope {
                client: self.client.clone().unwrap_or_default(),
                from,
                to,
                content: data.content,
            }),
        }
    }

    fn reset(&mut self) {
        self.from = None;
        self.to.clear();
    }

    fn command(&mut self, line: &[u8]) -> Result<Action, &'static str> {
        let line = std::str::from_utf8(line).ok().filter(|line| line.is_ascii()).ok_or("500 5.5.2 not ASCII")?;
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (verb, rest) = (verb.to_ascii_uppercase(), rest.trim());
        let longest = if verb == "MAIL" { MAX_MAIL_COMMAND_BYTES } else { MAX_COMMAND_BYTES };
        if line.len() > longest {
            return Err("500 5.5.6 line too long");
        }
        let say = |text: &str| Ok(Action::Reply(format!("{text}\r\n")));
        match verb.as_str() {
            "HELO" | "EHLO" => self.hello(&verb, rest),
            "MAIL" => self.mail(rest),
            "RCPT" => self.recipient(rest),
            "DATA" if !rest.is_empty() => Err("501 5.5.4 DATA takes no argument"),
            "DATA" => {
                if self.from.is_none() || self.to.is_empty() {
                    return Err("503 5.5.1 MAIL and RCPT come first");
                }
                self.data = Some(Data::default());
                say("354 end with <CR><LF>.<CR><LF>")
            }
            "RSET" => {
                self.reset();
                say("250 2.0.0 ok")
            }
            "NOOP" => say("250 2.0.0 ok"),
            "VRFY" => say("252 2.1.5 any address is accepted"),
            "HELP" => say("214 2.0.0 EHLO HELO MAIL RCPT DATA RSET NOOP VRFY QUIT"),
            "QUIT" => Ok(Action::Quit),
            "EXPN" | "AUTH" | "STARTTLS" | "BDAT" | "TURN" => Err("502 5.5.1 not implemented"),
            _ => Err("500 5.5.1 unknown command"),
        }
    }

    fn hello(&mut self, verb: &str, name: &str) -> Result<Action, &'static str> {
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err("501 5.5.4 a host name or address must follow");
        }
        self.reset();
        self.client = Some(name.chars().take(255).collect());
        Ok(Action::Reply(if verb == "HELO" {
            "250 parcels.example\r\n".to_owned()
        } else {
            format!(
                "250-parcels.example\r\n250-SIZE {MAX_MESSAGE_BYTES}\r\n250-PIPELINING\r\n250-8BITMIME\r\n\
                 250 ENHANCEDSTATUSCODES\r\n"
            )
        }))
    }

    fn mail(&mut self, rest: &str) -> Result<Action, &'static str> {
        if self.client.is_none() {
            return Err("503 5.5.1 EHLO comes first");
        }
        if self.from.is_some() {
            return Err("503 5.5.1 the message has a sender already");
        }
        let (from, parameters) = path(rest, "FROM:").ok_or("501 5.1.7 the form is MAIL FROM:<address>")?;
        for parameter in parameters.split_ascii_whitespace() {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name.to_ascii_uppercase().as_str() {
                "SIZE" => {
                    let size: u64 = value.parse().map_err(|_err| "501 5.5.4 SIZE must be a number")?;
                    if size > MAX_MESSAGE_BYTES as u64 {
                        return Err("552 5.3.4 message too big");
                    }
                }
                "BODY" if matches!(value.to_ascii_uppercase().as_str(), "7BIT" | "8BITMIME") => {}
                _ => return Err("555 5.5.4 unknown parameter"),
            }
        }
        self.from = Some(from.to_owned());
        Ok(Action::Reply("250 2.1.0 ok\r\n".to_owned()))
    }

    fn recipient(&mut self, rest: &str) -> Result<Action, &'static str> {
        if self.from.is_none() {
            return Err("503 5.5.1 MAIL comes first");
        }
        let (to, parameters) =
            path(rest, "TO:").filter(|(to, _)| !to.is_empty()).ok_or("501 5.1.3 the form is RCPT TO:<address>")?;
        if !parameters.trim().is_empty() {
            return Err("555 5.5.4 unknown parameter");
        }
        if self.to.len() >= MAX_RECIPIENTS {
            return Err("452 4.5.3 too many recipients");
        }
        self.to.push(to.to_owned());
        Ok(Action::Reply("250 2.1.5 ok\r\n".to_owned()))
    }
}

impl Data {
    /// Takes a line of the message. True at its end.
    fn add(&mut self, line: Line) -> bool {
        match line {
            Line::Text(line) if line == b"." => return true,
            Line::Text(line) => {
                let line = line.strip_prefix(b".").unwrap_or(&line);
                if self.content.len() + line.len() + 2 > MAX_MESSAGE_BYTES {
                    self.refuse("552 5.3.4 message too big");
                } else {
                    self.content.extend_from_slice(line);
                    self.content.extend_from_slice(b"\r\n");
                }
            }
            Line::Bare => self.refuse("554 5.6.0 a CR or LF stands alone"),
            Line::TooLong => self.refuse("554 5.6.0 line too long"),
        }
        false
    }

    fn refuse(&mut self, why: &'static str) {
        self.content = Vec::new();
        self.refusal.get_or_insert(why);
    }
}

/// Takes `FROM:<path> parameters` apart. A source route is dropped, as RFC 5321 section 4.1.1.3 asks.
fn path<'a>(text: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let (head, tail) = text.split_at_checked(keyword.len())?;
    let (path, parameters) = tail.trim_start().strip_prefix('<')?.split_once('>')?;
    let address = match path.strip_prefix('@') {
        Some(route) => route.split_once(':')?.1,
        None => path,
    };
    let parameters = (parameters.is_empty() || parameters.starts_with(' ')).then_some(parameters)?;
    (head.eq_ignore_ascii_case(keyword) && is_address(address)).then_some((address, parameters))
}

/// Empty, `Postmaster`, or local part and domain without blanks, brackets or control characters.
fn is_address(text: &str) -> bool {
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'(' | b')' | b','));
    let formed = match text.rsplit_once('@') {
        Some((local, domain)) => (1..=64).contains(&local.len()) && (1..=255).contains(&domain.len()),
        None => text.is_empty() || text.eq_ignore_ascii_case("postmaster"),
    };
    plain && formed
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// Plays the client's lines and shows the conversation.
    fn play(lines: &[&str]) -> String {
        let mut session = Session::default();
        let mut shown = String::new();
        for line in lines {
            let said = match session.feed(Line::Text(line.as_bytes().to_vec())) {
                Action::None => String::new(),
                Action::Reply(reply) => reply.replace('\r', ""),
                Action::Quit => "quit\n".to_owned(),
                Action::Deliver(Envelope { from, to, content, .. }) => {
                    format!("deliver {from} {to:?} {:?}\n", String::from_utf8_lossy(&content))
                }
            };
            shown.push_str(&said);
        }
        shown
    }

    #[test]
    fn a_message_is_handed_over() {
        expect![[r#"
            250-parcels.example
            250-SIZE 262144
            250-PIPELINING
            250-8BITMIME
            250 ENHANCEDSTATUSCODES
            250 2.1.0 ok
            250 2.1.5 ok
            250 2.1.5 ok
            354 end with <CR><LF>.<CR><LF>
            deliver a@x.example ["b@y.example", "Postmaster"] "Subject: hi\r\n\r\n.dotted\r\n.\r\n"
            250 2.0.0 ok
            quit
        "#]]
        .assert_eq(&play(&[
            "EHLO me",
            "mail from:<a@x.example> SIZE=100 BODY=8BITMIME",
            "RCPT TO:<@relay.example:b@y.example>",
            "RCPT TO:<Postmaster>",
            "DATA",
            "Subject: hi",
            "",
            "..dotted",
            "..",
            ".",
            "NOOP",
            "QUIT",
        ]));
    }

    #[test]
    fn order_and_form_are_kept() {
        expect![[r"
            503 5.5.1 EHLO comes first
            501 5.5.4 a host name or address must follow
            250 parcels.example
            503 5.5.1 MAIL comes first
            503 5.5.1 MAIL and RCPT come first
            501 5.1.7 the form is MAIL FROM:<address>
            501 5.1.7 the form is MAIL FROM:<address>
            552 5.3.4 message too big
            555 5.5.4 unknown parameter
            250 2.1.0 ok
            503 5.5.1 the message has a sender already
            501 5.1.3 the form is RCPT TO:<address>
            503 5.5.1 MAIL and RCPT come first
            250 2.0.0 ok
            503 5.5.1 MAIL comes first
            502 5.5.1 not implemented
            500 5.5.1 unknown command
        "]]
        .assert_eq(&play(&[
            "MAIL FROM:<a@x.example>",
            "HELO",
            "HELO me",
            "RCPT TO:<a@x.example>",
            "DATA",
            "MAIL FROM: a@x.example",
            "MAIL FROM:<a b@x.example>",
            "MAIL FROM:<a@x.example> SIZE=999999999",
            "MAIL FROM:<a@x.example> FOO=1",
            "MAIL FROM:<>",
            "MAIL FROM:<a@x.example>",
            "RCPT TO:<>",
            "DATA",
            "RSET",
            "RCPT TO:<a@x.example>",
            "STARTTLS",
            "BLAH",
        ]));
    }

    #[test]
    fn limits_hold() {
        let mut session = Session::default();
        for line in ["EHLO me", "MAIL FROM:<a@x.example>", "RCPT TO:<b@x.example>", "DATA"] {
            session.feed(Line::Text(line.into()));
        }
        for _ in 0..300 {
            assert_eq!(session.feed(Line::Text(vec![b'x'; 990])), Action::None);
        }
        assert_eq!(session.feed(Line::Text(b".".to_vec())), Action::Reply("552 5.3.4 message too big\r\n".into()));
        for (line, refusal) in
            [(Line::Bare, "554 5.6.0 a CR or LF stands alone"), (Line::TooLong, "554 5.6.0 line too long")]
        {
            for line in ["MAIL FROM:<a@x.example>", "RCPT TO:<b@x.example>", "DATA"] {
                session.feed(Line::Text(line.into()));
            }
            session.feed(line);
            assert_eq!(session.feed(Line::Text(b".".to_vec())), Action::Reply(format!("{refusal}\r\n")));
        }
        session.feed(Line::Text(b"MAIL FROM:<a@x.example>".to_vec()));
        let replies: Vec<_> =
            (0..101).map(|n| session.feed(Line::Text(format!("RCPT TO:<b{n}@x.example>").into_bytes()))).collect();
        assert_eq!(replies.last(), Some(&Action::Reply("452 4.5.3 too many recipients\r\n".into())));
        let long = format!("NOOP {}", "x".repeat(600));
        assert_eq!(session.feed(Line::Text(long.into_bytes())), Action::Reply("500 5.5.6 line too long\r\n".into()));
        let nonsense: Vec<_> = (0..30).map(|_| session.feed(Line::Text(b"BLAH".to_vec()))).collect();
        assert_eq!(nonsense.last(), Some(&Action::Quit));
    }

    proptest::proptest! {
        /// Whatever a client says, the server has one answer a line, each with a code, and stays within its bounds.
        #[test]
        fn nothing_said_is_too_odd(lines in proptest::collection::vec(
            "(EHLO |HELO |MAIL FROM:|RCPT TO:|DATA|RSET|NOOP|QUIT|\\.|)[<>@:a-c .=é]{0,12}", 0..60,
        )) {
            let mut session = Session::default();
            for line in lines {
                let in_data = session.data.is_some();
                let action = session.feed(Line::Text(line.into_bytes()));
                if let Action::Reply(reply) = &action {
                    proptest::prop_assert!(reply.ends_with("\r\n"));
                    proptest::prop_assert!(reply.as_bytes().iter().take(3).all(u8::is_ascii_digit));
                }
                proptest::prop_assert_eq!(action == Action::None, in_data && session.data.is_some());
            }
        }
    }
}
