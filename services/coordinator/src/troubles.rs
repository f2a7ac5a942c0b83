//! What keeps work from going on: logged once and then counted, shown in status, and in `/readyz` where waiting will
//! not mend it.

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rstuf_api::{Reason, Refusal};
use rstuf_runtime::{Hold, Jump, Readiness, repeat::Repeated};

use crate::Error;

/// How often the count of what is in the way is logged.
pub(crate) const LOG_PERIOD: Duration = Duration::from_secs(600);

/// What may have to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    /// Comparing the journal with the signers of snapshot and timestamp.
    Start,
    /// Comparing the journal with the targets signer.
    TargetsStart,
    /// Carrying out a ceremony.
    Ceremony,
    /// Having a batch signed.
    Batch,
    /// Having roles of the targets signer renewed.
    Renewal,
    /// Having snapshot and timestamp signed and published.
    Publication,
    /// Renewing the timestamp while a publication waits.
    Refresh,
    /// Making durable what was acknowledged.
    Journal,
    /// Taking in what is asked for.
    Intake,
    /// Whatever has to be renewed next, for want of space.
    Space,
    /// Keeping the list of artifacts.
    Index,
}

impl fmt::Display for Work {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Start => "the start",
            Self::TargetsStart => "the start of batches",
            Self::Ceremony => "the ceremony",
            Self::Batch => "the batch",
            Self::Renewal => "the renewal of some roles",
            Self::Publication => "the publication",
            Self::Refresh => "the renewal of the timestamp",
            Self::Journal => "the journal",
            Self::Intake => "taking requests in",
            Self::Space => "whatever has to be renewed",
            Self::Index => "the list of artifacts",
        })
    }
}

/// What is in the way now. Cheap to clone; clones are one list.
#[derive(Clone)]
pub(crate) struct Troubles {
    readiness: Readiness,
    standing: Arc<Mutex<BTreeMap<Work, Trouble>>>,
}

/// What is in the way of one kind of work.
struct Trouble {
    text: String,
    /// Held only while waiting will not mend it.
    hold: Option<Hold>,
    repeated: Repeated,
}

impl Troubles {
    /// Nothing is in the way yet.
    pub(crate) fn new(readiness: Readiness) -> Self {
        Self { readiness, standing: Arc::default() }
    }

    /// `work` waits because of `error`, and is tried again.
    pub(crate) fn happened(&self, work: Work, error: &Error) {
        let text = lasting(error);
        let passes = error.passes();
        let mut standing = self.lock();
        let trouble = standing.entry(work).or_insert_with(|| Trouble {
            text: String::new(),
            hold: None,
            repeated: Repeated::new(LOG_PERIOD),
        });
        if trouble.text != text {
            trouble.hold = (!passes).then(|| self.hold(work, format!("{work} waits: {text}")));
            trouble.text.clone_from(&text);
        }
        trouble.repeated.happened(&text, |line| match passes {
            true => tracing::warn!(%work, error = line.text, times = line.times, "work waits"),
            false => tracing::error!(%work, error = line.text, times = line.times, "work waits for an operator"),
        });
    }

    /// Whoever asks for what can't be had is refused by name, and whatever else is asked for is answered.
    fn hold(&self, work: Work, reason: String) -> Hold {
        match work {
            Work::Intake | Work::Space | Work::Index => self.readiness.warn(reason),
            _ => self.readiness.hold_error(reason),
        }
    }

    /// `work` goes on.
    pub(crate) fn ended(&self, work: Work) {
        let Some(trouble) = self.lock().remove(&work) else { return };
        trouble.repeated.ended(|line| {
            tracing::info!(%work, error = line.text, times = line.times, "this was in the way before");
        });
        tracing::info!(%work, "work goes on");
    }

