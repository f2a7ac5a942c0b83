//! One suite that every backend must pass: the contract of [`StateStore`], under damage and sudden death.
//!
//! ```text
//! fn open(dir: &Path) -> Result<Arc<dyn StateStore>> { ... }   // no floor of free space, please
//!
//! #[test]
//! fn conforms() {
//!     conformance::run("conforms", open);
//! }
//! ```
//!
//! The suite starts the test's own executable again to have a process that it can kill: `test` is the name under which
//! that executable knows the calling test. Needs `cc`, for the power cuts. What fails panics, and says which step of
//! which round.
#![allow(clippy::unwrap_used, clippy::panic)]

mod basics;
mod crashes;
mod damage;
mod full_disk;
mod model;
mod worker;

use std::{path::Path, sync::Arc};

use crate::{Result, StateStore};

/// Opens a backend on a directory, and creates it if it is absent.
pub type Open = fn(&Path) -> Result<Arc<dyn StateStore>>;

/// Runs the whole suite; returns when all of it passed.
///
/// # Panics
/// If the backend breaks the contract.
pub fn run(test: &'static str, open: Open) {
    worker::serve(test, open);
    let scratch = tempfile::tempdir().unwrap();
    let suite = Suite { test, open, scratch: scratch.path() };
    suite.basics();
    suite.kills();
    suite.power_cuts();
    suite.damage();
    suite.full_disk();
}

struct Suite<'a> {
    test: &'static str,
    open: Open,
    scratch: &'a Path,
}

/// A small generator of numbers that look random, the same in each run (xorshift64*).
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.below(256) as u8).collect()
    }
}
