//! The command line: noun, then verb. Exit codes: 0 done, 1 refused or not found, 2 wrong usage, 3 server not reachable.

mod calls;
mod client;
mod configuration;
mod doctor;
mod extensions;
mod fault;
mod guard;
mod help;
mod init;
mod keys;
mod logs;
mod mail;
mod reach;
mod schedule;
mod shape;
mod spanish;
mod status;
mod store;
mod trunks;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::config::Loaded;
use crate::data::DataDir;
use crate::lang::{self, Lang};
use crate::serve::{ServeOptions, serve};

pub use client::{Answer, Client};
pub use fault::Fault;

/// A telephone exchange in one binary: SIP server, PBX and REST API.
#[derive(Debug, Parser)]
#[command(name = "centralita", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    noun: Noun,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub struct Shared {
    /// Configuration file; must exist if named [default: centralita.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE", env = "CENTRALITA_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// Data directory
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "CENTRALITA_DATA",
        hide_env_values = true,
        default_value = "data"
    )]
    data: PathBuf,
    /// Output format
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    output: Output,
    /// Language of the output [default: that of the locale]
    #[arg(long, global = true, value_enum)]
    lang: Option<Lang>,
    /// API of the server, http://HOST:PORT [default: the server running on the data directory]
    #[arg(long, global = true, value_name = "URL", env = "CENTRALITA_URL", hide_env_values = true)]
    url: Option<String>,
    /// API key [default: admin.key of the data directory]
    #[arg(long, global = true, value_name = "KEY", env = "CENTRALITA_KEY", hide_env_values = true)]
    key: Option<String>,
}

/// Output format: for people or for programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Output {
    /// Columns
    Table,
    /// JSON
    Json,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// Run the server
    Serve {
        /// Listen for phones on all interfaces, and print their settings
        #[arg(long)]
        lan: bool,
    },
    /// Create the data directory, the first key and a configuration file
    Init(init::InitOptions),
    /// Show the state of the server
    Status,
    /// Check for problems that keep phones from working
    Doctor,
    /// Show the log
    Logs(logs::LogsOptions),
    /// API keys
    #[command(subcommand)]
    Key(keys::KeyVerb),
    /// Extensions
    #[command(subcommand)]
    Extension(extensions::ExtensionVerb),
    /// Trunks to carriers
    #[command(subcommand)]
    Trunk(trunks::TrunkVerb),
    /// Calls
    #[command(subcommand)]
    Call(calls::CallVerb),
    /// Sources banned after too many wrong passwords
    #[command(subcommand)]
    Guard(guard::GuardVerb),
    /// E-mail notifications of voicemail
    #[command(subcommand)]
    Mail(mail::MailVerb),
    /// Recurring calls
    #[command(subcommand)]
    Schedule(schedule::ScheduleVerb),
    /// The configuration
    #[command(subcommand)]
    Config(configuration::ConfigVerb),
    /// The database
    #[command(subcommand)]
    Store(store::StoreVerb),
    /// Write a consistent copy of the database, also while the server runs
    Backup {
        /// Path of the copy
        file: PathBuf,
    },
}

impl Shared {
    fn loaded(&self) -> Result<Loaded, Fault> {
        Loaded::read(self.config.as_deref(), std::env::vars_os())
            .map_err(|error| Fault::Refused(error.to_string()))
    }

    /// The same, but the file may be missing, because it is being created.
    fn loaded_or_default(&self) -> Result<Loaded, Fault> {
        Loaded::read_or_default(self.config.as_deref(), std::env::vars_os())
            .map_err(|error| Fault::Refused(error.to_string()))
    }

    fn data(&self) -> DataDir {
        DataDir::named(&self.data)
    }
}

/// Run the command line of this process.
pub fn run() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    // Help and usage errors are in the chosen language too, so the option is searched before the line is parsed.
    let named = help::option(&words, &["--lang"]).and_then(|name| Lang::from_str(&name, true).ok());
    lang::choose(named.unwrap_or_else(|| Lang::of_locale(|name| std::env::var_os(name))));
    let as_json = help::option(&words, &["-o", "--output"]).is_some_and(|name| name == "json");
    let parsed = help::translated(Cli::command(), lang::current()).try_get_matches_from(&words);
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) if as_json => return failed(&Fault::Usage(help::sentence(&error)), Output::Json),
        Err(error) => {
            eprint!("{}", help::usage_error(&error, lang::current()));
            return ExitCode::from(Fault::Usage(String::new()).exit_code());
        }
    };
    let output = cli.shared.output;
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => failed(&fault, output),
    }
}

/// Print an error to stderr, for people or for programs.
fn failed(fault: &Fault, output: Output) -> ExitCode {
    match output {
        Output::Table => eprintln!("centralita: {fault}"),
        Output::Json => eprintln!("{}", fault.json()),
    }
    ExitCode::from(fault.exit_code())
}

fn dispatch(cli: Cli) -> Result<(), Fault> {
    let shared = cli.shared;
    match cli.noun {
        Noun::Serve { lan } => {
            let options = ServeOptions { file: shared.config, data: shared.data, lan };
            serve(&options).map_err(|error| Fault::Refused(format!("{error:#}")))
        }
        Noun::Init(options) => init::run(&shared, &options),
        Noun::Guard(verb) => guard::run(&shared, verb),
        Noun::Mail(verb) => mail::run(&shared, verb),
        Noun::Status => status::run(&shared),
        Noun::Doctor => doctor::run(&shared),
        Noun::Logs(options) => logs::run(&shared, &options),
        Noun::Key(verb) => keys::run(&shared, verb),
        Noun::Extension(verb) => extensions::run(&shared, verb),
        Noun::Trunk(verb) => trunks::run(&shared, verb),
        Noun::Call(verb) => calls::run(&shared, verb),
        Noun::Schedule(verb) => schedule::run(&shared, verb),
        Noun::Config(verb) => configuration::run(&shared, verb),
        Noun::Store(verb) => store::run(&shared, verb),
        Noun::Backup { file } => reach::backup(&shared, &file),
    }
}

/// The help of every command, for a test that detects changes.
pub fn help(lang: Lang) -> String {
    let mut pages = Vec::new();
    let mut command = help::translated(Cli::command(), lang);
    command.build();
    collect(&mut command, &mut pages);
    pages.join("\n\n")
}

fn collect(command: &mut clap::Command, pages: &mut Vec<String>) {
    pages.push(command.render_help().to_string());
    for inner in command.get_subcommands_mut().filter(|inner| inner.get_name() != "help") {
        collect(inner, pages);
    }
}
