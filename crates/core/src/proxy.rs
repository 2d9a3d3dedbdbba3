//! What the proxy is told, where a call of it goes, and when it is tried again: decisions only.
//!
//! A call carries a customer's token, so everything here that can't be understood is refused rather than guessed. Must
//! not know how a call is sent, or hold a token.

mod answer;
mod instructions;
mod repeat;
mod subscription_call;
mod target;
mod token_host;

pub use answer::passed_on;
pub use instructions::{Fault, Instructions, MOST_RETRIES};
pub use repeat::{LONGEST_WAIT, Repeats, Seen};
pub use subscription_call::SubscriptionCall;
pub use target::{Base, BaseError, TargetError};
pub use token_host::{MOST_TOKEN_HOSTS, TokenHost, TokenHostError};
