//! Shows a configuration without its secrets. Takes every section apart field by field, so that a setting
//! that is added and forgotten here does not compile.

use std::{fmt::Display, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::config::{
    Admin, Database, Delivery, Egress, Graph, Ingress, LogFormat, Retention, Scheduler, Security, Server,
    Settings, Telemetry, text::duration_text,
};

const MASK: &str = "********";

pub(super) fn render(settings: &Settings) -> String {
    let Settings {
        server,
        database,
        security,
        admin,
        ingress,
        delivery,
        egress,
        graph,
        scheduler,
        retention,
        telemetry,
    } = settings;
    let mut page = Page::default();
    page.server(server);
    page.database(database);
    page.security(security);
    page.admin(admin);
    page.ingress(ingress);
    page.delivery(delivery);
    page.rest(egress, graph, scheduler, retention);
    page.telemetry(telemetry);
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn server(&mut self, server: &Server) {
        let Server { public_listen, admin_listen, public_url, tls_cert, tls_key, shutdown_grace } = server;
        self.section("server");
        self.text("public_listen", public_listen);
        self.text("admin_listen", admin_listen);
        self.url("public_url", public_url);
        self.optional("tls_cert", tls_cert.as_ref().map(|path| path.display()));
        self.optional("tls_key", tls_key.as_ref().map(|path| path.display()));
        self.duration("shutdown_grace", *shutdown_grace);
    }

    fn database(&mut self, database: &Database) {
        let Database { url, max_connections } = database;
        self.section("database");
        self.optional("url", url.as_ref().map(without_password));
        self.number("max_connections", max_connections);
    }

    fn security(&mut self, security: &Security) {
        let Security { encryption_keys, secret_grace } = security;
        self.section("security");
        self.optional("encryption_keys", encryption_keys.as_ref().map(|_| MASK));
        self.duration("secret_grace", *secret_grace);
    }

    fn admin(&mut self, admin: &Admin) {
        let Admin {
            jwt_secret,
            audience,
            oidc_issuer,
            oidc_client_id,
            oidc_client_secret,
            role_claim,
            metrics_token,
        } = admin;
        self.section("admin");
        self.secret("jwt_secret", jwt_secret.as_ref());
        self.text("audience", audience);
        self.optional("oidc_issuer", oidc_issuer.as_ref());
        self.optional("oidc_client_id", oidc_client_id.as_ref());
        self.secret("oidc_client_secret", oidc_client_secret.as_ref());
        self.text("role_claim", role_claim);
        self.secret("metrics_token", metrics_token.as_ref());
    }

    fn ingress(&mut self, ingress: &Ingress) {
        let Ingress { max_body_bytes, ack_deadline, rate_limit_per_minute } = ingress;
        self.section("ingress");
        self.text("max_body_bytes", max_body_bytes);
        self.duration("ack_deadline", *ack_deadline);
        self.number("rate_limit_per_minute", rate_limit_per_minute);
    }

    fn delivery(&mut self, delivery: &Delivery) {
        let Delivery {
            schedule,
            timeout,
            connect_timeout,
            max_in_flight,
            max_in_flight_per_endpoint,
            max_age,
            ordering_max_block,
        } = delivery;
        self.section("delivery");
        self.list("schedule", schedule.iter().copied().map(duration_text));
        self.duration("timeout", *timeout);
        self.duration("connect_timeout", *connect_timeout);
        self.number("max_in_flight", max_in_flight);
        self.number("max_in_flight_per_endpoint", max_in_flight_per_endpoint);
        self.duration("max_age", *max_age);
        self.duration("ordering_max_block", *ordering_max_block);
    }

    fn rest(&mut self, egress: &Egress, graph: &Graph, scheduler: &Scheduler, retention: &Retention) {
        let Egress { allow } = egress;
        let Graph { base_url, login_url, publisher_app_id } = graph;
        let Scheduler { tick } = scheduler;
        let Retention { events } = retention;
        self.section("egress");
        self.list("allow", allow.iter());
        self.section("graph");
        self.url("base_url", base_url);
        self.url("login_url", login_url);
        self.text("publisher_app_id", publisher_app_id);
        self.section("scheduler");
        self.duration("tick", *tick);
        self.section("retention");
        self.duration("events", *events);
    }

    fn telemetry(&mut self, telemetry: &Telemetry) {
        let Telemetry { log_format, otlp_endpoint } = telemetry;
        self.section("telemetry");
        self.optional("log_format", log_format.map(LogFormat::name));
        self.optional("otlp_endpoint", otlp_endpoint.as_ref());
    }

    fn section(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.line("");
        }
        self.line(&format!("[{name}]"));
    }

    fn text(&mut self, key: &str, value: impl Display) {
        self.line(&format!("{key} = {}", quoted(value)));
    }

    fn url(&mut self, key: &str, value: &Url) {
        self.text(key, value.as_str().trim_end_matches('/'));
    }

    fn number(&mut self, key: &str, value: impl Display) {
        self.line(&format!("{key} = {value}"));
    }

    fn duration(&mut self, key: &str, value: Duration) {
        self.text(key, duration_text(value));
    }

    fn list<T: Display>(&mut self, key: &str, values: impl Iterator<Item = T>) {
        let values: Vec<String> = values.map(quoted).collect();
        self.line(&format!("{key} = [{}]", values.join(", ")));
    }

    fn secret(&mut self, key: &str, value: Option<&SecretString>) {
        self.optional(key, value.map(|_| MASK));
    }

    fn optional(&mut self, key: &str, value: Option<impl Display>) {
        match value {
            Some(value) => self.text(key, value),
            None => self.line(&format!("# {key} is not set")),
        }
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }
}

/// A TOML string.
fn quoted(value: impl Display) -> String {
    let escaped: String = value
        .to_string()
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
            c => c.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

/// The address of a database with its password masked, wherever in the URL it stands.
fn without_password(url: &SecretString) -> String {
    let Ok(mut url) = Url::parse(url.expose_secret()) else {
        return MASK.to_owned();
    };
    if url.password().is_some() && url.set_password(Some(MASK)).is_err() {
        return MASK.to_owned();
    }
    let pairs: Vec<(String, String)> =
        url.query_pairs().map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
    if pairs.iter().any(|(key, _)| is_secret(key)) {
        let hidden = |(key, value): (String, String)| {
            let value = if is_secret(&key) { MASK.to_owned() } else { value };
            (key, value)
        };
        url.query_pairs_mut().clear().extend_pairs(pairs.into_iter().map(hidden));
    }
    url.into()
}

/// `password` and `sslpassword` are; what may come beside them shall be too.
fn is_secret(parameter: &str) -> bool {
    parameter.to_ascii_lowercase().contains("password")
}
