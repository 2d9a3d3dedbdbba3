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
    describe_counter!("waypost_rich_items_total", "Encrypted items by what came of opening them.");
    describe_histogram!(
        "waypost_rich_open_seconds",
        Unit::Seconds,
        "How long opening the encrypted items of one event took, waiting for its turn not counted."
    );
    describe_counter!(
        "waypost_fetches_total",
        "Resources read for notifications without data, by what came of it."
    );
    describe_histogram!(
        "waypost_fetch_seconds",
        Unit::Seconds,
        "How long reading the resources of one event took, waiting for its turn not counted."
    );
    describe_gauge!(
        "waypost_fetches_in_flight",
        "Deliveries for which resources are being read in this process."
    );
    describe_counter!(
        "waypost_deliveries_waiting_total",
        "Deliveries that went back without an attempt because what goes out could not be opened or read yet, by reason."
    );
    describe_counter!(
        "waypost_rich_verdicts_total",
        "Encrypted items by what their validation tokens showed."
    );
    describe_counter!("waypost_key_set_fetches_total", "Fetches of key sets by what came of them.");
    describe_counter!("waypost_subscription_creates_total", "Creates at Graph by what came of them.");
    describe_counter!("waypost_subscription_deletes_total", "Deletions at Graph by what came of them.");
    describe_gauge!("waypost_subscriptions", "Subscriptions by status.");
    describe_gauge!(
        "waypost_subscription_deletions_waiting",
        "Subscriptions that must still be deleted at Graph."
    );
    describe_gauge!("waypost_deliveries_in_flight", "Requests to endpoints under way in this process.");
    describe_gauge!("waypost_oldest_due_seconds", Unit::Seconds, "How late the oldest due delivery is.");
}
