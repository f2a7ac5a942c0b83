//! Whole systems, judged by TUF clients that are not ours: python-tuf, and tough where it can read the layout.
#![allow(clippy::unwrap_used, clippy::panic)]

mod artifacts;
mod aside;
mod busy;
mod example;
mod held;
mod imports;
mod judges;
mod many;
mod metrics;
mod order;
mod ports;
mod races;
mod readme;
mod reads;
mod refusals;
mod requests;
mod scene;
mod strangers;
mod time;
mod watchers;
