//! Before all the rest: a journal that was lost is rebuilt, signers that are ahead are caught up with, the ceremony is held.

pub(crate) mod catch_up;
pub(crate) mod ceremony;
pub(crate) mod rebuild;
