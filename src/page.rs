//! Pages by key, not by number: what is added or removed in front of a page does not shift it.

use crate::error::StoreError;

/// Which page of a listing is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paging {
    /// At most this many items, 1 to [`Paging::MAX`].
    pub limit: u64,
    /// Where to go on: the `next` of the page before; none for the first.
    pub after: Option<String>,
}

impl Default for Paging {
    fn default() -> Self {
        Self { limit: 100, after: None }
    }
}

impl Paging {
    /// The largest page.
    pub const MAX: u64 = 10_000;

    /// The first page, with at most `limit` items.
    pub fn first(limit: u64) -> Self {
        Self { limit, after: None }
    }

    /// The page after the one whose `next` this is.
    pub fn after(mut self, cursor: impl Into<String>) -> Self {
        self.after = Some(cursor.into());
        self
    }

    /// The limit, checked.
    pub(crate) fn checked_limit(&self) -> Result<u64, StoreError> {
        if (1..=Self::MAX).contains(&self.limit) {
            return Ok(self.limit);
        }
        Err(StoreError::InvalidArgument(format!("a page has 1 to {} items, not {}", Self::MAX, self.limit)))
    }
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Page<T> {
    /// The items, in the order of the listing.
    pub items: Vec<T>,
    /// The cursor of the next page; none on the last.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page of what a query with `limit + 1` returned.
    pub(crate) fn of(mut items: Vec<T>, limit: u64, cursor: impl FnOnce(&T) -> String) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(cursor);
        Self { items, next }
    }

    /// The same page with other items.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(change).collect(), next: self.next }
    }
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { items: Vec::new(), next: None }
    }
}
