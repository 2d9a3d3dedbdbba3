//! The executable as scripts see it: exit codes, one line for each failure, output that can be used.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Output, Stdio},
};

use jsonwebtoken::{DecodingKey, Validation, decode};
use serde_json::Value;
use tempfile::NamedTempFile;

const JWT_SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The executable without the settings that the caller of the tests may have.
fn waypost(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WAYPOST") {
            command.env_remove(name);
        }
    }
    command.args(arguments);
    command
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Standard error, which must be one line.
fn failure(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "not one line: {text}");
    assert!(text.starts_with("waypost: "), "{text}");
    text
}

#[test]
fn help_and_version_are_results() {
    let help = run(&mut waypost(&["--help"]));
    assert_eq!(code(&help), 0);
    for command in
        ["serve", "migrate", "dev", "simulate", "admin", "openapi", "healthcheck", "config", "Examples:"]
    {
        assert!(stdout(&help).contains(command), "{command} is missing");
    }
    let version = run(&mut waypost(&["--version"]));
    assert_eq!(stdout(&version), format!("waypost {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_ends_with_2_and_one_line() {
    let cases: [(&[&str], &str); 9] = [
        (&[], "--help"),
        (&["srve"], "serve"),
        (&["serve", "--role", "boss"], "ingress"),
        (&["dev", "--public-listen", "here"], "--public-listen"),
        (&["admin"], "--help"),
        (&["admin", "token"], "--role"),
        (&["admin", "token", "--role", "viewer", "--ttl", "soon"], "15m"),
        (&["admin", "token", "--role", "viewer", "--ttl", "-1h"], "15m"),
        (&["admin", "token", "--role", "viewer", "--ttl", "366d"], "365d"),
    ];
    for (arguments, told) in cases {
        let output = run(&mut waypost(arguments));
        assert_eq!(code(&output), 2, "{arguments:?}");
        assert!(failure(&output).contains(told), "{arguments:?}: {}", failure(&output));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn wrong_configuration_ends_with_2_and_names_the_setting() {
    let cases = [
        (("WAYPOST__SERVER__PUBLIC_LISTEN", "nowhere"), "WAYPOST__SERVER__PUBLIC_LISTEN"),
        (("WAYPOST__SERVER__PUBIC_LISTEN", "0.0.0.0:1"), "WAYPOST__SERVER__PUBIC_LISTEN is not a setting"),
        (("WAYPOST_CONFIG", "/nowhere/waypost.toml"), "/nowhere/waypost.toml"),
        (("WAYPOST__ADMIN__JWT_SECRET", "short"), "admin.jwt_secret"),
    ];
    for ((name, value), told) in cases {
        for command in ["serve", "migrate", "healthcheck"] {
            let output = run(waypost(&[command]).env(name, value));
            assert_eq!(code(&output), 2, "{command} with {name}");
            assert!(failure(&output).contains(told), "{}", failure(&output));
        }
    }
}

#[test]
fn serving_without_what_it_needs_ends_with_2() {
    let output = run(&mut waypost(&["serve"]));
    assert_eq!(code(&output), 2);
    assert!(failure(&output).contains("database.url is not set"));

    let output = run(waypost(&["serve"]).env("WAYPOST__DATABASE__URL", "postgres://localhost/waypost"));
    assert_eq!(code(&output), 2);
    assert!(failure(&output).contains("security.encryption_keys is not set"));
}

#[test]
fn migrating_without_a_database_ends_with_1() {
    let output = run(&mut waypost(&["migrate"]));

    assert_eq!(code(&output), 1);
    assert!(failure(&output).contains("database.url is not set"));
}

#[test]
fn a_log_filter_that_cannot_be_read_ends_with_2() {
    let output = run(waypost(&["simulate"]).env("WAYPOST_LOG", "a=b=c"));

    assert_eq!(code(&output), 2);
    assert!(failure(&output).contains("WAYPOST_LOG"));
}

#[test]
fn config_check_prints_what_applies_without_secrets() {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(b"[delivery]\ntimeout = \"7s\"\n[database]\nurl = \"postgres://a:hunter2@db/b\"\n")
        .unwrap();

    let output = run(waypost(&["config", "check", "--config"])
        .arg(file.path())
        .env("WAYPOST__DELIVERY__MAX_IN_FLIGHT", "9"));

    assert_eq!(code(&output), 0);
    let shown = stdout(&output);
    assert!(shown.contains("timeout = \"7s\"") && shown.contains("max_in_flight = 9"), "{shown}");
    assert!(shown.contains("postgres://a:********@db/b") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn config_check_tells_what_serving_would_lack_and_ends_with_0() {
    let output = run(&mut waypost(&["config", "check"]));
    assert_eq!(code(&output), 0);
    let note = failure(&output);
    assert!(note.contains("note:") && note.contains("database.url is not set"), "{note}");

    let output = run(waypost(&["config", "check"]).env(
        "WAYPOST__DATABASE__URL",
        "postgres://db/b?sslpassword=hunter2&password=hunter3&sslmode=require",
    ));
    assert_eq!(code(&output), 0);
    assert!(failure(&output).contains("security.encryption_keys is not set"));
    let shown = stdout(&output);
    assert!(!shown.contains("hunter") && shown.contains("sslmode=require"), "{shown}");

    let output = run(waypost(&["config", "check"])
        .env("WAYPOST__DATABASE__URL", "postgres://db/b")
        .env("WAYPOST__SECURITY__ENCRYPTION_KEYS", "k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn the_simulator_tells_how_to_sign_in_at_it() {
    let mut simulator =
        waypost(&["simulate", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
    let told: Vec<String> = BufReader::new(simulator.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .take_while(|line| !line.starts_with("tenant"))
        .collect();
    simulator.kill().unwrap();
    simulator.wait().unwrap();

    let application = told.iter().find(|line| line.starts_with("application")).unwrap();
    let secret = waypost_simulator::DEMO_CLIENT_SECRET;
    assert!(application.contains(secret), "{application}");
}

#[test]
fn an_admin_token_says_who_may_do_what_until_when() {
    let output = run(waypost(&["admin", "token", "--role", "viewer", "--ttl", "2h", "--subject", "ada"])
        .env("WAYPOST__ADMIN__JWT_SECRET", JWT_SECRET));
    assert_eq!(code(&output), 0);
    let token = stdout(&output);

    let mut rules = Validation::default();
    rules.set_audience(&["waypost-admin"]);
    let key = DecodingKey::from_secret(JWT_SECRET.as_bytes());
    let claims = decode::<Value>(token.trim_end(), &key, &rules).unwrap().claims;

    assert_eq!(claims["sub"], "ada");
    assert_eq!(claims["role"], "viewer");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 2 * 60 * 60);
}

#[test]
fn an_admin_token_needs_a_secret_that_cannot_be_guessed() {
    let output = run(&mut waypost(&["admin", "token", "--role", "operator"]));
    assert_eq!(code(&output), 2);
    assert!(failure(&output).contains("admin.jwt_secret is not set"));

    let short = &JWT_SECRET[1..];
    let output =
        run(waypost(&["admin", "token", "--role", "operator"]).env("WAYPOST__ADMIN__JWT_SECRET", short));
    assert_eq!(code(&output), 2);
    let line = failure(&output);
    assert!(line.contains("at least 32") && !line.contains(short), "{line}");
}

#[test]
fn a_healthcheck_without_a_process_ends_with_1() {
    let output = run(waypost(&["healthcheck"]).env("WAYPOST__SERVER__ADMIN_LISTEN", "127.0.0.1:1"));

    assert_eq!(code(&output), 1);
    assert!(failure(&output).contains("127.0.0.1:1"));
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    for arguments in
        [&["openapi"][..], &["config", "check"], &["admin", "token", "--role", "viewer"], &["--help"]]
    {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = run(waypost(arguments).env("WAYPOST__ADMIN__JWT_SECRET", JWT_SECRET).stdout(full));
        assert_eq!(code(&output), 1, "{arguments:?}");
        let line = failure(&output);
        assert!(line.contains("could not be written") && line.contains("No space left"), "{line}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_a_command_quietly() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = run(waypost(&["openapi"]).stdout(writer));
    assert_eq!((code(&output), output.stderr.as_slice()), (0, b"".as_slice()));
}
