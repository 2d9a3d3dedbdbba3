//! Why something about a subscription failed, in words for people and a code for programs.

use chrono::{DateTime, Utc};
use waypost_core::integration::UniqueKey;
use waypost_core::provider::graph::error::{Said, Trouble};
use waypost_core::subscription::{LastError, MOST_CONNECTIONS};
use waypost_postgres::StoreError;

use super::self_test::PublicUrlProblem;
use crate::certificates::CertificateError;
use crate::tokens::TokenError;

/// Why something about a subscription failed.
#[derive(Debug, thiserror::Error)]
pub enum SubscriptionError {
    /// There is no such connection.
    #[error("there is no such connection")]
    UnknownConnection,
    /// There is no such subscription.
    #[error("there is no such subscription")]
    UnknownSubscription,
    /// What is wanted can't be.
    #[error("{message}")]
    Invalid {
        /// The member that is wrong, as on the wire of the subscription API.
        field: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// Graph has not granted it yet.
    #[error("the subscription is pending: Graph has not granted it yet")]
    Pending,
    /// It is over: there is nothing to renew.
    #[error("the subscription is {0}: create it again")]
    Over(&'static str),
    /// An equal one is being created, or deleted, at this moment.
    #[error("an equal subscription is being created or deleted at this moment: ask again soon")]
    InFlight,
    /// The equal one serves as many connections as one may.
    #[error(
        "an equal subscription serves {MOST_CONNECTIONS} connections, the most that one may: delete connections of this tenant \
         that nobody needs any more"
    )]
    Full,
    /// Graph takes one renewal in ten minutes.
    #[error("Graph takes one renewal of a subscription in ten minutes: the next one at {0}")]
    TooSoon(DateTime<Utc>),
    /// It is tracked already: by another integration of this environment, or by somebody of whom nothing is told.
    #[error("{}", tracked_elsewhere(.0.as_ref()))]
    TrackedElsewhere(Option<UniqueKey>),
    /// Our own public URL doesn't do what Graph wants of it.
    #[error(transparent)]
    PublicUrl(#[from] Box<PublicUrlProblem>),
    /// Graph refused.
    #[error("Microsoft Graph refused")]
    Graph(Box<Trouble>),
    /// Graph gave no clear answer, and it can't be found out now what it did.
    #[error("Microsoft Graph gave no clear answer: the subscription is settled as soon as it can be")]
    Unclear,
    /// Graph could not be reached.
    #[error("Microsoft Graph can't be reached")]
    Unreachable,
    /// There is no token for the connection.
    #[error("there is no access token for the connection")]
    Token(#[source] TokenError),
    /// There is no certificate for encrypted notifications.
    #[error("there is no certificate for encrypted notifications")]
    Certificate(#[from] CertificateError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl SubscriptionError {
    /// What kind of failure, for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownConnection | Self::Token(TokenError::UnknownConnection) => "unknown_connection",
            Self::UnknownSubscription => "not_found",
            Self::Invalid { .. } => "invalid_body",
            Self::Pending => "subscription_pending",
            Self::Over(_) => "subscription_over",
            Self::InFlight => "subscription_in_flight",
            Self::Full => "subscription_full",
            Self::TooSoon(_) => "renewed_too_soon",
            Self::TrackedElsewhere(_) => "subscription_tracked_elsewhere",
            Self::PublicUrl(_) => "public_url_unreachable",
            Self::Graph(_) => "graph_error",
            Self::Unclear => "outcome_unclear",
            Self::Unreachable => "upstream_unreachable",
            Self::Token(_) => "no_access_token",
            Self::Certificate(_) => "no_certificate",
            Self::Store(_) => "temporarily_unavailable",
        }
    }

    /// What happened and what helps, in words for people.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Graph(trouble) => {
                let (said, advice) = (&trouble.said, trouble.meaning.advice());
                let words = if said.message.is_empty() { said.code.as_str() } else { said.message.as_str() };
                let status = said.status;
                match (words.is_empty(), advice.is_empty()) {
                    (true, true) => format!("Microsoft Graph answered {status}"),
                    (true, false) => format!("Microsoft Graph answered {status}; {advice}"),
                    (false, true) => format!("Microsoft Graph answered {status}: {words}"),
                    (false, false) => format!("Microsoft Graph answered {status}: {words} ({advice})"),
                }
            }
            Self::Token(error) => error.message(),
            _ => self.to_string(),
        }
    }

    /// Graph's own words, when it was Graph.
    #[must_use]
    pub fn graph(&self) -> Option<&Said> {
        if let Self::Graph(trouble) = self { Some(&trouble.said) } else { None }
    }

    /// As it is kept with a subscription.
    #[must_use]
    pub fn as_last_error(&self, now: DateTime<Utc>) -> LastError {
        LastError {
            code: self.code().to_owned(),
            message: self.message(),
            at: now,
            graph: self.graph().cloned(),
        }
    }
}

/// Why it is left where it is, and the cure.
fn tracked_elsewhere(integration: Option<&UniqueKey>) -> String {
    integration.map_or_else(
        || {
            "Graph notifies one place of this, and this subscription is tracked elsewhere already: delete it there first, \
             or use another app registration"
                .to_owned()
        },
        |integration| {
            format!(
                "Graph notifies one place of this, and the integration \"{integration}\" tracks this subscription already: \
                 use a connection of that integration, or delete it there first"
            )
        },
    )
}

impl From<TokenError> for SubscriptionError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::UnknownConnection => Self::UnknownConnection,
            error => Self::Token(error),
        }
    }
}
