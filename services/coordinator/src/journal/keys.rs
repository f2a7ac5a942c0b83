//! The keys of the journal's rows, and how their values are written.

use rstuf_tuf::RoleName;
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{Error, Result};

pub(super) const REPOSITORY: &str = "repository";
pub(super) const CEREMONY: &str = "ceremony";
pub(super) const PUBLICATION: &str = "publication";
pub(super) const BATCH: &str = "batch";
pub(super) const LANE: &str = "lane";

pub(super) const SUBMISSIONS: &str = "submission/";
pub(super) const PUBLISHES: &str = "publish/";
pub(super) const PARTS: &str = "part/";
pub(super) const RESULTS: &str = "result/";
pub(super) const TASKS: &str = "task/";
pub(super) const ROLES: &str = "role/";
pub(super) const WITHDRAWN: &str = "withdrawn/";
pub(super) const IMPORTS: &str = "import/";
pub(super) const HISTORY: &str = "history/";
const COVERED: &str = "covered/";
const REQUESTS: &str = "request/";

/// Rows are plain structs with text keys: writing them can't fail.
pub(super) fn json(row: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(row).unwrap_or_default()
}

pub(super) fn parse<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T> {
    serde_json::from_slice(value).map_err(|error| unreadable(key, &error.to_string()))
}

pub(super) fn unreadable(key: &[u8], message: &str) -> Error {
    Error::Journal { key: String::from_utf8_lossy(key).into_owned(), message: message.to_owned() }
}

/// That the batch under way does not fit what else is journalled.
pub(crate) fn unusable_batch(message: &str) -> Error {
    unreadable(BATCH.as_bytes(), message)
}

/// That the run of the lane under way does not fit what else is journalled.
pub(crate) fn unusable_lane(message: &str) -> Error {
    unreadable(LANE.as_bytes(), message)
}

/// The number at the end of a key.
pub(super) fn seq_of_key(key: &[u8]) -> Result<u64> {
    let digits = key.rsplit(|byte| *byte == b'/').next().and_then(|digits| std::str::from_utf8(digits).ok());
    let seq = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    seq.ok_or_else(|| unreadable(key, "no number"))
}

pub(super) fn submission_key(seq: u64) -> String {
    format!("{SUBMISSIONS}{seq:016x}")
}

pub(super) fn publish_key(seq: u64) -> String {
    format!("{PUBLISHES}{seq:016x}")
}

pub(super) fn part_key(task: Uuid, part: u32) -> String {
    format!("{PARTS}{task}/{part:08x}")
}

pub(super) fn result_key(task: Uuid, part: u32) -> String {
    format!("{RESULTS}{task}/{part:08x}")
}

pub(super) fn role_key(role: &RoleName) -> String {
    format!("{ROLES}{role}")
}

pub(super) fn withdrawn_key(role: &RoleName) -> String {
    format!("{WITHDRAWN}{role}")
}

pub(super) fn request_key(id: &str) -> String {
    format!("{REQUESTS}{id}")
}

pub(super) fn import_key(id: Uuid) -> String {
    format!("{IMPORTS}{id}")
}

pub(super) fn history_key(file: impl std::fmt::Display) -> String {
    format!("{HISTORY}{file}")
}

pub(super) fn covered_key(publish: Uuid) -> String {
    format!("{COVERED}{publish}")
}

/// Ids grow with time; their complements, as keys, put the newest first.
pub(super) fn task_key(id: Uuid) -> Vec<u8> {
    let complement: String = id.as_bytes().iter().map(|byte| format!("{:02x}", !byte)).collect();
    format!("{TASKS}{complement}").into_bytes()
}

pub(super) fn task_of_key(key: &[u8]) -> Result<Uuid> {
    let digits = key.get(TASKS.len()..).unwrap_or_default();
    let bytes = hex::decode(digits).ok().and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    let bytes = bytes.ok_or_else(|| unreadable(key, "not the key of a task"))?;
    Ok(Uuid::from_bytes(bytes.map(|byte| !byte)))
}
