//! What the metrics of signing in mean, for whoever reads `/metrics`. Must not count anything.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Tells the recorder of this process, which must be installed already.
pub fn describe() {
    describe_counter!(
        "waypost_token_requests_total",
        "Requests for tokens by what came of them: granted, or who must act."
    );
    describe_histogram!(
        "waypost_token_request_seconds",
        Unit::Seconds,
        "How long one request to a token endpoint took."
    );
    describe_gauge!(
        "waypost_soonest_credential_end_days",
        "Days until the first client secret or certificate in use ends whose end is known."
    );
}
