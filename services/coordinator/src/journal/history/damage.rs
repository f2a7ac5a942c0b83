//! The way on where files of the history are missing or damaged, with which no coordinator starts: an operator has just
//! those forgotten.

use std::fmt::Write as _;

use rstuf_store::{Options, Store};

use super::segment::{Fault, Name, Segment, SegmentRow};
use crate::{
    Config, Error, Result,
    journal::{Entry, keys::history_key},
};

/// A file of which something can't be read, and what is wrong with it.
struct Damaged {
    name: Name,
    tasks: u64,
    reason: String,
}

/// Forgets the finished tasks, with their results and request ids, of all files in the state directory of a coordinator
/// that are missing or damaged, and says which these are. Nothing else changes.
///
/// # Errors
/// [`Error::Invalid`] where no coordinator was there; [`Error::Store`], among others while the coordinator runs, and
/// where the disk does not say how a file is: then nothing is forgotten.
pub async fn forget_damaged(config: &Config) -> Result<String> {
    let dir = &config.common.state_dir;
    if !rstuf_store::is_state_dir(dir) {
        return Err(Error::field("state_dir", format!("{} is no state directory of a coordinator", dir.display())));
    }
    // It only takes away, so it may do so on a disk that is as good as full.
    let store = Store::open(Options::new(dir, "coordinator").free_bytes_min(0))?;
    let damaged = damaged(&store)?;
    let mut entry = Entry::new();
    damaged.iter().for_each(|it| entry.delete(history_key(it.name)));
    store.commit(entry.into_batch()).await?;
    store.close().await?;
    Ok(report(&damaged))
}

/// Reads and checks every file. Blocks.
fn damaged(store: &Store) -> Result<Vec<Damaged>> {
    let mut damaged = Vec::new();
    for (name, row) in super::named(store)? {
        let SegmentRow { tasks, .. } = row;
        match Segment::check(store, name, row) {
            Ok(()) => {}
            Err(Fault::Damaged(reason)) => damaged.push(Damaged { name, tasks, reason }),
            Err(Fault::Disk(error)) => return Err(error.into()),
        }
    }
    Ok(damaged)
}

/// For people.
fn report(damaged: &[Damaged]) -> String {
    let mut text = String::new();
    for Damaged { name, tasks, reason } in damaged {
        // Writing to a text can't fail.
        let _ = writeln!(text, "forgot {tasks} tasks that ended on {}, with file {name}: {reason}", name.day);
    }
    if damaged.is_empty() {
        return "every file of finished tasks is whole: nothing was forgotten\n".to_owned();
    }
    text + "with their results and request ids: such a request that is sent again is carried out again\n\
            nothing else has changed: start the coordinator again\n"
}
