//! What the two listeners answer: every row of the ingress's table, the shapes that Nango's clients rely on, who may do
//! what, and the OpenAPI document against what is served. Must not look at deliveries: those are end to end.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod admin;
mod api_keys;
mod audit;
mod authentication;
mod certificates;
mod connect_sessions;
mod connections;
mod endpoints;
mod handshake;
mod health;
mod history;
mod ingress;
mod ingress_limits;
mod integrations;
mod methods;
mod openapi;
mod proxy;
mod refusals;
mod settings;
mod times;
