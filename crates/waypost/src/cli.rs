//! The commands: what may be typed, what each one runs, and which code the process ends with.
//!
//! 0 is done, 1 is failed, 2 is wrong usage or configuration; 1 and 2 come with one line on standard error.
//! Must not do the work itself, and must not print but through [`output`].

pub(crate) mod admin_token;
mod healthcheck;
mod simulate;

use std::{
    env, ffi::OsString, future::Future, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration,
};

use anyhow::Context;
use clap::{Args, Parser, Subcommand, error::ErrorKind};

use crate::{
    application,
    config::{ConfigError, Settings},
    dev, output,
    roles::{Role, Roles},
    shutdown::Shutdown,
    telemetry,
};

/// Names the configuration file when `--config` does not.
const CONFIG_VARIABLE: &str = "WAYPOST_CONFIG";
const WRONG_USAGE: u8 = 2;
/// What threads that still work may take when everything else has ended.
const LAST_MOMENT: Duration = Duration::from_secs(1);
const EXAMPLES: &str = "\
Examples:
  waypost dev                                    everything on this machine, nothing to configure
  waypost config check --config waypost.toml     say whether a configuration is right
  waypost migrate --config waypost.toml          bring the database to the current schema
  waypost serve --config waypost.toml            run all roles in one process
  waypost serve --role ingress --role relay      run some of them
  waypost admin token --role operator --ttl 8h   a token for the admin API and the dashboard

Settings come from the file of --config or WAYPOST_CONFIG, and from variables, which win:
server.public_listen is WAYPOST__SERVER__PUBLIC_LISTEN. WAYPOST_LOG=debug shows more.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.";

/// Receives Microsoft Graph change notifications for many tenants and delivers them, signed, to your backend.
#[derive(Debug, Parser)]
#[command(name = "waypost", version, after_help = EXAMPLES, max_term_width = 110)]
struct Cli {
    /// The configuration file (TOML)
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the relay: all roles, or the ones that are named
    Serve {
        /// A role of this process; repeat it for several [default: all]
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<Role>,
    },
    /// Bring the database to the current schema; safe to run twice and beside running processes
    Migrate,
    /// Run everything on this machine with a private PostgreSQL and a simulated Microsoft Graph
    Dev(DevArguments),
    /// Run the simulator of Microsoft Graph and Entra alone
    Simulate(simulate::Arguments),
    /// Administer a running Waypost
    #[command(subcommand)]
    Admin(AdminCommand),
    /// Print the OpenAPI document
    Openapi,
    /// End with 0 when the process on this machine is ready, otherwise with 1
    Healthcheck,
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
    /// Print a token for the admin API, signed with the configured secret
    Token(admin_token::Arguments),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Validate the configuration and print it with secrets masked
    Check,
}

#[derive(Debug, Args)]
struct DevArguments {
    /// Send the demonstration's notifications, then end: with 0 when every one arrived intact
    #[arg(long)]
    once: bool,
    /// Where the private PostgreSQL keeps its data
    #[arg(long, value_name = "DIR", default_value = ".waypost")]
    data_dir: PathBuf,
    /// Where ingress and environment API listen
    #[arg(long, value_name = "ADDRESS")]
    public_listen: Option<SocketAddr>,
    /// Where admin API and metrics listen
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
}

/// Runs the command that `arguments`, the program's name first, ask for.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    ended(execute(cli))
}

/// The code that a command ends with; why it failed is said here.
fn ended(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&reason(&error));
            let wrong = error.downcast_ref::<ConfigError>().is_some();
            if wrong { ExitCode::from(WRONG_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

/// Writes the result of a command.
fn print(text: &str) -> anyhow::Result<()> {
    output::print(text).context("the result could not be written to standard output")
}

/// An error and its causes, less those that the one before has told already.
fn reason(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.is_empty() {
            told = cause;
        } else if !told.ends_with(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

fn execute(cli: Cli) -> anyhow::Result<()> {
    if matches!(cli.command, Command::Openapi) {
        return print(&application::openapi()?);
    }
    let named = env::var_os(CONFIG_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    let settings = Settings::load(cli.config.or(named).as_deref())?;
    match cli.command {
        Command::Openapi => Ok(()),
        Command::Serve { roles } => {
            let roles = Roles::chosen(&roles);
            settings.check_for_serve(&roles)?;
            long_running(&settings.clone(), telemetry::SERVICE, |shutdown| {
                application::serve(settings, roles, shutdown)
            })
        }
        Command::Migrate => {
            // Not a wrong usage: without a database this command has simply failed.
            anyhow::ensure!(settings.database.url.is_some(), "{}", Settings::database_missing());
            telemetry::init(&settings.telemetry, telemetry::SERVICE)?;
            block_on(application::migrate(&settings))
        }
        Command::Dev(DevArguments { once, data_dir, public_listen, admin_listen }) => {
            let options = dev::Options { once, data_dir, public_listen, admin_listen };
            long_running(&settings.clone(), telemetry::QUIET, |shutdown| {
                dev::run(settings, options, shutdown)
            })
        }
        Command::Simulate(arguments) => {
            long_running(&settings, telemetry::SERVICE, |shutdown| simulate::run(arguments, shutdown))
        }
        Command::Admin(AdminCommand::Token(arguments)) => {
            let clock = waypost_core::clock::SystemClock;
            let token = admin_token::make(&settings.admin, &arguments, &clock)?;
            print(&format!("{token}\n"))
        }
        Command::Healthcheck => block_on(healthcheck::run(settings.server.admin_listen)),
        Command::Config(ConfigCommand::Check) => {
            let roles = Roles::chosen(&[]);
            settings.check_built(&roles)?;
            print(&settings.masked())?;
            if let Err(missing) = settings.check_for_serve(&roles) {
                output::note(&format!("`waypost serve` will not start like this: {missing}"));
            }
            Ok(())
        }
    }
}

/// Runs a command that lasts until a signal ends it.
fn long_running<F>(
    settings: &Settings,
    filter: &str,
    command: impl FnOnce(Shutdown) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    telemetry::init(&settings.telemetry, filter)?;
    let shutdown = Shutdown::new();
    block_on(async {
        shutdown.on_signals().context("signals cannot be received")?;
        command(shutdown).await
    })
}

fn block_on<F: Future<Output = anyhow::Result<()>>>(work: F) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the threads of the program cannot be started")?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_MOMENT);
    done
}

/// Answers what is not a command to run: help and version, or usage that is wrong.
fn explain(error: &clap::Error) -> ExitCode {
    let text = error.render();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            ended(print(&if output::is_terminal() { text.ansi().to_string() } else { text.to_string() }))
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            output::error("a command is missing; `waypost --help` lists them all");
            ExitCode::from(WRONG_USAGE)
        }
        _ => {
            output::error(&format!("{}; see `waypost --help`", in_short(&text.to_string())));
            ExitCode::from(WRONG_USAGE)
        }
    }
}

/// What is wrong and the tip for it, without the usage that clap adds.
fn in_short(report: &str) -> String {
    let lines: Vec<&str> = report
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .filter(|line| !line.is_empty())
        .collect();
    lines.join(" ").trim_start_matches("error: ").replace(" tip: ", "; ")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{Cli, reason};

    #[test]
    fn the_commands_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_reason_is_told_once() {
        let error = anyhow::anyhow!("refused").context("can't connect: refused").context("no database");
        assert_eq!(reason(&error), "no database: can't connect: refused");
    }
}
