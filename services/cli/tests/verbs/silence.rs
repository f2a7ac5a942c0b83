//! A coordinator that hangs.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use crate::support::{Dev, human, rstuf, run, sample};

/// Whoever waits is told soon; what was sent may have taken effect, and only this coordinator knows.
#[test]
fn a_coordinator_that_hangs_is_told_and_found_again() {
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start(data.path());
    let server = dev.server();
    let directory = sample();
    let directory = directory.path().to_str().unwrap();
    let held = run(&server, &["artifact", "add", directory, "--hold"], 0);
    let id = held["task"]["id"].as_str().unwrap();
    let mut watch = rstuf(&server, &["task", "watch", id, "--output", "human"]);
    let mut watch = watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut states = BufReader::new(watch.stdout.take().unwrap()).lines();
    assert!(states.next().unwrap().unwrap().contains("held"));

    dev.hang();
    let mut add =
        rstuf(&server, &["artifact", "add", directory, "--prefix", "b", "--request-id", "b 1", "--output", "human"]);
    let add = add.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (exit, _, told) = human(&server, &["status"]);
    assert_eq!(exit, 75, "{told}");
    assert!(told.contains(&format!("the coordinator at {server} does not answer")), "{told}");
    assert!(!told.contains("took effect") && !told.contains("rstuf dev"), "{told}");

    let mut notes = BufReader::new(watch.stderr.take().unwrap()).lines();
    let note = notes.next().unwrap().unwrap();
    assert!(note.contains(&server) && note.contains("trying again"), "{note}");
    let added = add.wait_with_output().unwrap();
    assert_eq!(added.status.code(), Some(75), "{added:?}");
    let told = String::from_utf8(added.stderr).unwrap();
    for part in [
        "no answer from",
        "waiting while the connection lives, at most 1m",
        "trying again, at most 4 times, none begun after 15s",
        "whether it took effect is unknown",
        "`rstuf task get --request-id 'b 1'` tells whether it was accepted",
        "the same again is safe with --request-id 'b 1'",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(!told.contains("rstuf dev"), "{told}");

    dev.wake();
    let again = run(&server, &["artifact", "add", directory, "--prefix", "b", "--request-id", "b 1"], 0);
    assert_eq!(again["task"]["counts"]["added"], 3, "{again}");
    run(&server, &["publish"], 0);
    let last = states.map_while(Result::ok).last().unwrap();
    assert!(last.contains("done"), "{last}");
    assert_eq!(watch.wait().unwrap().code(), Some(0));
    dev.stop();
}
