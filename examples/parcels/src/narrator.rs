//! The narrator: events of the log in, a line for people out. It decides nothing, reads nothing, and names only what
//! exists; the same events give the same lines.

mod lines;

use std::collections::BTreeMap;

use nx_types::Header;
use serde_json::Value;

/// Where the command line looks for a server.
const DEFAULT_URL: &str = "http://127.0.0.1:7700";
/// Most runs, and most steps of a run, that are told apart; beyond it the oldest is forgotten and goes by number.
const MAX_RUNS: usize = 512;
const MAX_STEPS: usize = 1024;
/// Of the motor's readings, one in so many is told: a line every two seconds.
const READINGS_A_LINE: u64 = 60;
/// Of the digits that the model reads, likewise.
const DIGITS_A_LINE: u64 = 15;

/// What is real in the example, what is replayed and what is simulated.
pub const REAL: &str = "real: motor series, handwritten digits and the network that reads them, SMTP, SQLite, payment protocol · \
                        replayed: motor series, 9,000 times as fast; digits, as labels of parcels · simulated: conveyor, camera, \
                        shop's orders, customers, payment faults · models: digits@1 reads labels; none is configured for mail, \
                        plain code reads it";

/// An event as the lines need it.
#[derive(Debug, Clone, Copy)]
struct Event<'a> {
    /// Its type: `step.completed`.
    kind: &'a str,
    /// Its subject: `run/r_…`.
    subject: &'a str,
    data: &'a Value,
}

/// Tells the story. What it remembers is bounded.
#[derive(Debug)]
pub struct Narrator {
    command: String,
    runs: BTreeMap<String, Run>,
    readings: u64,
    digits: u64,
    hints: Hints,
}

/// What is remembered of a run.
#[derive(Debug, Default)]
struct Run {
    agent: String,
    /// The mail that it is about.
    mail: Option<String>,
    /// The guard denied it something.
    denied: bool,
    steps: BTreeMap<u64, Step>,
}

/// What is remembered of a step.
#[derive(Debug, Clone, Default)]
struct Step {
    name: String,
    kind: String,
}

/// Which commands were named already: each is named once.
#[derive(Debug, Clone, Copy, Default)]
struct Hints {
    show: bool,
    why: bool,
    why_mail: bool,
    why_digit: bool,
    kill: bool,
}

impl Narrator {
    /// A narrator for the server at `url`: its hints name it if it is not where the command line looks.
    pub fn new(url: &str) -> Self {
        let url = url.trim_end_matches('/');
        let command = if url == DEFAULT_URL { "neuraxis".to_owned() } else { format!("neuraxis --url {url}") };
        Self { command, runs: BTreeMap::new(), readings: 0, digits: 0, hints: Hints::default() }
    }

    /// The lines before the first event.
    pub fn opening(&self) -> Vec<String> {
        vec![
            "a parcel dock: a conveyor, a camera, a shop with 200 orders, a payment service, a carrier, a mail server, \
             customers"
                .to_owned(),
            REAL.to_owned(),
            format!("watch the motor; try: {} runs list", self.command),
        ]
    }

    /// The line that an event of the log is worth, if it is worth one. Without data it was erased.
    pub fn line(&mut self, header: &Header, data: Option<&[u8]>) -> Option<String> {
        let data: Value = serde_json::from_slice(data?).ok()?;
        self.tell(Event { kind: header.kind.as_str(), subject: header.subject.as_str(), data: &data })
    }

    /// Takes note of an event that was told at an earlier start: later events of its run and steps go by their names.
    pub fn recall(&mut self, header: &Header, data: Option<&[u8]>) {
        let hints = self.hints;
        drop(self.line(header, data));
        self.hints = hints;
    }

    fn tell(&mut self, event: Event<'_>) -> Option<String> {
        match event.kind {
            "motor.reading" => self.reading(event.data),
            "belt.stopped" => Some(format!("belt   {} stands", text(event.data, "belt"))),
            "parcel.late" => Some(lines::late(event.data)),
            "mail.received" => Some(lines::mail(event.data)),
            "model.decided" => self.digit(event.data),
            "parcel.misread" => Some(self.misread(event.data)),
            _ => {
                let id = event.subject.strip_prefix("run/")?;
                self.of_run(id, event)
            }
        }
    }

    fn reading(&mut self, data: &Value) -> Option<String> {
        let told = self.readings.is_multiple_of(READINGS_A_LINE);
        self.readings += 1;
        let value = data.get("value")?.as_f64()?;
        told.then(|| format!("motor  {value:5.1} at {}", text(data, "timestamp")))
    }

