//! Whether a signer can sign for the repository: before the ceremony that makes it, and whenever somebody asks.

use rstuf_tuf::{RoleKeys, TopLevel};

use crate::{
    Error, Repository, Result,
    signers::{Description, Group},
    troubles::signers_clock_fault,
};

/// What keeps a signer that answers from signing for the repository, with what to do about it.
pub(crate) fn fault(repository: &Repository, group: Group, signer: &Description) -> Option<String> {
    if let Some(evidence) = &signer.halted {
        return Some(format!(
            "the {group} signer signs nothing any more, its disk was restored ({evidence}): give it an empty state \
             directory and a new key, and put that key into the next root"
        ));
    }
    if let Some(refusal) = &signer.clock_refusal {
        return Some(signers_clock_fault(group.as_str(), refusal));
    }
    if signer.repository_id.is_none() {
        return Some(format!(
            "the {group} signer is not pinned to this repository: its state directory is a fresh one; bring the \
             right one back"
        ));
    }
    let error = check_signer(repository, group, signer).err()?;
    Some(format!(
        "the {group} signer can't sign for this repository: {error}; check its address and its state directory"
    ))
}

/// Checks that root (or the delegations) name the signer's key, and ask for no more signatures than there are signers.
pub(crate) fn check_signer(repository: &Repository, group: Group, signer: &Description) -> Result<()> {
    check_lifetime(repository, group, signer)?;
    let (field, keys, role) = match (group, repository.delegated_keys()) {
        (Group::Targets, Some(keys)) => ("targets", keys, None),
        (Group::Targets, None) => ("root", repository.root_keys(TopLevel::Targets), Some(TopLevel::Targets)),
        (Group::Snapshot, _) => ("root", repository.root_keys(TopLevel::Snapshot), Some(TopLevel::Snapshot)),
        (Group::Timestamp, _) => ("root", repository.root_keys(TopLevel::Timestamp), Some(TopLevel::Timestamp)),
    };
    if let Some(id) = signer.repository_id.as_ref().filter(|id| id[..] != *repository.id.as_bytes()) {
        let other = hex::encode(id);
        return Err(Error::field("root", format!("the {group} signer belongs to repository {other} for ever")));
    }
    let own = || signer.key_ids();
    // A signer refuses that when it is pinned, when others are pinned already.
    let mut others = TopLevel::ALL.into_iter().filter(|other| Some(*other) != role);
    if let Some(other) = others.find(|other| own().any(|id| repository.root_keys(*other).contains(&id))) {
        let message = format!("names the key of the {group} signer for {other} too");
        return Err(Error::field("root", message));
    }
    let named = own().filter(|id| RoleKeys::contains(keys, id)).count();
    if named == 0 {
        return Err(Error::field(field, format!("does not name the key of the {group} signer")));
    }
    if (keys.threshold() as usize) > named {
        let message =
            format!("asks for {} signatures for what the {group} signer signs, it can give {named}", keys.threshold());
        return Err(Error::field(field, message));
    }
    Ok(())
}

/// A signer would refuse every document that is to live longer than its own configuration allows.
fn check_lifetime(repository: &Repository, group: Group, signer: &Description) -> Result<()> {
    let lifetimes = &repository.lifetimes;
    let (field, seconds) = match group {
        Group::Targets if repository.delegated_keys().is_some() => ("lifetimes.bins", lifetimes.bins_seconds),
        Group::Targets => ("lifetimes.targets", lifetimes.targets_seconds),
        Group::Snapshot => ("lifetimes.snapshot", lifetimes.snapshot_seconds),
        Group::Timestamp => ("lifetimes.timestamp", lifetimes.timestamp_seconds),
    };
    let max = signer.lifetime_max.as_secs();
    if seconds > max {
        return Err(Error::field(field, format!("{seconds} s, the {group} signer allows at most {max}")));
    }
    Ok(())
}
