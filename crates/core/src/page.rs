//! Keyset pages: lists that stay true while rows come and go.

/// How many rows a page may hold at most.
pub const MAX_LIMIT: u16 = 200;
/// How many rows a page holds when nobody says.
pub const DEFAULT_LIMIT: u16 = 50;

/// What part of a list is wanted. `K` is the key that the list is ordered by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<K> {
    /// 1 to [`MAX_LIMIT`].
    pub limit: u16,
    /// The last key of the page before; `None` for the first page.
    pub after: Option<K>,
}

impl<K> Default for Page<K> {
    fn default() -> Self {
        Self { limit: DEFAULT_LIMIT, after: None }
    }
}

/// A page's rows, and the key to go on after when there is more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T, K> {
    /// The rows, in the list's order.
    pub rows: Vec<T>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<K>,
}

impl<T, K> Listed<T, K> {
    /// Cuts rows that were read with `limit + 1` down to a page.
    #[must_use]
    pub fn cut(mut rows: Vec<T>, limit: u16, key: impl Fn(&T) -> K) -> Self {
        let limit = usize::from(limit);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(key) } else { None };
        Self { rows, next }
    }
}
