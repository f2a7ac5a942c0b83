//! What a process does to itself. One test, since signals and limits are the process's.

use rstuf_runtime::{Shutdown, harden};
use rustix::process::{DumpableBehavior, Resource, Signal, dumpable_behavior, getpid, getrlimit, kill_process};

use crate::common::within;

#[tokio::test]
async fn a_process_leaves_no_core_and_stops_on_a_signal() {
    harden().unwrap();
    let limit = getrlimit(Resource::Core);
    assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
    assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    let files = getrlimit(Resource::Nofile);
    assert_eq!(files.current, files.maximum);

    let shutdown = Shutdown::on_signals().unwrap();
    let part = shutdown.child();
    assert!(!shutdown.is_triggered());
    kill_process(getpid(), Signal::TERM).unwrap();
    within(shutdown.wait()).await;
    // The same one, once more: this process goes on.
    kill_process(getpid(), Signal::TERM).unwrap();
    kill_process(getpid(), Signal::INT).unwrap();
    within(part.wait()).await;
    assert!(shutdown.is_triggered() && part.is_triggered());
}