    /// A digit that was read: of those of the camera, a few.
    fn digit(&mut self, data: &Value) -> Option<String> {
        let parcel = data.pointer("/context/parcel").and_then(Value::as_str)?;
        let told = self.digits.is_multiple_of(DIGITS_A_LINE);
        self.digits += 1;
        told.then(|| lines::digit(parcel, data))
    }

    fn misread(&mut self, data: &Value) -> String {
        let line = lines::misread(data);
        if std::mem::replace(&mut self.hints.why_digit, true) {
            return line;
        }
        format!("{line} · try: {} why parcel/{}", self.command, lines::plain(text(data, "parcel"), 20))
    }

    fn of_run(&mut self, id: &str, event: Event<'_>) -> Option<String> {
        let data = event.data;
        if event.kind == "run.created" {
            return Some(self.created(id, data));
        }
        if event.kind.starts_with("step.") {
            self.remember(id, data);
        }
        if event.kind == "guard.decided"
            && lines::denies(data)
            && let Some(run) = self.runs.get_mut(id)
        {
            run.denied = true;
        }
        let line = lines::of_run(self, id, event)?;
        let hint = self.hint(id, event);
        if event.kind == "run.completed" {
            self.runs.remove(id);
        }
        Some(format!("{}  {line}{hint}", lines::short(id)))
    }

    fn created(&mut self, id: &str, data: &Value) -> String {
        let agent = text(data, "agent").to_owned();
        let input = data.get("input").unwrap_or(&Value::Null);
        let mail = (agent == "answer-mail").then(|| lines::plain(text(input, "id"), 40));
        let about = mail.clone().unwrap_or_else(|| lines::input(input));
        let by = text(data, "by");
        let line = format!("{}  {agent} {about} ← {by}", lines::short(id));
        if self.runs.len() >= MAX_RUNS {
            self.runs.pop_first();
        }
        self.runs.insert(id.to_owned(), Run { agent, mail, ..Run::default() });
        line
    }

    /// Keeps who a step is: later events of it name only its number.
    fn remember(&mut self, id: &str, data: &Value) {
        let (Some(run), Some(n)) = (self.runs.get_mut(id), data.get("n").and_then(Value::as_u64)) else { return };
        if run.steps.len() >= MAX_STEPS {
            run.steps.pop_first();
        }
        let step = run.steps.entry(n).or_default();
        if let Some(identity) = data.get("step").filter(|identity| identity.is_object()) {
            step.name = lines::step_name(identity);
            text(identity, "kind").clone_into(&mut step.kind);
        }
    }

    /// The mail that a run is about.
    fn mail(&self, id: &str) -> Option<&str> {
        self.runs.get(id)?.mail.as_deref()
    }

    /// What is known of the step that an event is about.
    fn known(&self, id: &str, data: &Value) -> Option<Step> {
        let n = data.get("n")?.as_u64()?;
        self.runs.get(id)?.steps.get(&n).filter(|step| !step.name.is_empty()).cloned()
    }

    fn step(&self, id: &str, data: &Value) -> Step {
        self.known(id, data).unwrap_or_else(|| {
            let n = data.get("n").and_then(Value::as_u64).unwrap_or(0);
            Step { name: format!("step {n}"), ..Step::default() }
        })
    }

    /// The command to try next, each one once.
    fn hint(&mut self, id: &str, event: Event<'_>) -> String {
        let run = self.runs.get(id);
        let refund = run.is_some_and(|run| run.agent == "redirect-and-refund");
        let denied = run.is_some_and(|run| run.denied);
        let order = || event.data.get("result").map(|result| text(result, "order")).unwrap_or_default();
        let once = |said: &mut bool| !std::mem::replace(said, true);
        let hint = match event.kind {
            "approval.requested" => format!("approvals approve {}", text(event.data, "id")),
            "approval.decided" if once(&mut self.hints.kill) => format!("runs watch {}", lines::short(id)),
            "guard.decided" => {
                let n = event.data.get("n").and_then(Value::as_u64).unwrap_or(0);
                format!("explain {}/{n}", lines::short(id))
            }
            "run.completed" if denied && once(&mut self.hints.why_mail) => format!("why refund/{}", order()),
            "run.completed" if refund && once(&mut self.hints.show) => format!("runs show {}", lines::short(id)),
            "run.completed" if refund && self.hints.kill && once(&mut self.hints.why) => {
                format!("why refund/{}", order())
            }
            _ => return String::new(),
        };
        format!(" · try: {} {hint}", self.command)
    }
}

/// A field's text; empty if it has none.
fn text<'a>(data: &'a Value, field: &str) -> &'a str {
    data.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
