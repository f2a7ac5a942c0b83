//! What every part that makes publications holds.

use std::sync::Arc;

use bytes::Bytes;
use rstuf_runtime::{Clock, Shutdown};
use rstuf_tuf::RoleName;
use uuid::Uuid;

use crate::{
    Error, Result,
    backoff::Backoff,
    blocking::blocking,
    effects::Effects,
    ids::Ids,
    journal::{Entry, Journal, rows::BatchRow},
    published::Published,
    publisher::{Publisher, TIMESTAMP_FILE},
    signers::{Group, Signers},
    tasks::Tasks,
    troubles::{Troubles, Work},
};

/// One of each. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Handles {
    /// What must not be forgotten.
    pub journal: Journal,
    /// What clients see.
    pub published: Published,
    /// What became of each request, and who watches.
    pub tasks: Tasks,
    /// Who signs.
    pub signers: Signers,
    /// Where documents go.
    pub publisher: Arc<dyn Publisher>,
    /// The time that expiries are planned by: this machine's, until a signer finds that it jumped.
    pub clock: Clock,
    /// The time that things happened at and are old by: never ahead by a jump, so that nothing is forgotten too early.
    pub steady: Clock,
    /// Ids of tasks, batches and runs.
    pub ids: Ids,
    /// Measures effects, and stops before or after them in tests.
    pub effects: Effects,
    /// What is in the way of work.
    pub troubles: Troubles,
    /// Ends everything, between two effects.
    pub shutdown: Shutdown,
}

impl Handles {
    /// An id made now.
    pub(crate) fn next_id(&self) -> Uuid {
        self.ids.next(self.steady.now())
    }

    /// Reads the journal, where that may block.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Journal`].
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Journal) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let journal = self.journal.clone();
        blocking(move || read(&journal)).await
    }

    /// The batch under way: with thousands of roles it takes a while to read.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Journal`].
    pub(crate) async fn batch(&self) -> Result<Option<BatchRow>> {
        self.read(Journal::batch).await
    }

    /// Makes the batch under way durable, and gives it back.
    ///
    /// # Errors
    /// As [`Handles::commit`].
    pub(crate) async fn commit_batch(&self, batch: BatchRow) -> Result<BatchRow> {
        let (entry, batch) = blocking(move || Ok((Entry::of_batch(&batch), batch))).await?;
        self.commit(entry).await.map(|()| batch)
    }

    /// Makes the entry durable, and where the disk is full waits until there is space: what was acknowledged must not
    /// be given up for that.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::Stopping`] at a shutdown.
    pub(crate) async fn commit(&self, entry: Entry) -> Result<()> {
        // What is kept for the next attempt shares its keys and values with what is committed.
        let committed =
            self.until_done(Work::Journal, Error::is_no_space, || self.journal.commit(entry.clone())).await?;
        committed.ok_or(Error::Stopping)?;
        self.troubles.ended(Work::Journal);
        Ok(())
    }

    /// Tries until it is done, as long as what is in the way of `work` is what `passes` says; none at a shutdown. That
    /// the trouble ended is for the caller to say, who may have more to do.
    ///
    /// # Errors
    /// What does not pass.
    pub(crate) async fn until_done<T, A>(
        &self,
        work: Work,
        passes: impl Fn(&Error) -> bool,
        mut attempt: impl FnMut() -> A,
    ) -> Result<Option<T>>
    where
        A: Future<Output = Result<T>>,
    {
        let mut backoff = Backoff::new(self.shutdown.clone());
        loop {
            match attempt().await {
                Ok(done) => return Ok(Some(done)),
                Err(error) if passes(&error) => self.troubles.happened(work, &error),
                Err(error) => return Err(error),
            }
            if !backoff.wait().await {
                return Ok(None);
            }
        }
    }

    /// A signer is behind what it signed last of `role`, as far as that is known: hands it the proof. That it does not
    /// take it is no failure: it is asked again, and says why.
    ///
    /// # Errors
    /// [`Error::DocumentLost`], [`Error::Publish`].
    pub(crate) async fn prove(&self, group: Group, role: &RoleName) -> Result<()> {
        let Some(envelope) = self.newest(role).await? else { return Ok(()) };
        if let Err(error) = self.signers.load(group, role, envelope).await {
            tracing::warn!(%role, error = &error as &dyn std::error::Error, "the published document was not taken");
        }
        Ok(())
    }

    async fn newest(&self, role: &RoleName) -> Result<Option<Bytes>> {
        if *role == RoleName::timestamp() {
            return self.publisher.read(TIMESTAMP_FILE).await;
        }
        let published = || self.published.role(role).map(|row| row.reference(role));
        match self.published.withdrawn_of(role).or_else(published) {
            Some(reference) => self.published.document(&reference).await.map(Some),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
pub(crate) mod testing;
