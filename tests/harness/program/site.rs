//! What the processes of one installation share: a database, a file of settings, and a folder for their logs.

use std::fs::{self, File, OpenOptions};
use std::process::{Output, Stdio};

use tempfile::TempDir;
use tokio::process::Command;

use super::{Listen, PATIENCE, Program, executable};
use crate::client::Client;

/// A key of 32 bytes; only tests have it.
const ENCRYPTION_KEYS: &str = "s1:YSBzaXRlJ3Mga2V5LCBub3QgdmVyeSBzZWNyZXQhISE=";
const JWT_SECRET: &str = "a secret that only a site knows, 32 bytes or more";

/// One installation of Waypost.
#[derive(Debug)]
pub struct Site {
    folder: TempDir,
    http: Client,
}

impl Site {
    /// One with this database. Nothing is done to the database yet.
    #[must_use]
    pub fn new(database_url: &str) -> Self {
        Self::with(database_url, &[])
    }

    /// One with this database and more settings: dotted keys and their values as the environment would have them.
    #[must_use]
    pub fn with(database_url: &str, settings: &[(&str, &str)]) -> Self {
        let usual = [
            ("database.url", database_url),
            ("database.max_connections", "8"),
            ("security.encryption_keys", ENCRYPTION_KEYS),
            ("admin.jwt_secret", JWT_SECRET),
            ("egress.allow", "127.0.0.0/8"),
            // Nobody listens there: what needs Graph or Entra brings its own.
            ("graph.base_url", "http://127.0.0.1:9"),
            ("graph.login_url", "http://127.0.0.1:9"),
        ];
        let lines: Vec<String> =
            usual.iter().chain(settings).map(|(key, value)| format!("{key} = {value:?}\n")).collect();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("waypost.toml"), lines.concat()).unwrap();
        Self { folder, http: Client::new(String::new()) }
    }

    /// A command of the executable with the site's settings, and without those that the caller of the tests may have.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(executable());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WAYPOST") {
                command.env_remove(name);
            }
        }
        command.args(arguments).arg("--config").arg(self.folder.path().join("waypost.toml"));
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        finish(self.command(arguments)).await
    }

    /// Brings the database to the current schema.
    pub async fn migrate(&self) {
        let output = self.run(&["migrate"]).await;
        assert!(output.status.success(), "{output:?}");
    }

    /// Starts `waypost serve` under a name, which is its log's, with roles, or all of them when none is named. Does not
    /// wait until it is ready.
    pub async fn start(&self, name: &str, listen: Listen, roles: &[&str]) -> Program {
        let operator = self.run(&["admin", "token", "--role", "operator"]).await;
        let operator = String::from_utf8(operator.stdout).unwrap().trim_end().to_owned();
        let mut command = self.serve(listen, roles);
        let log = self.folder.path().join(format!("{name}.log"));
        let file: File = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let child = command.stdout(Stdio::null()).stderr(file).spawn().unwrap();
        Program { name: name.to_owned(), child, listen, log, http: self.http.clone(), operator }
    }

    /// Starts it with all roles, and waits until it is ready.
    pub async fn started(&self) -> Program {
        let mut program = self.start("waypost", Listen::free(), &[]).await;
        program.until_ready().await;
        program
    }

    /// `waypost serve`, not yet started.
    #[must_use]
    pub fn serve(&self, listen: Listen, roles: &[&str]) -> Command {
        let mut arguments = vec!["serve"];
        arguments.extend(roles.iter().flat_map(|role| ["--role", *role]));
        let mut command = self.command(&arguments);
        command.env("WAYPOST__SERVER__PUBLIC_LISTEN", listen.public.to_string());
        command.env("WAYPOST__SERVER__ADMIN_LISTEN", listen.admin.to_string());
        command
    }
}

/// Runs a command that ends by itself.
pub(super) async fn finish(mut command: Command) -> Output {
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    output.unwrap_or_else(|_| panic!("{command:?} did not end in {PATIENCE:?}")).unwrap()
}
