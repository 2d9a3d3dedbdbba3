//! What the workers' metrics mean, for whoever reads `/metrics`. Must not count anything.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Tells the recorder of this process, which must be installed already.
pub fn describe() {
    describe_counter!("waypost_delivery_attempts_total", "Attempts by what came of them.");
    describe_histogram!(
        "waypost_delivery_attempt_seconds",
        Unit::Seconds,
        "How long one request to an endpoint took."
    );
    describe_histogram!("waypost_settle_batch_deliveries", "Results that were written down together.");
    describe_counter!(
        "waypost_deliveries_put_off_total",
        "Deliveries that went back without an attempt because this process looked up too many names."
    );
    describe_counter!("waypost_leases_lost_total", "Results whose delivery had passed to another process.");
    describe_counter!("waypost_leases_taken_back_total", "Deliveries whose process was gone or too slow.");
    describe_counter!(
        "waypost_deliveries_lost_total",
        "Open deliveries that had to be deleted because their day had left the history before them."
    );
    describe_gauge!("waypost_deliveries_in_flight", "Requests to endpoints under way in this process.");
    describe_gauge!("waypost_oldest_due_seconds", Unit::Seconds, "How late the oldest due delivery is.");
}
