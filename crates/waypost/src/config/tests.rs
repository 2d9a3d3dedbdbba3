//! The rules of the configuration: who wins, what is refused and in which words, what is shown.

use std::{fs, io::Write, path::Path, time::Duration};

use secrecy::ExposeSecret;
use tempfile::NamedTempFile;

use super::{ByteSize, ConfigError, LogFormat, Settings};
use crate::roles::Roles;

const SAMPLE: &str = include_str!("../../../../deploy/waypost.sample.toml");
const KEY: &str = "k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn from_file(text: &str) -> Result<Settings, ConfigError> {
    Settings::from_sources(Some(file(text).path()), &[])
}

fn from_environment(pairs: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    Settings::from_sources(None, &owned(pairs))
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn refusal(result: Result<Settings, ConfigError>) -> String {
    let line = result.unwrap_err().to_string();
    assert!(!line.contains('\n'), "an error is one line: {line}");
    line
}

#[test]
fn nothing_has_to_be_set() {
    let settings = from_environment(&[]).unwrap();

    assert_eq!(settings.masked(), Settings::default().masked());
    assert_eq!(settings.server.public_listen.to_string(), "0.0.0.0:8080");
    assert_eq!(settings.delivery.schedule.len(), 10);
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let file = file("[delivery]\ntimeout = \"9s\"\nmax_in_flight = 7\n");
    let environment = owned(&[("WAYPOST__DELIVERY__TIMEOUT", "11s"), ("PATH", "/bin"), ("WAYPOST_LOG", "x")]);

    let delivery = Settings::from_sources(Some(file.path()), &environment).unwrap().delivery;

    assert_eq!(delivery.timeout, Duration::from_secs(11));
    assert_eq!(delivery.max_in_flight, 7);
    assert_eq!(delivery.connect_timeout, Duration::from_secs(5));
}

#[test]
fn an_empty_variable_takes_away_what_the_file_sets_where_there_may_be_nothing() {
    let file = file(
        "[egress]\nallow = \"10.0.0.0/8\"\n[admin]\njwt_secret = \"0123456789abcdef0123456789abcdef\"\n\
         metrics_token = \"token\"\noidc_client_id = \"client\"\n[telemetry]\nlog_format = \"json\"\n",
    );
    let empty = [
        ("WAYPOST__EGRESS__ALLOW", ""),
        ("WAYPOST__ADMIN__JWT_SECRET", ""),
        ("WAYPOST__ADMIN__METRICS_TOKEN", ""),
        ("WAYPOST__ADMIN__OIDC_CLIENT_ID", ""),
        ("WAYPOST__SERVER__TLS_CERT", ""),
        ("WAYPOST__SECURITY__ENCRYPTION_KEYS", ""),
        ("WAYPOST__TELEMETRY__LOG_FORMAT", ""),
    ];

    let settings = Settings::from_sources(Some(file.path()), &owned(&empty)).unwrap();

    assert_eq!(settings.masked(), Settings::default().masked());
}

#[test]
fn an_empty_variable_is_refused_by_its_name_where_there_must_be_something() {
    for (name, told) in [
        ("WAYPOST__SERVER__PUBLIC_LISTEN", "WAYPOST__SERVER__PUBLIC_LISTEN"),
        ("WAYPOST__DELIVERY__TIMEOUT", "WAYPOST__DELIVERY__TIMEOUT"),
        ("WAYPOST__DELIVERY__MAX_IN_FLIGHT", "WAYPOST__DELIVERY__MAX_IN_FLIGHT"),
        ("WAYPOST__INGRESS__MAX_BODY_BYTES", "WAYPOST__INGRESS__MAX_BODY_BYTES"),
        ("WAYPOST__ADMIN__AUDIENCE", "WAYPOST__ADMIN__AUDIENCE"),
        ("WAYPOST__DELIVERY__SCHEDULE", "delivery.schedule"),
    ] {
        let line = refusal(from_environment(&[(name, "")]));
        assert!(line.contains(told), "{line}");
    }
}

#[test]
fn values_are_written_alike_in_the_file_and_in_the_environment() {
    let from_file = from_file(
        "[ingress]\nmax_body_bytes = 1048576\nrate_limit_per_minute = 60\n\
         [delivery]\nschedule = [\"1s\", \"2m\"]\n[egress]\nallow = \"10.0.0.0/8, fd00::/8\"\n\
         [telemetry]\nlog_format = \"json\"\n",
    );
    let from_environment = from_environment(&[
        ("WAYPOST__INGRESS__MAX_BODY_BYTES", "1 MiB"),
        ("WAYPOST__INGRESS__RATE_LIMIT_PER_MINUTE", "60"),
        ("WAYPOST__DELIVERY__SCHEDULE", "1s, 2m"),
        ("WAYPOST__EGRESS__ALLOW", "10.0.0.0/8,fd00::/8"),
        ("WAYPOST__TELEMETRY__LOG_FORMAT", "json"),
    ]);
    let (from_file, from_environment) = (from_file.unwrap(), from_environment.unwrap());

    assert_eq!(from_file.masked(), from_environment.masked());
    assert_eq!(from_file.ingress.max_body_bytes, ByteSize(1024 * 1024));
    assert_eq!(from_file.egress.allow.len(), 2);
    assert_eq!(from_file.telemetry.log_format, Some(LogFormat::Json));
}

#[test]
fn a_key_that_nobody_knows_is_refused_in_the_file() {
    let line = refusal(from_file("[server]\npubic_listen = \"0.0.0.0:1\"\n"));
    assert!(line.starts_with("server.pubic_listen in /"), "{line}");
    assert!(line.contains("is not a setting") && line.contains("public_listen"), "{line}");

    let line = refusal(from_file("[sever]\npublic_listen = \"0.0.0.0:1\"\n"));
    assert!(line.starts_with("sever in /") && line.contains("server"), "{line}");
}

#[test]
fn a_variable_that_names_no_key_is_refused() {
    for name in
        ["WAYPOST__SERVER__PUBIC_LISTEN", "WAYPOST__SEVER__PUBLIC_LISTEN", "WAYPOST__SERVER", "WAYPOST__"]
    {
        let line = refusal(from_environment(&[(name, "x")]));
        assert!(line.starts_with(&format!("{name} is not a setting")), "{line}");
    }
    let line = refusal(from_environment(&[("WAYPOST__SERVER__TLS__CERT", "x")]));
    assert!(line.starts_with("WAYPOST__SERVER__TLS__CERT is not a setting"), "{line}");
}

#[test]
fn a_value_that_cannot_be_read_is_refused_with_its_name_and_the_cure() {
    let cases = [
        ("WAYPOST__SERVER__PUBLIC_LISTEN", "8080", "0.0.0.0:8080"),
        ("WAYPOST__SERVER__PUBLIC_URL", "ftp://x", "https://relay.example.com"),
        ("WAYPOST__DELIVERY__TIMEOUT", "15", "15s"),
        ("WAYPOST__DELIVERY__TIMEOUT", "0s", "longer"),
        ("WAYPOST__DELIVERY__SCHEDULE", "0s,soon", "\"soon\""),
        ("WAYPOST__DELIVERY__SCHEDULE", "0s,8d", "7 d"),
        ("WAYPOST__RETENTION__EVENTS", "99999999999d", "at most 3650d"),
        ("WAYPOST__DELIVERY__MAX_IN_FLIGHT", "-1", "whole number"),
        ("WAYPOST__DATABASE__MAX_CONNECTIONS", "0", "at least 1"),
        ("WAYPOST__INGRESS__MAX_BODY_BYTES", "4 MB", "4 MiB"),
        ("WAYPOST__EGRESS__ALLOW", "10.0.0.1/99", "10.0.0.0/8"),
        ("WAYPOST__GRAPH__BASE_URL", "https://graph.microsoft.com/v1.0", "leave it out"),
        ("WAYPOST__GRAPH__PUBLISHER_APP_ID", "me", "UUID"),
        ("WAYPOST__RETENTION__EVENTS", "1h", "1d"),
        ("WAYPOST__TELEMETRY__LOG_FORMAT", "xml", "pretty or json"),
    ];
    for (name, value, cure) in cases {
        let line = refusal(from_environment(&[(name, value)]));
        let key = name.trim_start_matches("WAYPOST__").replace("__", ".").to_lowercase();
        assert!(line.starts_with(name) || line.starts_with(&key), "{line}");
        assert!(line.contains(cure), "{line}");
    }
}

#[test]
fn a_value_of_the_wrong_type_in_the_file_is_refused_with_its_name() {
    let line = refusal(from_file("[server]\npublic_listen = [\"a\"]\n"));

    assert!(line.starts_with("server.public_listen in /"), "{line}");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let cases = [
        ("[delivery]\ntimeout = \"2s\"\n", "delivery.connect_timeout"),
        ("[server]\ntls_cert = \"/x\"\n", "server.tls_key"),
        ("[server]\nadmin_listen = \"0.0.0.0:8080\"\n", "server.admin_listen"),
        ("[admin]\noidc_issuer = \"https://login.example.com\"\n", "admin.oidc_client_id"),
        ("[delivery]\nschedule = []\n", "delivery.schedule"),
    ];
    for (text, key) in cases {
        let line = refusal(from_file(text));
        assert!(line.starts_with(key), "{line}");
    }
}

#[test]
fn a_file_that_is_missing_or_not_toml_is_refused() {
    let line = refusal(Settings::from_sources(Some(Path::new("/nowhere/waypost.toml")), &[]));
    assert!(line.contains("/nowhere/waypost.toml") && line.contains("--config"), "{line}");

    let line = refusal(from_file("[server\n"));
    assert!(line.contains("is not TOML") && line.contains("line 1"), "{line}");
}

#[test]
fn any_secret_may_be_in_a_file_less_one_newline() {
    let secret = "0123456789 0123456789 0123456789\n";
    let (jwt, keys) = (file(&format!("{secret}\n")), file(&format!("{KEY}\n")));
    let text = format!(
        "[admin]\njwt_secret = \"file:{0}\"\nmetrics_token = \"file:{0}\"\noidc_client_secret = \"file:{0}\"\n\
         [security]\nencryption_keys = \"file:{1}\"\n",
        jwt.path().display(),
        keys.path().display(),
    );

    let settings = from_file(&text).unwrap();

    assert_eq!(settings.admin.jwt_secret.unwrap().expose_secret(), secret);
    assert_eq!(settings.admin.metrics_token.unwrap().expose_secret(), secret);
    assert!(settings.security.encryption_keys.is_some());
}

#[test]
fn a_secret_whose_file_is_missing_or_empty_is_refused() {
    let line = refusal(from_environment(&[("WAYPOST__DATABASE__URL", "file:/nowhere/url")]));
    assert!(line.starts_with("WAYPOST__DATABASE__URL: the file /nowhere/url cannot be read"), "{line}");

    let empty = file("\n");
    let path = format!("file:{}", empty.path().display());
    let line = refusal(from_environment(&[("WAYPOST__ADMIN__METRICS_TOKEN", &path)]));
    assert!(line.contains("is empty"), "{line}");
}

#[test]
fn no_error_shows_a_secret() {
    let cases = [
        ("WAYPOST__SECURITY__ENCRYPTION_KEYS", "k1:c2VjcmV0LXNlY3JldA=="),
        ("WAYPOST__ADMIN__JWT_SECRET", "c2VjcmV0LXNlY3JldA=="),
        ("WAYPOST__DATABASE__URL", "mysql://a:c2VjcmV0LXNlY3JldA==@b/c"),
        ("WAYPOST__DATABASE__URL", "c2VjcmV0LXNlY3JldA=="),
    ];
    for (name, value) in cases {
        let line = refusal(from_environment(&[(name, value)]));
        assert!(!line.contains("c2VjcmV0"), "{line}");
    }
}

#[test]
fn what_is_shown_hides_every_secret() {
    let settings = from_environment(&[
        ("WAYPOST__DATABASE__URL", "postgres://waypost:hunter2@db/waypost?password=hunter2&sslmode=require"),
        ("WAYPOST__SECURITY__ENCRYPTION_KEYS", KEY),
        ("WAYPOST__ADMIN__JWT_SECRET", "hunter2-hunter2-hunter2-hunter2-hunter2"),
        ("WAYPOST__ADMIN__METRICS_TOKEN", "hunter2"),
        ("WAYPOST__ADMIN__OIDC_CLIENT_SECRET", "hunter2"),
    ])
    .unwrap();

    let shown = settings.masked();

    assert!(!shown.contains("hunter2") && !shown.contains("AAAA"), "{shown}");
    assert!(shown.contains("url = \"postgres://waypost:********@db/waypost?password="), "{shown}");
    assert!(shown.contains("jwt_secret = \"********\""), "{shown}");
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn what_is_shown_can_be_read_again() {
    let shown = Settings::default().masked();

    assert_eq!(from_file(&shown).unwrap().masked(), shown);
}

#[test]
fn serving_needs_a_database_and_keys() {
    let roles = Roles::all();
    let line = Settings::default().check_for_serve(&roles).unwrap_err().to_string();
    assert!(line.starts_with("database.url is not set") && line.contains("WAYPOST__DATABASE__URL"), "{line}");

    let url = ("WAYPOST__DATABASE__URL", "postgres://localhost/waypost");
    let line = from_environment(&[url]).unwrap().check_for_serve(&roles).unwrap_err().to_string();
    assert!(line.starts_with("security.encryption_keys is not set"), "{line}");

    let keys = ("WAYPOST__SECURITY__ENCRYPTION_KEYS", KEY);
    from_environment(&[url, keys]).unwrap().check_for_serve(&roles).unwrap();
}

#[test]
fn serving_refuses_what_is_not_built() {
    let url = ("WAYPOST__DATABASE__URL", "postgres://localhost/waypost");
    let keys = ("WAYPOST__SECURITY__ENCRYPTION_KEYS", KEY);
    let traces = ("WAYPOST__TELEMETRY__OTLP_ENDPOINT", "http://localhost:4318");

    let line = from_environment(&[url, keys, traces])
        .unwrap()
        .check_for_serve(&Roles::all())
        .unwrap_err()
        .to_string();

    assert!(line.starts_with("telemetry.otlp_endpoint"), "{line}");
}

#[test]
fn what_is_not_built_is_refused_before_anything_else_is_set() {
    let traces = ("WAYPOST__TELEMETRY__OTLP_ENDPOINT", "http://localhost:4318");

    let line = from_environment(&[traces]).unwrap().check_built(&Roles::all()).unwrap_err().to_string();

    assert!(line.starts_with("telemetry.otlp_endpoint"), "{line}");
    Settings::default().check_built(&Roles::all()).unwrap();
}

#[test]
fn the_sample_file_is_accepted_as_it_is_and_changes_nothing() {
    assert_eq!(from_file(SAMPLE).unwrap().masked(), Settings::default().masked());
}

/// The keys of a page of settings, each with its section.
fn keys(text: &str, key_of: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut section = String::new();
    let mut keys = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            name.trim_end_matches(']').clone_into(&mut section);
        } else if let Some(key) = key_of(line) {
            keys.push(format!("{section}.{key}"));
        }
    }
    keys
}

