//! What is checked at start: a state that was damaged signs nothing.

use rstuf_keys::KeySource;
use rstuf_store::Store;
use rstuf_tuf::{Envelope, Known, RoleKeys, RoleName, Sha256};

use crate::{
    Result, State, parallel,
    rows::{self, corrupt},
};

/// Every stored document is the one that its row names, and the own signatures verify.
pub(crate) fn verify<M>(store: &Store, key: &dyn KeySource, state: &State<M>) -> Result<()> {
    let own = rstuf_tuf::keys_by_id([key.public_key().clone()]);
    let role_keys = RoleKeys::new(vec![key.public_key().key_id()], 1);
    let role_keys = role_keys.map_err(|error| corrupt("the key", error))?;
    let documents: Vec<_> = state
        .roles
        .iter()
        .flat_map(|(role, known)| {
            let signed = known.signed.as_ref().map(|known| (role, known, true));
            let other = known.base.as_ref().filter(|base| Some(*base) != known.signed.as_ref());
            signed.into_iter().chain(other.map(|known| (role, known, false)))
        })
        .collect();
    let check = |(role, known, signed): &(&RoleName, &Known, bool)| {
        let name = rows::body_row(role, known);
        let bytes = store.get(&name)?.ok_or_else(|| corrupt(&name, "missing"))?;
        if Sha256::of(&bytes) != known.sha256 {
            return Err(corrupt(&name, format!("its digest is not {}", known.sha256)));
        }
        if *signed {
            let envelope = Envelope::parse(&bytes).map_err(|error| corrupt(&name, error))?;
            envelope.verify(&own, &role_keys).map_err(|error| corrupt(&name, error))?;
        }
        Ok(())
    };
    parallel::map(&documents, check).into_iter().collect()
}
