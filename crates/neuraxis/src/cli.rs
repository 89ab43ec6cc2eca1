//! The command line: kubectl's verbs for resources, nouns with verbs for the rest.

mod compress;
mod measure;
mod models;

use std::{net::SocketAddr, path::PathBuf};

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{EnumValueParser, TypedValueParser as _},
};
use nx_types::Duration;

pub(crate) use compress::{CompressArgs, Judge};
pub(crate) use measure::{ModelBenchArgs, TuneArgs};
pub(crate) use models::{InferArgs, ModelCommand, PullArgs};

/// A nervous system for AI in production.
#[derive(Debug, Parser)]
#[command(name = "neuraxis", version, max_term_width = 120, after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// How to print: for people, or for programs.
    #[arg(
        short,
        long,
        value_name = "OUTPUT",
        value_parser = EnumValueParser::<Format>::new().map(Output::Format),
        default_value = "human",
        global = true,
        help_heading = EVERYWHERE
    )]
    pub(crate) output: Output,
    /// Log more; twice and thrice for still more.
    #[arg(short, long, action = clap::ArgAction::Count, global = true, help_heading = EVERYWHERE)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The heading of the options that every command takes.
const EVERYWHERE: &str = "Options of every command";

const EXAMPLES: &str = "\
Examples:
  neuraxis up --example parcels                  start a server with the flagship example
  neuraxis dev agent.py                          start a server and a worker that reloads
  neuraxis run refund --input '{\"order\":\"A17\"}' --key A17
  neuraxis why refund/A17

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 not found; 4 the run failed or was cancelled; 5 the server cannot be reached";

/// How many entries a page may have.
fn limit(text: &str) -> Result<u64, String> {
    let number = text.parse::<u64>().ok().filter(|number| (1..=1000).contains(number));
    number.ok_or_else(|| "a number from 1 to 1000 is taken".to_owned())
}

/// An id, or its first letters.
fn id(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("an id, or its first letters, is wanted".to_owned()) } else { Ok(text.to_owned()) }
}

/// Which server to talk to.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// The server's address.
    #[arg(
        long,
        env = "NEURAXIS_URL",
        default_value = "http://127.0.0.1:7700",
        global = true,
        value_name = "URL",
        help_heading = EVERYWHERE
    )]
    pub(crate) url: String,
    /// A token; better in the environment than on a command line.
    #[arg(long, env = "NEURAXIS_TOKEN", hide_env_values = true, global = true, help_heading = EVERYWHERE)]
    pub(crate) token: Option<String>,
    /// The namespace.
    #[arg(
        short,
        long,
        env = "NEURAXIS_NAMESPACE",
        default_value = "default",
        global = true,
        help_heading = EVERYWHERE
    )]
    pub(crate) namespace: String,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    // Without a text for each, so that `--help` lists them in a line.
    Human,
    Json,
    Yaml,
}

/// What `-o` stands for: how to print, and where to write in a command that makes a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    /// How to print.
    Format(Format),
    /// Where to write.
    Folder(PathBuf),
}

