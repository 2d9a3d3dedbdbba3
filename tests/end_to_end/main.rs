//! The whole way: from Graph's POST to the customer's callback, through the real application, its database and real
//! HTTP. What a listener answers to whom is the business of the suite `api`.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]
#![expect(clippy::similar_names, reason = "a receiver and what it received belong together")]

mod attempts;
mod bursts;
mod connect;
mod fetching;
mod filters;
mod forwarding;
mod graph;
mod harness;
mod holding;
mod isolation;
mod matching;
mod notices;
mod plans;
mod processes;
mod proxy;
mod retention;
mod retries;
mod rich;
mod secrets;
mod signatures;
mod subscriptions;
mod tokens;
mod tracked;
mod walls;