#[test]
fn the_sample_file_documents_every_key() {
    let shown = keys(&Settings::default().masked(), |line| {
        let line = line.strip_prefix("# ").unwrap_or(line);
        line.split_whitespace().next().map(str::to_owned)
    });
    let documented = keys(SAMPLE, |line| {
        let (key, _) = line.strip_prefix('#').filter(|rest| !rest.starts_with(' '))?.split_once(" = ")?;
        Some(key.to_owned())
    });

    assert_eq!(documented, shown);
}

#[test]
fn the_sample_file_states_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "0123456789 0123456789 0123456789").unwrap();
    let present = secret.display().to_string();
    let uncommented: String = SAMPLE
        .lines()
        .map(|line| {
            match line.strip_prefix('#').filter(|rest| rest.contains(" = ") && !rest.starts_with(' ')) {
                Some(setting) => format!("{setting}\n"),
                None => format!("{line}\n"),
            }
        })
        .collect();
    let uncommented =
        ["/run/secrets/waypost-jwt", "/run/secrets/waypost-oidc", "/run/secrets/waypost-metrics"]
            .into_iter()
            .chain(["/etc/waypost/tls.crt", "/etc/waypost/tls.key"])
            .fold(uncommented, |text, path| text.replace(path, &present));

    let shown = from_file(&uncommented).unwrap().masked();

    let defaults = Settings::default().masked();
    for line in defaults.lines().filter(|line| !line.starts_with('#')) {
        assert!(shown.lines().any(|other| other == line), "the sample has another default than: {line}");
    }
    assert!(!shown.contains("is not set"), "every key has a value: {shown}");
}
