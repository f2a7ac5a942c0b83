//! Tasks followed.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Dev, rstuf, run, sample};

/// The coordinator dies without a word while a task is watched.
#[test]
fn a_watch_goes_on_through_a_crash() {
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start(data.path());
    let server = dev.server();
    let directory = sample();
    let held = run(&server, &["artifact", "add", directory.path().to_str().unwrap(), "--hold"], 0);
    let id = held["task"]["id"].as_str().unwrap();

    let mut watch = rstuf(&server, &["task", "watch", id]).stdout(Stdio::piped()).spawn().unwrap();
    let mut states = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || states.next().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap()["state"].clone());
    assert_eq!(next(), Some("held".into()));
    let address = |name: &str| dev.ready[name].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    let (coordinator, mirror) = (address("coordinator"), address("mirror"));
    // Dropped, it is killed with SIGKILL.
    drop(dev);
    let dev = Dev::start_at(data.path(), &coordinator, &mirror);
    run(&server, &["publish"], 0);
    let last = std::iter::from_fn(next).last();
    assert_eq!((watch.wait().unwrap().code(), last), (Some(0), Some("done".into())));
    dev.stop();
}
