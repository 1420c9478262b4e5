//! `zeopasswd`: keeps the password file of ZEO 4's digest authentication (`ZEO/zeopasswd.py`, 4.3.1).

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use zeo_server::auth::{DatabaseError, PasswordDatabase};
use zeo_server::cli;
use zeo_server::zconfig::System;

/// Adds a user to the password file that a ZEO server with "authentication-protocol digest" reads at its start, changes the
/// password of one, or deletes one.
///
/// The scheme tells the server who its clients of ZEO 4 are. It does not encrypt anything: whoever reads along reads all,
/// and can try passwords. Where that matters, use TLS.
#[derive(Debug, Parser)]
#[command(name = "zeopasswd", version, after_help = AFTER)]
struct Arguments {
    /// The server's configuration file, which names the password file and the realm.
    #[arg(short = 'C', long = "configure", alias = "configuration", value_name = "FILE", conflicts_with_all = ["filename", "protocol"])]
    configuration: Option<PathBuf>,
    /// The password file; it is made if it does not exist.
    #[arg(short = 'f', long, value_name = "FILE")]
    filename: Option<PathBuf>,
    /// The scheme. There is no other than digest.
    #[arg(short = 'p', long, value_name = "NAME")]
    protocol: Option<String>,
    /// The realm; it has to be that of the file if that has one.
    #[arg(short = 'r', long)]
    realm: Option<String>,
    /// Delete the user.
    #[arg(short = 'd', long)]
    delete: bool,
    /// Change the password of a user that exists.
    #[arg(short = 'c', long, conflicts_with = "delete")]
    change: bool,
    /// The user.
    username: String,
    /// The password. Other users of this machine can see it in the list of processes: better leave it out, and be asked
    /// for it.
    #[arg(conflicts_with = "delete")]
    password: Option<String>,
}

const AFTER: &str = "\
Examples:
  zeopasswd -f /etc/zeo/passwords -r \"zeo realm\" alice
  zeopasswd -C /etc/zeo/zeo.conf --change alice
  zeopasswd -C /etc/zeo/zeo.conf -d alice

The exit status is 0 if it is done, 1 if not, 2 if the options are wrong.";

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    match run(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(error)) => {
            // Nobody to tell if that fails.
            let _ = error.print();
            u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE).into()
        }
        Err(Failure::Configuration(text)) => {
            eprintln!("Error: {text}");
            EXIT_USAGE.into()
        }
        Err(error) => {
            eprintln!("Error: {error}");
            EXIT_FAILED.into()
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Usage(#[from] clap::Error),
    #[error("{0}")]
    Configuration(String),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("cannot ask for the password: {0}")]
    Prompt(io::Error),
    #[error("the passwords differ")]
    Different,
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<(), Failure> {
    let arguments = Arguments::try_parse_from(arguments)?;
    let (path, realm) = place(&arguments)?;
    let mut database = PasswordDatabase::open(path, realm.as_deref())?;
    let user = &arguments.username;
    if arguments.delete {
        database.delete(user)?;
    } else {
        let password = match &arguments.password {
            Some(password) => password.clone(),
            None => ask()?,
        };
        if arguments.change {
            database.change(user, &password)?;
        } else {
            database.add(user, &password)?;
        }
    }
    Ok(database.save()?)
}

/// The password file and the realm.
fn place(arguments: &Arguments) -> Result<(PathBuf, Option<String>), Failure> {
    if let Some(protocol) = arguments.protocol.as_deref().filter(|protocol| *protocol != "digest") {
        return Err(Failure::Configuration(format!("unknown scheme {protocol:?}; there is only digest")));
    }
    if let Some(configuration) = &arguments.configuration {
        let words = ["runzeo".into(), "-C".into(), configuration.into()];
        let config = cli::parse(words, &System).map_err(|_| {
            Failure::Configuration(format!(
                "{}: runzeo would not start with it, and says why",
                configuration.display()
            ))
        })?;
        let options = config.server.authentication.ok_or_else(|| {
            Failure::Configuration(format!("{}: no authentication-protocol", configuration.display()))
        })?;
        return Ok((options.database, arguments.realm.clone().or(options.realm)));
    }
    match &arguments.filename {
        Some(path) => Ok((path.clone(), arguments.realm.clone())),
        None => Err(<Arguments as clap::CommandFactory>::command()
            .error(ErrorKind::MissingRequiredArgument, "either -C or -f is needed")
            .into()),
    }
}

/// Asks on the terminal, twice; without one the first line of the input is the password.
fn ask() -> Result<String, Failure> {
    use std::io::IsTerminal as _;
    if !io::stdin().is_terminal() {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map_err(Failure::Prompt)?;
        return Ok(line.trim_end_matches(['\n', '\r']).to_owned());
    }
    let password = rpassword::prompt_password("Enter password: ").map_err(Failure::Prompt)?;
    let again = rpassword::prompt_password("Again: ").map_err(Failure::Prompt)?;
    if password == again { Ok(password) } else { Err(Failure::Different) }
}
