//! A repository for tests.
#![allow(clippy::unwrap_used)]

use rstuf_keys::{FileKey, KeySource as _, SysRng};
use rstuf_tuf::{Envelope, RoleName, Unsigned, ceremony};
use uuid::Uuid;

use super::repository::{Repository, reference};
use crate::journal::rows::{Lifetimes, RepositoryRow};

/// A repository whose one known key signs nothing but what is signed offline.
pub(crate) fn repository(layout: &str) -> Repository {
    let key = || ceremony::Signers::one(FileKey::generate(&mut SysRng).unwrap().public_key().clone());
    let holder = FileKey::generate(&mut SysRng).unwrap();
    let plan = ceremony::Plan {
        layout: layout.parse().unwrap(),
        holders: ceremony::Signers::one(holder.public_key().clone()),
        targets: key(),
        snapshot: key(),
        timestamp: key(),
    };
    let expires = "2030-01-01T00:00:00Z".parse().unwrap();
    let sealed = |unsigned: Unsigned| unsigned.seal(vec![holder.sign(unsigned.to_sign()).unwrap()]);
    let root = sealed(Unsigned::new(&ceremony::first_root(&plan, expires).unwrap()).unwrap());
    let targets = ceremony::first_targets(&plan, expires).unwrap();
    let targets = targets.map(|targets| sealed(Unsigned::new(&targets).unwrap()));
    let of = |role: RoleName, bytes: &[u8]| reference(&role, &Envelope::parse(bytes).unwrap());
    let root_reference = of(RoleName::root(), &root);
    let seconds = 3_600;
    let row = RepositoryRow {
        id: root_reference.sha256,
        layout: layout.to_owned(),
        lifetimes: Lifetimes {
            bins_seconds: seconds,
            snapshot_seconds: seconds,
            timestamp_seconds: seconds,
            targets_seconds: seconds,
        },
        root: root_reference,
        targets: targets.as_ref().map(|targets| of(RoleName::targets(), targets)),
        task: Uuid::nil(),
    };
    Repository::new(&row, &root, targets.as_deref()).unwrap()
}
