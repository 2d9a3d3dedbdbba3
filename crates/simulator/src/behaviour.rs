//! How the simulated services behave where the real ones leave room: delays, page sizes, overlaps and known oddities.
//!
//! Unlike a fault, a behaviour lasts until it is changed and refuses nothing by itself. Values only.

use serde::{Deserialize, Serialize};

/// Everything of that kind at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Behaviour {
    /// The list of subscriptions still shows those that were deleted or expired.
    pub list_is_stale: bool,
    /// The first page of that list is empty and has a next link.
    pub list_starts_empty: bool,
    /// Subscriptions on a page, in place of the rule.
    pub list_page_size: Option<usize>,
    /// Whether exact duplicates are refused, in place of the rule.
    pub duplicates_refused: Option<bool>,
    /// Seconds after an admin's consent until tokens are given.
    pub consent_delay_seconds: u32,
    /// Seconds that a refresh token goes on working after it was replaced.
    pub refresh_overlap_seconds: u32,
    /// Seconds after which an unused refresh token is expired.
    pub refresh_token_seconds: u32,
    /// Items on a page of a list or of a delta query, when the caller does not say.
    pub item_page_size: usize,
    /// Changes made over the API raise notifications, as those made by the control do.
    pub writes_notify: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            list_is_stale: false,
            list_starts_empty: false,
            list_page_size: None,
            duplicates_refused: None,
            consent_delay_seconds: 0,
            refresh_overlap_seconds: 0,
            refresh_token_seconds: 90 * 24 * 3600,
            item_page_size: 10,
            writes_notify: true,
        }
    }
}
