//! The rules of versions and times, as pure functions.

use std::time::Duration;

use jiff::Timestamp;
use rstuf_runtime::later;
use rstuf_tuf::{Known, Revision, RoleName, Version};

use crate::{Budget, Error, Result, RoleState, times::CLOCK_SKEW_MAX};

/// A new version is above base and watermark by at most so many: a coordinator can't push a role to its last version.
pub(crate) const VERSIONS_AHEAD_MAX: u64 = 16;

/// Checks what a request says of its base and of the new version.
///
/// The version must be free, which is said first, because it holds for ever; the base must be the one known.
///
/// # Errors
/// [`Error::VersionUsed`], [`Error::BaseBehind`], [`Error::BaseMismatch`], [`Error::VersionTooHigh`].
pub(crate) fn check_version(role: &RoleName, state: &RoleState, revision: &Revision) -> Result<()> {
    let version = revision.version;
    let least = state.highest() + 1;
    // Behind a base that the signer does not know yet, its watermark alone says what is free.
    let used = state.watermark().is_some_and(|watermark| version <= watermark);
    if used {
        return Err(Error::VersionUsed { role: role.clone(), version, least });
    }
    check_base(role, state.base.as_ref(), revision)?;
    if u64::from(version.get()) < least {
        return Err(Error::VersionUsed { role: role.clone(), version, least });
    }
    let most = least - 1 + VERSIONS_AHEAD_MAX;
    if u64::from(version.get()) > most {
        return Err(Error::VersionTooHigh { role: role.clone(), version, most });
    }
    Ok(())
}

/// What is left of a role's versions when this one is signed; it was checked before.
///
/// # Errors
/// [`Error::VersionBudget`].
pub(crate) fn spend(role: &RoleName, state: &RoleState, version: Version, now: Timestamp) -> Result<Budget> {
    let rise = u64::from(version.get()).saturating_sub(state.highest());
    state.budget.spend(rise, now).map_err(|wait| Error::VersionBudget { role: role.clone(), wait })
}

/// What is left of a role's versions when this one is shown as evidence, `from` (0 for none) having been shown last.
///
/// # Errors
/// [`Error::VersionBudget`].
pub(crate) fn follow(role: &RoleName, budget: Budget, from: u64, version: Version, now: Timestamp) -> Result<Budget> {
    let rise = u64::from(version.get()).saturating_sub(from);
    budget.follow(rise, now).map_err(|wait| Error::VersionBudget { role: role.clone(), wait })
}

fn check_base(role: &RoleName, known: Option<&Known>, revision: &Revision) -> Result<()> {
    let mismatch = |named: String, known: String| Error::BaseMismatch { role: role.clone(), named, known };
    match (&revision.base, known) {
        (None, None) => Ok(()),
        (None, Some(known)) => Err(mismatch("nothing".to_owned(), known.to_string())),
        (Some(named), known) => match known {
            Some(known) if known.version == named.version && known.sha256 == named.sha256 => Ok(()),
            Some(known) if known.version >= named.version => {
                Err(mismatch(format!("version {} ({})", named.version, named.sha256), known.to_string()))
            }
            _ => {
                let known = known.map(|known| known.version);
                Err(Error::BaseBehind { role: role.clone(), named: named.version, known })
            }
        },
    }
}

/// Checks that a document would neither be expired nor live longer than `lifetime_max`, by the signer's own clock.
///
/// # Errors
/// [`Error::Expires`].
pub(crate) fn check_expires(role: &RoleName, expires: Timestamp, now: Timestamp, lifetime_max: Duration) -> Result<()> {
    let latest = later(now, lifetime_max + CLOCK_SKEW_MAX);
    if expires <= now || expires > latest {
        return Err(Error::Expires { role: role.clone(), expires, now, latest });
    }
    Ok(())
}

/// Whether a document signed by the own key proves that the key has signed more than the state knows: a version above
/// the watermark, or other contents (`same` is false) under the watermark itself.
pub(crate) fn proves_restored(watermark: Option<Version>, version: Version, same: bool) -> bool {
    match watermark {
        None => true,
        Some(watermark) => version > watermark || (version == watermark && !same),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstuf_tuf::{DocumentRef, Sha256};

    use super::*;

    fn known(version: u32) -> Known {
        Known {
            version: Version::new(version).unwrap(),
            sha256: Sha256::of(&version.to_be_bytes()),
            length: 1,
            expires: 0,
        }
    }

    fn asked(base: Option<u32>, version: u32) -> Revision {
        let base = base.map(|base| known(base).reference(&RoleName::timestamp()));
        let (version, expires) = (Version::new(version).unwrap(), Timestamp::UNIX_EPOCH);
        Revision { base, version, expires }
    }

    proptest! {
        /// What is allowed is above base and watermark, near them, and names the base that is known.
        #[test]
        fn a_version_is_allowed_only_above_all_that_is_known(
            base in prop::option::of(1..40_u32),
            signed in prop::option::of(1..40_u32),
            named in prop::option::of(1..40_u32),
            version in 1..80_u32,
        ) {
            let state = RoleState { base: base.map(known), signed: signed.map(known), ..RoleState::default() };
            let allowed = check_version(&RoleName::timestamp(), &state, &asked(named, version)).is_ok();
            let highest = base.unwrap_or(0).max(signed.unwrap_or(0));
            prop_assert_eq!(allowed, named == base && version > highest && version <= highest + 16);
        }

        /// Every signature of the own key that the state does not know is noticed.
        #[test]
        fn what_the_state_does_not_know_is_noticed(signed in prop::option::of(1..9_u32), seen in 1..9_u32, same: bool) {
            let noticed = proves_restored(signed.map(|it| known(it).version), known(seen).version, same);
            let signed = signed.unwrap_or(0);
            prop_assert_eq!(noticed, seen > signed || (seen == signed && !same));
        }
    }

    #[test]
    fn the_base_is_more_than_its_version() {
        let state = RoleState { base: Some(known(2)), ..RoleState::default() };
        let role = RoleName::timestamp();
        let other = DocumentRef { sha256: Sha256([9; 32]), ..known(2).reference(&role) };
        let asked = Revision { base: Some(other), ..asked(None, 3) };
        assert!(matches!(check_version(&role, &state, &asked), Err(Error::BaseMismatch { .. })));
    }

    #[test]
    fn times_are_judged_to_the_second() {
        let (role, day) = (RoleName::timestamp(), Duration::from_secs(86_400));
        let at = |second| Timestamp::from_second(second).unwrap();
        let bounds = [(1_000, false), (1_001, true), (1_000 + 86_400 + 300, true), (1_000 + 86_400 + 301, false)];
        for (expires, allowed) in bounds {
            assert_eq!(check_expires(&role, at(expires), at(1_000), day).is_ok(), allowed, "{expires}");
        }
    }
}