impl Output {
    /// How to print.
    pub(crate) fn format(&self) -> Format {
        if let Self::Format(format) = self { *format } else { Format::Human }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a server.
    Up(UpArgs),
    /// Start a server and a Python worker that restarts when its file changes.
    Dev(DevArgs),
    /// Print the smallest manifest of a kind, to start from.
    Init(KindArg),
    /// Explain a kind's fields, or list the kinds.
    Help(HelpArgs),
    /// Create or change resources from manifests.
    Apply(ApplyArgs),
    /// List or print resources.
    Get(GetArgs),
    /// Print a resource with its status and latest events.
    Describe(NamedArgs),
    /// Delete a resource.
    Delete(NamedArgs),
    /// Show what `apply` would change.
    Diff(DiffArgs),
    /// Start a run and follow it to its end.
    Run(RunArgs),
    /// List, show, follow and repair runs.
    #[command(subcommand)]
    Runs(RunsCommand),
    /// List and decide what waits for a person.
    #[command(subcommand)]
    Approvals(ApprovalsCommand),
    /// Walk causation backwards: from a run, an approval, a step or an event to its first causes.
    Why(WhyArgs),
    /// Why the guard allowed, denied or asked: the rule, where each argument came from, what would change it.
    Explain(ExplainArgs),
    /// What policies have decided, and what they would decide.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Pull models, point aliases to their versions, roll back, delete.
    #[command(subcommand)]
    Model(ModelCommand),
    /// Ask a model: a picture, a file or numbers.
    Infer(InferArgs),
    /// Make a model smaller or faster, no more of its answers lost than is allowed, shown on data.
    Compress(Box<CompressArgs>),
    /// Events of the log.
    Events(EventsArgs),
    /// Prove and check the log.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Destroy a data subject's data; headers and proofs stay.
    Erase(EraseArgs),
    /// Erase data subjects that have lived long enough, and blobs that nothing names.
    Retain(RetainArgs),
    /// Wrap every data key by a new master key; the server must be stopped.
    RotateKey(RotateArgs),
    /// Export the log as CloudEvents, one a line.
    Export(ExportArgs),
    /// Copy a running server's log.
    Backup(BackupArgs),
    /// Make a data directory from a backup.
    Restore(RestoreArgs),
    /// Examine a data directory, or a running server's.
    Doctor(DoctorArgs),
    /// List connected workers.
    Workers,
    /// Make, list and revoke tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Measure this machine; one JSON object a line.
    Bench(BenchArgs),
    /// Print a shell's completion script.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  neuraxis up --data ./data --listen 127.0.0.1:0")]
pub(crate) struct UpArgs {
    /// The data directory; made when missing.
    #[arg(long, env = "NEURAXIS_DATA", default_value = "neuraxis-data")]
    pub(crate) data: PathBuf,
    /// The master key, 64 hexadecimal digits, instead of the file `keys/master.key`.
    #[arg(long, env = "NEURAXIS_MASTER_KEY", hide_env_values = true, value_name = "HEX")]
    pub(crate) master_key: Option<String>,
    /// Where to listen; port 0 picks a free one.
    #[arg(long, env = "NEURAXIS_LISTEN", default_value = "127.0.0.1:7700")]
    pub(crate) listen: SocketAddr,
    /// A folder whose files sources may replay; several may be given.
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Vec<PathBuf>,
    /// Run an example beside the server.
    #[arg(long, value_name = "NAME")]
    pub(crate) example: Option<String>,
    /// Leave the example's agents to another worker, such as its Python one.
    #[arg(long, requires = "example", hide = true)]
    pub(crate) example_agents_elsewhere: bool,
    /// Certificate chain (PEM); needed off loopback.
    #[arg(long, requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key (PEM).
    #[arg(long, requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Serve plain HTTP off loopback, because something in front encrypts.
    #[arg(long)]
    pub(crate) insecure_http: bool,
    /// Want tokens on loopback too.
    #[arg(long)]
    pub(crate) require_token: bool,
    /// Give every value one untrusted label, to measure what labels cost.
    #[arg(long, hide = true)]
    pub(crate) constant_label: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  neuraxis dev agent.py")]
pub(crate) struct DevArgs {
    /// The worker's Python file.
    pub(crate) file: PathBuf,
    /// The Python that runs it.
    #[arg(long, env = "NEURAXIS_PYTHON", default_value = "python3")]
    pub(crate) python: String,
    #[command(flatten)]
    pub(crate) up: UpArgs,
}

#[derive(Debug, Args)]
pub(crate) struct KindArg {
    /// The kind, for example `reflex`.
    pub(crate) kind: String,
}

#[derive(Debug, Args)]
pub(crate) struct HelpArgs {
    /// The kind; all of them are listed when left out.
    pub(crate) kind: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  neuraxis apply -f shop.yaml\n  cat *.yaml | neuraxis apply -f - --dry-run")]
pub(crate) struct ApplyArgs {
    /// Manifests: files, directories, or `-` for standard input.
    #[arg(short, long, required = true, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    /// Check and compare, change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  neuraxis diff -f shop.yaml")]
pub(crate) struct DiffArgs {
    /// Manifests: files, directories, or `-` for standard input.
    #[arg(short, long, required = true, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  neuraxis get reflexes\n  neuraxis get reflex overheat -o yaml")]
pub(crate) struct GetArgs {
    /// The kind, or KIND/NAME.
    pub(crate) kind: String,
    /// The name; all are listed when left out.
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct NamedArgs {
    /// The kind, or KIND/NAME.
    pub(crate) kind: String,
    /// The name.
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  neuraxis run refund --input '{\"order\":\"A17\"}' --key A17")]
pub(crate) struct RunArgs {
    /// The agent.
    pub(crate) agent: String,
    /// The input, JSON; `@FILE` reads a file, `-` standard input.
    #[arg(short, long, default_value = "{}")]
    pub(crate) input: String,
    /// Start at most one run with this key; a second command follows the first one's run.
    #[arg(short, long)]
    pub(crate) key: Option<String>,
    /// Longest time the run may take.
    #[arg(long, value_name = "DURATION")]
    pub(crate) deadline: Option<Duration>,
    /// Print the run's id and return.
    #[arg(long)]
    pub(crate) detach: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// List runs, newest first.
    List(RunsListArgs),
    /// Show a run with its steps, the newest thousand unless asked otherwise.
    #[command(after_help = "Examples:\n  neuraxis runs show r_7f3\n  neuraxis runs show r_7f3 --after 0 --limit 50")]
    Show {
        /// The run, or the first letters of its id.
        #[arg(value_parser = id)]
        run: String,
        /// Steps behind this one; 0 for the first ones.
        #[arg(long, value_name = "STEP")]
        after: Option<u64>,
        /// Most steps, up to 1000.
        #[arg(long, value_parser = limit)]
        limit: Option<u64>,
        /// Show arguments and values in full.
        #[arg(long)]
        full: bool,
    },
    /// Follow a run to its end.
    Watch {
        /// The run, or the first letters of its id.
        #[arg(value_parser = id)]
        run: String,
    },
    /// Cancel a run; its completed steps are undone.
    Cancel {
        /// The run.
        #[arg(value_parser = id)]
        run: String,
        /// Why.
        #[arg(long, default_value = "cancelled by hand")]
        reason: String,
    },
    /// Send a signal to a run.
    Signal {
        /// The run.
        #[arg(value_parser = id)]
        run: String,
        /// The signal's name.
        name: String,
        /// Its value, JSON.
        #[arg(long, default_value = "null")]
        payload: String,
        /// Makes the signal idempotent.
        #[arg(long)]
        id: Option<String>,
    },
    /// Start a new run from a prefix of another's record.
    #[command(after_help = "Example:\n  neuraxis runs fork r_7f3 --at 3 --result '{\"ok\":true}'")]
    Fork {
        /// The run.
        #[arg(value_parser = id)]
        run: String,
        /// The first step that is not reused; all recorded steps are reused when left out.
        #[arg(long, value_name = "STEP")]
        at: Option<u64>,
        /// Another input, JSON.
        #[arg(long)]
        input: Option<String>,
        /// Another result of the step at which it forks, JSON.
        #[arg(long, requires = "at")]
        result: Option<String>,
        /// Perform later effects; otherwise they are simulated.
        #[arg(long)]
        live: bool,
    },
    /// Re-open failed runs: their completed steps keep.
    Retry {
        /// The run; without one, all that the filters name.
        #[arg(value_parser = id)]
        run: Option<String>,
        /// All failed runs of this agent.
        #[arg(long)]
        agent: Option<String>,
        /// All failed runs that ended with this error.
        #[arg(long)]
        error: Option<String>,
        /// All failed runs.
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RunsListArgs {
    /// Only this status: queued, running, waiting, compensating, completed, failed, cancelled.
    #[arg(long)]
    pub(crate) status: Option<String>,
    /// Only this agent.
    #[arg(long)]
    pub(crate) agent: Option<String>,
    /// Only runs that need a person: failed, in doubt, asking, waiting for approval.
    #[arg(long)]
    pub(crate) inbox: bool,
    /// Only the run with this key.
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Most runs, up to 1000.
    #[arg(long, default_value_t = 50, value_parser = limit)]
    pub(crate) limit: u64,
    /// Continue after this cursor.
    #[arg(long)]
    pub(crate) cursor: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApprovalsCommand {
    /// List what waits for a person.
    List {
        /// Also what was decided.
        #[arg(long)]
        all: bool,
        /// Most approvals, up to 1000.
        #[arg(long, default_value_t = 50, value_parser = limit)]
        limit: u64,
        /// Continue after this cursor.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Show a question with its exact arguments.
    Show {
        /// The approval, or the first letters of its id.
        #[arg(value_parser = id)]
        id: String,
    },
    /// Say yes.
    #[command(after_help = "Example:\n  neuraxis approvals approve a_3k9 --reason 'called the customer'")]
    Approve(DecideArgs),
    /// Say no.
    Deny(DecideArgs),
    /// Answer another question: `reuse`, `run`, `complete`, `not_done` or `fail`.
    Rule {
        /// The answer.
        decision: String,
        #[command(flatten)]
        args: DecideArgs,
        /// The value, JSON, for `complete`.
        #[arg(long)]
        value: Option<String>,
        /// The step, for `reuse`.
        #[arg(long)]
        step: Option<u64>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DecideArgs {
    /// The approval, or the first letters of its id.
    #[arg(value_parser = id)]
    pub(crate) id: String,
    /// Why, for the record.
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// The hash of the arguments you saw; without it they are shown and asked for.
    #[arg(long)]
    pub(crate) hash: Option<String>,
    /// Other arguments, JSON, if the question allows it.
    #[arg(long, value_name = "JSON")]
    pub(crate) edit: Option<String>,
    /// Decide on the arguments as they are now, without asking.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  neuraxis why refund/A17\n  neuraxis why r_7f3 -o json")]
pub(crate) struct WhyArgs {
    /// A run (r_…), an approval (a_…), a step (refund/A17), or a place in the log.
    pub(crate) target: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  neuraxis explain r_7f3/4\n  neuraxis explain a_91c\n  neuraxis explain r_7f3 -o json"
)]
pub(crate) struct ExplainArgs {
    /// A step (`r_7f3/4`), a run or guard session (its newest decision), an approval (a_…), or a place in the log.
    pub(crate) target: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// List what the guard decided, newest first.
    #[command(after_help = "Example:\n  neuraxis policy decisions --outcome deny --since 7d")]
    Decisions(DecisionsArgs),
    /// Run the tests of policies: those that are applied, with the manifests in place of those of the same name.
    #[command(after_help = "Example:\n  neuraxis policy test -f policies.yaml")]
    Test {
        /// Manifests that are not applied yet: files, directories, or `-` for standard input.
        #[arg(short, long, value_name = "FILE")]
        file: Vec<PathBuf>,
    },
    /// Which recorded calls would these policies decide otherwise?
    #[command(after_help = "Example:\n  neuraxis policy diff -f policies.yaml --since 7d")]
    Diff {
        /// Manifests of the policies: files, directories, or `-` for standard input.
        #[arg(short, long, value_name = "FILE", required = true)]
        file: Vec<PathBuf>,
        /// Only calls of so long ago at most, for example 7d.
        #[arg(long, value_name = "DURATION")]
        since: Option<String>,
    },
    /// The narrowest rule that would have answered a question, and what else it would have let through.
    #[command(after_help = "Example:\n  neuraxis policy propose a_91c --reason \"Ann's refunds\" --since 30d")]
    Propose {
        /// The decision that asked (`r_7f3/4`), or its approval (a_…).
        target: String,
        /// Why people want it, for the record.
        #[arg(long)]
        reason: Option<String>,
        /// Hold it against calls of so long ago at most, for example 7d.
        #[arg(long, value_name = "DURATION")]
        since: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DecisionsArgs {
    /// Only this outcome: allow, ask or deny.
    #[arg(long, value_parser = ["allow", "ask", "deny"])]
    pub(crate) outcome: Option<String>,
    /// Only those about this tool.
    #[arg(long, value_name = "TOOL")]
    pub(crate) call: Option<String>,
    /// Only those of this run or guard session.
    #[arg(long)]
    pub(crate) run: Option<String>,
    /// Only those of so long ago at most, for example 7d.
    #[arg(long, value_name = "DURATION")]
    pub(crate) since: Option<String>,
    /// Most decisions.
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: usize,
    /// Continue behind an earlier page.
    #[arg(long)]
    pub(crate) cursor: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  neuraxis events --type step. --follow")]
pub(crate) struct EventsArgs {
    /// The first place; the newest events when left out.
    #[arg(long)]
    pub(crate) from: Option<u64>,
    /// Only types that start so.
    #[arg(long = "type")]
    pub(crate) kind: Option<String>,
    /// Only this subject.
    #[arg(long)]
    pub(crate) subject: Option<String>,
    /// Most events, up to 1000.
    #[arg(long, default_value_t = 50, value_parser = limit)]
    pub(crate) limit: u64,
    /// Go on with what comes.
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Check every record, the tree, checkpoints and state.
    #[command(
        after_help = "Examples:\n  neuraxis audit verify --data ./neuraxis-data --checkpoint kept.txt\n  neuraxis audit verify --tiles ./export --key \"$(neuraxis audit key)\"\n  neuraxis audit verify --proof event3.txt --key \"$(neuraxis audit key)\""
    )]
    Verify {
        /// A data directory whose server is stopped; the running server's log when left out.
        #[arg(long)]
        data: Option<PathBuf>,
        /// An exported tile directory, checked without any server.
        #[arg(long, conflicts_with = "data")]
        tiles: Option<PathBuf>,
        /// A proof of one event, as `audit prove` prints it, checked without any server.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "tiles", "checkpoint"])]
        proof: Option<PathBuf>,
        /// A checkpoint that was kept elsewhere: finds truncation and rewriting.
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
        /// The verifier key that signed it, as `audit key` prints it.
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
    },
    /// Prove that an event stands in the log.
    Prove {
        /// The event's place.
        seq: u64,
    },
    /// Sign and print the log's state; keep it elsewhere.
    Checkpoint,
    /// Print the verifier key.
    Key,
    /// Write the tree as C2SP tlog-tiles.
    Tiles {
        /// A new directory on this machine.
        to: PathBuf,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  neuraxis erase run/r_7f3k2m9q0a1b2c3d --reason 'request of the customer'")]
pub(crate) struct EraseArgs {
    /// The data subject; a run's is `run/r_…`.
    pub(crate) data_subject: String,
    /// Why, for the record.
    #[arg(long)]
    pub(crate) reason: String,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  neuraxis retain --prefix run/ --older-than 180d")]
pub(crate) struct RetainArgs {
    /// Only data subjects that start so; a run's is `run/r_…`.
    #[arg(long, default_value = "run/")]
    pub(crate) prefix: String,
    /// Erase those whose newest event is older than this.
    #[arg(long, value_name = "DURATION")]
    pub(crate) older_than: Duration,
    /// Most data subjects in one call, up to 1000.
    #[arg(long, default_value_t = 1000, value_parser = limit)]
    pub(crate) limit: u64,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  neuraxis rotate-key --data ./neuraxis-data")]
pub(crate) struct RotateArgs {
    /// The data directory.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// The present key, if it is not in `keys/master.key`: 64 hexadecimal digits.
    #[arg(long, env = "NEURAXIS_MASTER_KEY", hide_env_values = true, hide = true)]
    pub(crate) master_key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// A data directory whose server is stopped; the running server when left out.
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
    /// The first place.
    #[arg(long, default_value_t = 0)]
    pub(crate) from: u64,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  neuraxis backup --to /backups/monday")]
pub(crate) struct BackupArgs {
    /// A new directory on this machine.
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  neuraxis restore ./backup --data ./neuraxis-data --erasures ./old/keys/erasures.jsonl"
)]
pub(crate) struct RestoreArgs {
    /// The backup.
    pub(crate) backup: PathBuf,
    /// The new data directory.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// The list of erasures that came after the backup: they are applied again.
    #[arg(long)]
    pub(crate) erasures: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// A data directory whose server is stopped; the running server's when left out.
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print its secret once.
    #[command(after_help = "Example:\n  neuraxis token create maria --role operator --role lead")]
    Create {
        /// Whose it is.
        name: String,
        /// admin, operator, viewer, worker, or a role that approvals ask.
        #[arg(long, required = true)]
        role: Vec<String>,
    },
    /// List tokens.
    List,
    /// Revoke a token.
    Revoke {
        /// Whose it is.
        name: String,
    },
}

#[derive(Debug, Args)]
#[command(
    after_help = "Names: journal.append journal.verify runs.native.c1 runs.native.c8 runs.native.c64 runs.resume.history runs.resume.carry start.ready_ms"
)]
pub(crate) struct BenchArgs {
    /// What to measure; a prefix measures all below it.
    pub(crate) name: String,
    /// A directory on the disk to measure; a temporary one when left out.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Steps of the run that is killed and resumed.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) steps: u64,
    /// How long each measurement lasts.
    #[arg(long, default_value = "5s")]
    pub(crate) time: Duration,
}
