//! What breaks, and what must hold nevertheless: nothing acknowledged is lost or applied twice, and a client that keeps
//! its state updates at every moment.
#![allow(clippy::unwrap_used, clippy::panic)]

mod absences;
mod aside;
mod callers;
mod cancels;
mod clocks;
mod directories;
mod disks;
mod effects;
mod exits;
mod gate;
mod hangs;
mod imports;
mod journals;
mod kills;
mod lifetimes;
mod load;
mod plans;
mod power_cuts;
mod refused;
mod restores;
mod script;
mod secrets;
mod spools;
mod stalls;
mod stuck;
mod support;
mod unfit;
mod unread;
mod withdrawn;
