//! Answers to signing requests.

use bytes::Bytes;
use rstuf_store::Store;
use rstuf_tuf::{Outcomes, RoleName};

use crate::{
    Error, Made, Result,
    detach::blocking,
    rows::{self, RoleAnswerRow},
    session::Body,
};

/// The answer for one role.
#[derive(Debug, Clone)]
pub struct RoleAnswer {
    /// The role.
    pub role: RoleName,
    /// The document that was signed, if one was.
    pub document: Option<Bytes>,
    /// One for each change.
    pub outcomes: Outcomes,
}

/// The answer to a request, its documents still in memory or to be read from the store one by one.
#[derive(Debug)]
pub struct Answer {
    pub(crate) store: Store,
    pub(crate) roles: std::vec::IntoIter<(RoleAnswerRow, Option<Bytes>)>,
}

impl Answer {
    /// The answer for the next role. Blocks.
    ///
    /// # Errors
    /// [`Error::NotFound`] if a later request has replaced the document meanwhile; as the store's.
    pub fn next_role(&mut self) -> Result<Option<RoleAnswer>> {
        let Some((row, bytes)) = self.roles.next() else { return Ok(None) };
        let document = match (bytes, &row.document) {
            (Some(bytes), _) => Some(bytes),
            (None, None) => None,
            (None, Some(known)) => {
                let stored = self.store.get(rows::body_row(&row.role, known))?;
                Some(stored.ok_or_else(|| Error::NotFound { role: row.role.clone() })?.into())
            }
        };
        Ok(Some(RoleAnswer { role: row.role, document, outcomes: row.outcomes }))
    }

    /// The one document of an answer that is a single one, read where that may block.
    ///
    /// # Errors
    /// As [`Answer::next_role`]; [`Error::Corrupt`] if there is none.
    pub async fn into_document(mut self) -> Result<(RoleName, Bytes)> {
        match blocking(move || self.next_role()).await? {
            Some(RoleAnswer { role, document: Some(document), .. }) => Ok((role, document)),
            _ => Err(rows::corrupt("an answer", "no document")),
        }
    }
}

/// The stored part of an answer, and the document where it is still in memory.
pub(crate) fn answer_of(made: Made) -> (RoleAnswerRow, Option<Bytes>) {
    let in_memory = |body| match body {
        Body::Here(bytes) => Some(bytes),
        Body::Ahead(_) => None,
    };
    let (document, body) = made.document.map(|document| (document.known, document.body)).unzip();
    (RoleAnswerRow { role: made.role, document, outcomes: made.outcomes }, body.and_then(in_memory))
}
