//! Answers that come in pages.

use crate::error::Error;

/// A list, as far as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed<T> {
    /// At most as many as asked for.
    pub(crate) items: Vec<T>,
    /// There are more.
    pub(crate) more: bool,
}

/// Fetches pages, of at most `page_max` items, until there are `limit` items or no more. `fetch` gets the size and the
/// token of a page, and answers its items and the next token.
///
/// # Errors
/// What `fetch` answers.
pub(crate) async fn collect<T>(
    limit: Option<usize>,
    page_max: u32,
    fetch: impl AsyncFnMut(u32, String) -> Result<(Vec<T>, String), Error>,
) -> Result<Listed<T>, Error> {
    let mut items = Vec::new();
    let gather = |page| {
        items.extend(page);
        Ok(())
    };
    let more = walk(limit, page_max, fetch, gather).await?;
    Ok(Listed { items, more })
}

/// As [`collect`], but hands on the items of each page when it comes; answers whether there are more.
///
/// # Errors
/// What `fetch` or `show` answers.
pub(crate) async fn walk<T>(
    limit: Option<usize>,
    page_max: u32,
    mut fetch: impl AsyncFnMut(u32, String) -> Result<(Vec<T>, String), Error>,
    mut show: impl FnMut(Vec<T>) -> Result<(), Error>,
) -> Result<bool, Error> {
    let mut left = limit.unwrap_or(usize::MAX);
    let mut token = String::new();
    while left > 0 {
        let size = u32::try_from(left).unwrap_or(page_max).min(page_max);
        let (mut page, next) = fetch(size, token).await?;
        let cut = page.len() > left;
        page.truncate(left);
        left -= page.len();
        show(page)?;
        if next.is_empty() {
            return Ok(cut);
        }
        token = next;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers below 25 in pages; the token is the next number.
    async fn numbers(limit: Option<usize>) -> (Listed<usize>, Vec<u32>) {
        let mut sizes = Vec::new();
        let listed = collect(limit, 10, async |size, token| {
            sizes.push(size);
            let start = token.parse().unwrap_or(0);
            let end = (start + size as usize).min(25);
            let next = if end < 25 { end.to_string() } else { String::new() };
            Ok(((start..end).collect(), next))
        });
        (listed.await.unwrap(), sizes)
    }

    #[tokio::test]
    async fn as_many_pages_are_fetched_as_are_needed() {
        let all = Listed { items: (0..25).collect(), more: false };
        assert_eq!(numbers(None).await, (all.clone(), vec![10, 10, 10]));
        assert_eq!(numbers(Some(25)).await, (all, vec![10, 10, 5]));
        assert_eq!(numbers(Some(13)).await, (Listed { items: (0..13).collect(), more: true }, vec![10, 3]));
    }
}
