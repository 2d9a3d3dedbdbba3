//! Subscriptions at the strict simulator of Graph: made, joined, found again, taken over, renewed, deleted.

mod cleaning;
mod creating;
mod importing;
mod scene;
mod sharing;
mod templates;
mod unclear;
