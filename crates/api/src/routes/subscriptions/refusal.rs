//! What a failure about a subscription is to a caller.

use waypost_upstream::subscriptions::SubscriptionError;

use crate::error::ApiError;

pub(super) fn unknown_connection() -> ApiError {
    ApiError::NotFound { code: "unknown_connection", message: "There is no such connection".to_owned() }
}

impl From<SubscriptionError> for ApiError {
    fn from(error: SubscriptionError) -> Self {
        let (code, message) = (error.code(), error.message());
        match error {
            SubscriptionError::UnknownConnection => unknown_connection(),
            SubscriptionError::UnknownSubscription => super::unknown(),
            SubscriptionError::Invalid { field, message } => Self::invalid_field(&[field], message),
            SubscriptionError::Pending
            | SubscriptionError::Over(_)
            | SubscriptionError::InFlight
            | SubscriptionError::Full
            | SubscriptionError::TrackedElsewhere(_)
            | SubscriptionError::TooSoon(_) => Self::Conflict { code, message },
            SubscriptionError::PublicUrl(_) | SubscriptionError::Unclear | SubscriptionError::Unreachable => {
                Self::BadGateway { code, message }
            }
            SubscriptionError::Graph(trouble) => Self::Graph { message, said: Box::new(trouble.said) },
            SubscriptionError::Token(_) => Self::FailedDependency { code, message },
            SubscriptionError::Certificate(error) => Self::internal(error),
            SubscriptionError::Store(error) => Self::Store(error),
        }
    }
}
