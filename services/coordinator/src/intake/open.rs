//! The open imports, in memory. A short lock guards the table and the bytes of all together; whoever changes one import
//! has its turn until the change is on disk, so none waits for another.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use rstuf_api::RequestId;
use rstuf_runtime::later;
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use super::queue;
use crate::{Error, Result, journal::rows::ImportRow};

/// Imports open at a time.
const IMPORTS_MAX: usize = 64;
/// Bytes of all open imports together.
const BYTES_OPEN_MAX: u64 = 8 * queue::BYTES_PER_BATCH_MAX;
/// An import to which nothing was appended for so long lapses.
const IDLE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// One to which nothing was appended at all lapses after so long: it costs its caller nothing, and takes a place.
const EMPTY_MAX: Duration = Duration::from_secs(10 * 60);

/// The table.
#[derive(Debug)]
pub(super) struct Open {
    places: Mutex<BTreeMap<Uuid, Place>>,
}

/// One import.
#[derive(Debug)]
struct Place {
    /// As it is journalled.
    row: ImportRow,
    /// Bytes that are on their way into the journal.
    reserved: u64,
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// The right to change one import; nobody else has it meanwhile.
pub(super) type Turn = OwnedMutexGuard<()>;

/// Keeps bytes free for an import, until it is dropped or they are put.
pub(super) struct Reserved<'a> {
    open: &'a Open,
    id: Uuid,
}

impl Open {
    /// Those that a start found.
    pub(super) fn new(rows: BTreeMap<Uuid, ImportRow>) -> Self {
        let places = rows.into_iter().map(|(id, row)| (id, Place::new(row))).collect();
        Self { places: Mutex::new(places) }
    }

    /// Waits for the turn to change an import; none where there is no such import.
    pub(super) async fn turn(&self, id: Uuid) -> Option<Turn> {
        let turn = self.lock().get(&id)?.turn.clone();
        Some(turn.lock_owned().await)
    }

    /// As it is journalled; none where it has lapsed.
    pub(super) fn row(&self, id: Uuid, now: Timestamp) -> Option<ImportRow> {
        self.lock().get(&id).filter(|place| place.is_live(now)).map(|place| place.row.clone())
    }

    /// The one that others can go on with by its request id.
    pub(super) fn find(&self, request_id: &RequestId, now: Timestamp) -> Option<(Uuid, ImportRow)> {
        let is_it = |row: &ImportRow| !row.one_call && row.request_id.as_ref() == Some(request_id);
        let places = self.lock();
        let found = places.iter().find(|(_, place)| is_it(&place.row) && place.is_live(now));
        found.map(|(id, place)| (*id, place.row.clone()))
    }

    /// Whether one more may be opened.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub(super) fn admit_one(&self, now: Timestamp) -> Result<()> {
        let live = self.lock().values().filter(|place| place.is_live(now)).count();
        if live < IMPORTS_MAX { Ok(()) } else { Err(Error::Full { what: "open imports", max: IMPORTS_MAX as u64 }) }
    }

    /// Reserves so many more bytes for an import.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub(super) fn reserve(&self, id: Uuid, bytes: u64, now: Timestamp) -> Result<Reserved<'_>> {
        let mut places = self.lock();
        let live = places.values().filter(|place| place.is_live(now));
        if live.map(|place| place.row.bytes + place.reserved).sum::<u64>() + bytes > BYTES_OPEN_MAX {
            return Err(Error::Full { what: "bytes of open imports", max: BYTES_OPEN_MAX });
        }
        if let Some(place) = places.get_mut(&id) {
            place.reserved = bytes;
        }
        Ok(Reserved { open: self, id })
    }

    /// Takes in what is journalled of an import.
    pub(super) fn put(&self, id: Uuid, row: ImportRow) {
        let mut places = self.lock();
        match places.get_mut(&id) {
            Some(place) => (place.row, place.reserved) = (row, 0),
            None => drop(places.insert(id, Place::new(row))),
        }
    }

    /// Forgets one that is not in the journal any more.
    pub(super) fn remove(&self, id: Uuid) {
        self.lock().remove(&id);
    }

    /// Those that have lapsed.
    pub(super) fn lapsed(&self, now: Timestamp) -> BTreeMap<Uuid, ImportRow> {
        let places = self.lock();
        places.iter().filter(|(_, it)| !it.is_live(now)).map(|(id, it)| (*id, it.row.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uuid, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn new(row: ImportRow) -> Self {
        Self { row, reserved: 0, turn: Arc::default() }
    }

    fn is_live(&self, now: Timestamp) -> bool {
        expiry(&self.row) > now
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.open.lock().get_mut(&self.id) {
            place.reserved = 0;
        }
    }
}

/// When an import lapses. One that a call streams ends with that call, however late it brings its first part.
pub(super) fn expiry(row: &ImportRow) -> Timestamp {
    let idle_max = if row.parts == 0 && !row.one_call { EMPTY_MAX } else { IDLE_MAX };
    later(row.touched, idle_max)
}

/// That nothing else takes the request id of an open import, which could not be committed then.
pub(super) fn opened(request_id: &RequestId, import: Uuid) -> Error {
    Error::RequestIdOpen { request_id: request_id.to_string(), import: import.to_string() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row(parts: u32, bytes: u64, touched: Timestamp) -> ImportRow {
        let digest = rstuf_api::digest::OF_NOTHING;
        let changes = u64::from(parts);
        let (request_id, previous) = (Some("id".parse().unwrap()), None);
        ImportRow { request_id, hold: false, one_call: false, changes, bytes, parts, digest, previous, touched }
    }

    /// What has lapsed is found by nobody, and neither its place nor its bytes count.
    #[test]
    fn what_has_lapsed_counts_for_nothing() {
        let (empty, full) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let (start, id) = (Timestamp::UNIX_EPOCH, "id".parse().unwrap());
        let open = Open::new([(empty, row(0, 0, start)), (full, row(1, BYTES_OPEN_MAX, start))].into());
        (3..=IMPORTS_MAX as u128).for_each(|id| open.put(Uuid::from_u128(id), row(0, 0, start)));
        assert!(matches!(open.admit_one(start), Err(Error::Full { .. })));
        assert!(matches!(open.reserve(empty, 1, start), Err(Error::Full { .. })));
        let later = start + EMPTY_MAX;
        open.admit_one(later).unwrap();
        assert_eq!((open.row(empty, later), open.lapsed(later).len()), (None, IMPORTS_MAX - 1));
        assert_eq!(open.find(&id, later).unwrap().0, full);
        assert!(open.reserve(empty, 1, later).is_err(), "that of the other still counts");
        let late = start + IDLE_MAX;
        assert_eq!((open.find(&id, late), open.lapsed(late).len()), (None, IMPORTS_MAX));
        assert!(open.reserve(empty, BYTES_OPEN_MAX, late).is_ok());
    }

    /// Bytes on their way count, until they are journalled or refused.
    #[test]
    fn bytes_on_their_way_count() {
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let now = Timestamp::UNIX_EPOCH;
        let open = Open::new([(one, row(0, 0, now)), (two, row(0, 0, now))].into());
        let half = BYTES_OPEN_MAX / 2;
        let reserved = open.reserve(one, half + 1, now).unwrap();
        assert!(open.reserve(two, half, now).is_err());
        drop(reserved);
        let reserved = open.reserve(two, half, now).unwrap();
        open.put(two, row(1, half, now));
        assert!(open.reserve(one, half, now).is_ok(), "counted once");
        drop(reserved);
        assert!(open.reserve(one, half + 1, now).is_err());
    }
}
