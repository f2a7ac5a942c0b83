//! Pages of a list, as AIP-158 has them: sizes are brought within bounds, tokens are opaque and belong to their query.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rstuf_tuf::Sha256;

use crate::Violation;

/// What stands first in a token: how the rest is written.
const TOKEN_VERSION: u8 = 1;
/// Bytes of the query's digest in a token.
const QUERY_BYTES: usize = 16;

/// How many entries a page of one list has.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Unless asked otherwise.
    pub default: usize,
    /// However many are asked for.
    pub max: usize,
}

/// The page that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    size: usize,
    query: [u8; QUERY_BYTES],
    cursor: Option<Vec<u8>>,
}

impl Page {
    /// Reads `page_size` and `page_token` of a request; `query` is what else it asks for, the name of the list first.
    ///
    /// # Errors
    /// The violation names `page_token`, where that is not one of this very query.
    pub fn read(sizes: Sizes, page_size: u32, page_token: &str, query: &[&str]) -> Result<Self, Violation> {
        let size = if page_size == 0 { sizes.default } else { sizes.max.min(page_size as usize) };
        let query = digest(query);
        let refuse = || Violation {
            field: "page_token".to_owned(),
            description: "not one that was answered to this query, allowed is its `next_page_token`, or none"
                .to_owned(),
        };
        let cursor = match page_token {
            "" => None,
            token => Some(cursor(token, query).ok_or_else(refuse)?),
        };
        Ok(Self { size, query, cursor })
    }

    /// Entries in it at most.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Where it begins, as [`Page::token`] was told; `None` for the first page.
    ///
    /// # Errors
    /// The violation names `page_token`, where `read` makes nothing of it: no list of ours answered it.
    pub fn cursor<T>(&self, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Violation> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let place = std::str::from_utf8(cursor).ok().and_then(read);
        let refuse =
            || Violation { field: "page_token".to_owned(), description: "not one of an earlier page".to_owned() };
        place.map(Some).ok_or_else(refuse)
    }

    /// The token of the page that begins at `cursor`.
    #[must_use]
    pub fn token(&self, cursor: &str) -> String {
        let bytes = [&[TOKEN_VERSION], &self.query[..], cursor.as_bytes()].concat();
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }
}

fn cursor(token: &str, query: [u8; QUERY_BYTES]) -> Option<Vec<u8>> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
    let rest = bytes.strip_prefix(&[TOKEN_VERSION])?;
    rest.strip_prefix(&query).map(<[u8]>::to_vec)
}

/// Of parts that are kept apart by their lengths.
fn digest(query: &[&str]) -> [u8; QUERY_BYTES] {
    let mut bytes = Vec::new();
    for part in query {
        bytes.extend((part.len() as u64).to_be_bytes());
        bytes.extend(part.as_bytes());
    }
    let mut short = [0; QUERY_BYTES];
    short.copy_from_slice(&Sha256::of(&bytes).as_bytes()[..QUERY_BYTES]);
    short
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SIZES: Sizes = Sizes { default: 100, max: 1_000 };

    fn text(page: &Page) -> Option<String> {
        page.cursor(|text| Some(text.to_owned())).unwrap()
    }

    #[test]
    fn sizes_are_brought_within_bounds() {
        for (asked, given) in [(0, 100), (1, 1), (1_000, 1_000), (1_001, 1_000), (u32::MAX, 1_000)] {
            assert_eq!(Page::read(SIZES, asked, "", &["artifacts", "a/"]).unwrap().size(), given);
        }
    }

    #[test]
    fn a_token_belongs_to_its_query_and_to_no_other() {
        let first = Page::read(SIZES, 0, "", &["artifacts", "a/"]).unwrap();
        assert_eq!(text(&first), None);
        let token = first.token("a/ü.tar");
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{token}");
        // Another size is the same query.
        let next = Page::read(SIZES, 7, &token, &["artifacts", "a/"]).unwrap();
        assert_eq!((text(&next).as_deref(), next.size()), (Some("a/ü.tar"), 7));
        for other in
            [&["artifacts", "b/"][..], &["tasks", "a/"], &["artifacts"], &["artifactsa/"], &["artifacts", "a/", ""]]
        {
            assert_eq!(Page::read(SIZES, 7, &token, other).unwrap_err().field, "page_token", "{other:?}");
        }
        let cut = &token[..token.len() / 4];
        for broken in ["a/b", "\n", "AA", cut, &format!("{token}="), &token.replace('A', "!")] {
            assert!(Page::read(SIZES, 7, broken, &["artifacts", "a/"]).is_err(), "{broken:?}");
        }
        assert_eq!(next.cursor(|_| None::<u64>).unwrap_err().field, "page_token");
    }
}