    /// For people: what is in the way, in the order of the work.
    pub(crate) fn standing(&self) -> Vec<String> {
        let text = |(work, trouble): (&Work, &Trouble)| match trouble.hold {
            Some(_) => format!("error: {work} waits for an operator: {}", trouble.text),
            None => format!("{work} waits: {}", trouble.text),
        };
        self.lock().iter().map(text).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Work, Trouble>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an error says each time that it happens: how many bytes are free is another number at every attempt.
pub(crate) fn lasting(error: &Error) -> String {
    let signers_clock = |refusal| matches!(refusal, Refusal::ClockJumped | Refusal::ClockWentBack);
    let signers_disk = |reason: &Reason| reason.name == Refusal::DiskFull;
    let full = |dir: &Path| format!("disk of {} is full: make space, nothing was changed", dir.display());
    match error {
        Error::Store(rstuf_store::Error::NoSpace { dir, .. }) => full(dir),
        Error::Index(source) => match source.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(rstuf_store::Error::NoSpace { dir, .. }) => full(dir),
            _ => error.to_string(),
        },
        Error::Publish { path, .. } if error.is_no_space() => full(path),
        Error::SignerRefused { group, reason, .. } if reason.as_ref().is_some_and(signers_disk) => {
            format!("the {group} signer refused: its disk is full, make space")
        }
        // Its time is another one at every attempt.
        Error::SignerRefused { group, reason: Some(reason), .. } if signers_clock(reason.name) => {
            signers_clock_fault(group.as_str(), reason.name.as_str())
        }
        Error::SignerRefused { group, reason: Some(reason), .. } if reason.metadata.contains_key("expired_at") => {
            format!("the {group} signer refused: by its clock, documents that it was shown have expired: look after it")
        }
        other => other.to_string(),
    }
}

/// What is said of this machine's own clock.
pub(crate) fn clock_fault(jump: Jump) -> String {
    format!(
        "the coordinator's clock jumped forward: it says {:.0}, by the time since its machine started it is {:.0}. \
         Nothing is deleted by it meanwhile: set it right; where it is right, restart the coordinator",
        jump.wall, jump.expected
    )
}

/// What is said of a signer that signs nothing because of its clock.
pub(crate) fn signers_clock_fault(group: &str, refusal: &str) -> String {
    format!(
        "the {group} signer signs nothing because of its clock ({refusal}): set that right; where it is right, stop \
         the signer and run it once with `reset-clock`"
    )
}

#[cfg(test)]
mod tests {
    use rstuf_runtime::Shutdown;

    use super::*;
    use crate::signers::{Group, Objection};

    fn unreachable() -> Error {
        Error::SignerUnreachable {
            group: Group::Snapshot,
            endpoint: "http://127.0.0.1:1".to_owned(),
            message: "refused".to_owned(),
        }
    }

    fn refused(objection: Objection) -> Error {
        let message = "no".to_owned();
        Error::SignerRefused { group: Group::Snapshot, objection, reason: None, message }
    }

    /// Only what waiting will not mend makes the process unready, and only until it is over.
    #[tokio::test]
    async fn an_error_is_told_from_a_wait() {
        let readiness = Readiness::new(Shutdown::new());
        let troubles = Troubles::new(readiness.clone());
        troubles.happened(Work::Publication, &unreachable());
        assert!(readiness.is_ready());
        assert_eq!(troubles.standing(), [format!("the publication waits: {}", unreachable())]);
        for _ in 0..3 {
            troubles.happened(Work::Publication, &refused(Objection::Request));
        }
        assert_eq!(readiness.reasons().len(), 1);
        assert!(troubles.standing()[0].starts_with("error: the publication waits for an operator: "));
        troubles.happened(Work::Batch, &refused(Objection::Later));
        assert_eq!(troubles.standing().len(), 2);
        troubles.happened(Work::Publication, &unreachable());
        assert!(readiness.is_ready());
        troubles.ended(Work::Publication);
        troubles.ended(Work::Batch);
        assert!(troubles.standing().is_empty());
    }

    /// A disk that is full is one trouble, however full it is.
    #[tokio::test]
    async fn a_full_disk_is_one_trouble() {
        let readiness = Readiness::new(Shutdown::new());
        let troubles = Troubles::new(readiness.clone());
        let full = |free_bytes| rstuf_store::Error::NoSpace {
            dir: "state".into(),
            free_bytes,
            wanted_bytes: free_bytes * 2,
            floor_bytes: 1,
        };
        let mut said = std::collections::BTreeSet::new();
        for free_bytes in 0..3 {
            troubles.happened(Work::Journal, &full(free_bytes).into());
            said.extend(troubles.standing());
        }
        assert_eq!(said.len(), 1, "{said:?}");
        troubles.ended(Work::Journal);
        assert!(troubles.standing().is_empty());
    }
}
