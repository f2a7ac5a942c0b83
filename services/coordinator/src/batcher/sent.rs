//! How much of a signing request went to the signer.

use uuid::Uuid;

use crate::{
    signers::TargetsMessage,
    tasks::{Progress, Tasks},
};

/// How often watchers are told.
const SENT_TOLD_MAX: u32 = 64;

/// Tells how much of a request went to the signer, before the message goes: nothing that is told of the answer is
/// overwritten.
pub(super) struct Sent {
    /// Who tells.
    pub(super) told: Tasks,
    /// Whose watchers are told.
    pub(super) tasks: Vec<Uuid>,
    /// How far it is.
    pub(super) progress: Progress,
}

impl Sent {
    /// Counts the next message.
    pub(super) fn count(&mut self, message: &TargetsMessage) {
        if message.begins_role() {
            let Progress { roles_sent, roles_total, .. } = &mut self.progress;
            *roles_sent += 1;
            if *roles_sent == *roles_total || roles_sent.is_multiple_of(roles_total.div_ceil(SENT_TOLD_MAX)) {
                self.told.progress(&self.tasks, self.progress);
            }
        }
    }
}
