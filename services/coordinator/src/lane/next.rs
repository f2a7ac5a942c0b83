//! What a run has to do next, decided by its row alone.

use jiff::Timestamp;
use rstuf_tuf::{Revision, RoleName};

use crate::{
    Result,
    effects::Effect,
    journal::{rows::LaneRow, unusable_lane},
};

/// What has to be signed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Todo<'a> {
    Snapshot(&'a Revision),
    /// The timestamp, over the run's own snapshot, or over the published one.
    Timestamp(&'a Revision),
}

/// What a run has to do next.
///
/// # Errors
/// [`crate::Error::Journal`] if its row names nothing.
pub(super) fn next(row: &LaneRow) -> Result<Todo<'_>> {
    match (&row.snapshot, &row.snapshot_document, &row.timestamp) {
        (Some(revision), None, _) => Ok(Todo::Snapshot(revision)),
        (Some(_), Some(_), Some(revision)) | (None, _, Some(revision)) => Ok(Todo::Timestamp(revision)),
        (Some(_), Some(_), None) | (None, _, None) => Err(unusable_lane("no step is planned")),
    }
}

impl Todo<'_> {
    /// The version that is asked for.
    pub(super) fn revision(&self) -> &Revision {
        let (Self::Snapshot(revision) | Self::Timestamp(revision)) = self;
        revision
    }

    /// The role that is signed.
    pub(super) fn role(&self) -> RoleName {
        match self {
            Self::Snapshot(_) => RoleName::snapshot(),
            Self::Timestamp(_) => RoleName::timestamp(),
        }
    }

    /// The effect of journalling that it is to be done.
    pub(super) fn planned(&self) -> Effect {
        match self {
            Self::Snapshot(_) => Effect::PlanSnapshot,
            Self::Timestamp(_) => Effect::PlanTimestamp,
        }
    }

    /// The row that asks for the same with another expiry.
    pub(super) fn redated(&self, row: &LaneRow, expires: Timestamp) -> LaneRow {
        let revision = Some(Revision { expires, ..self.revision().clone() });
        match self {
            Self::Snapshot(_) => LaneRow { snapshot: revision, ..row.clone() },
            Self::Timestamp(_) => LaneRow { timestamp: revision, ..row.clone() },
        }
    }
}

/// The row of a run that the start goes on with; none of one that stood for what was renewed meanwhile. A timestamp
/// that was asked for meanwhile may be signed, and seen by clients: the very same is asked for again, and waits for no
/// snapshot signer.
pub(super) fn going_on(row: &LaneRow) -> Option<LaneRow> {
    match (row.is_idle(), &row.refresh) {
        (false, _) => Some(row.clone()),
        (true, None) => None,
        (true, Some(_)) => Some(LaneRow { timestamp: row.refresh.clone(), refresh: None, ..row.clone() }),
    }
}

/// The row of a run whose snapshot expired while it stood still: another one takes its place.
pub(super) fn with_snapshot(row: &LaneRow, snapshot: Revision) -> LaneRow {
    LaneRow { snapshot: Some(snapshot), snapshot_document: None, timestamp: None, ..row.clone() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rstuf_api::DocumentRef;
    use rstuf_tuf::Version;
    use uuid::Uuid;

    use super::*;
    use crate::journal::rows::SignedDocument;

    fn revision(second: i64) -> Revision {
        Revision { base: None, version: Version::ONE, expires: Timestamp::from_second(second).unwrap() }
    }

    fn row(snapshot: Option<Revision>, timestamp: Option<Revision>) -> LaneRow {
        LaneRow { snapshot, timestamp, ..LaneRow::new(Uuid::nil(), false) }
    }

    fn document() -> SignedDocument {
        let reference = DocumentRef::of(RoleName::snapshot(), Version::ONE, b"snapshot");
        SignedDocument { reference, expires: Timestamp::UNIX_EPOCH }
    }

    /// A run with a snapshot signs that first, then the timestamp; a renewal of the timestamp signs nothing else.
    #[test]
    fn a_run_goes_from_snapshot_to_timestamp() {
        let planned = row(Some(revision(1)), Some(revision(2)));
        assert_eq!(next(&planned).unwrap(), Todo::Snapshot(&revision(1)));
        let signed = LaneRow { snapshot_document: Some(document()), ..planned };
        assert_eq!(next(&signed).unwrap(), Todo::Timestamp(&revision(2)));
        assert_eq!(next(&row(None, Some(revision(3)))).unwrap(), Todo::Timestamp(&revision(3)));
        let again = with_snapshot(&signed, revision(4));
        assert_eq!(next(&again).unwrap(), Todo::Snapshot(&revision(4)));
    }

    #[test]
    fn a_row_without_a_step_is_a_defect() {
        assert!(next(&row(None, None)).is_err());
        let signed = LaneRow { snapshot_document: Some(document()), ..row(Some(revision(1)), None) };
        assert!(next(&signed).is_err());
    }

    /// Only the expiry changes: a version that was asked for stays.
    #[test]
    fn redating_changes_the_expiry_alone() {
        let planned = row(Some(revision(1)), Some(revision(2)));
        let todo = next(&planned).unwrap();
        let later = todo.redated(&planned, revision(9).expires);
        assert_eq!(later, row(Some(revision(9)), Some(revision(2))));
        assert_eq!(todo.planned(), Effect::PlanSnapshot);
        let signed = LaneRow { snapshot_document: Some(document()), ..planned };
        let todo = next(&signed).unwrap();
        let later = LaneRow { timestamp: Some(revision(9)), ..signed.clone() };
        assert_eq!(todo.redated(&signed, revision(9).expires), later);
        assert_eq!((todo.planned(), todo.role()), (Effect::PlanTimestamp, RoleName::timestamp()));
    }
}
