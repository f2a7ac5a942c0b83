//! Tasks followed.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

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

/// A person types no 36 letters.
#[test]
fn an_id_may_be_shortened_while_it_is_unique() {
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start(data.path());
    let server = dev.server();
    let tasks: Vec<Value> =
        ["a", "b"].map(|path| run(&server, &["artifact", "remove", path], 0)["task"].clone()).into();
    let id = |at: usize| tasks[at]["id"].as_str().unwrap();
    for short in [&id(1)[24..], &id(1)[20..].to_uppercase(), id(1)] {
        assert_eq!(run(&server, &["task", "get", short], 0)["task"]["id"], id(1), "{short}");
        assert_eq!(run(&server, &["task", "results", short], 0)["results"][0]["path"], "b");
        assert_eq!(run(&server, &["task", "watch", short], 0)["id"], id(1));
    }
    // Ids begin with the time.
    let several = run(&server, &["task", "get", &id(0)[..4]], 2);
    let message = several["message"].as_str().unwrap();
    assert!(message.contains(id(0)) && message.contains(id(1)), "{several}");
    assert_eq!(run(&server, &["task", "get", "abc"], 2)["kind"], "usage");
    let none = run(&server, &["task", "get", "ffffffffff"], 1);
    assert!(none["next"].as_str().unwrap().contains("task list"), "{none}");
    dev.stop();
}

/// The coordinator goes away after it accepted, and stays away.
#[test]
fn a_task_whose_end_nobody_can_tell_is_named() {
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start(data.path());
    let server = dev.server();
    let directory = sample();
    let directory = directory.path().to_str().unwrap();
    let held = rstuf(&server, &["artifact", "add", directory, "--hold", "--request-id", "r1", "--output", "human"]);
    let held = String::from_utf8({ held }.output().unwrap().stdout).unwrap();
    assert!(held.contains("request id r1"), "{held}");
    let id = run(&server, &["task", "list"], 0)["tasks"][0]["id"].as_str().unwrap().to_owned();

    let mut watch = rstuf(&server, &["task", "watch", &id, "--wait-timeout", "4", "--output", "human"]);
    let mut watch = watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut states = BufReader::new(watch.stdout.take().unwrap()).lines();
    assert!(states.next().unwrap().unwrap().contains("held"));
    drop(dev);
    let output = watch.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(75), "{told}");
    assert_eq!(told.matches("trying again").count(), 1, "{told}");
    assert!(told.contains(&format!("rstuf task watch {id}")), "{told}");
}

/// What is held can be looked at, dropped, and seen in what is published.
#[test]
fn held_changes_are_listed_discarded_and_named_when_published() {
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start(data.path());
    let server = dev.server();
    let directory = sample();
    let add = |prefix: &str, request: &str| {
        let directory = directory.path().to_str().unwrap();
        let words = ["artifact", "add", directory, "--prefix", prefix, "--hold", "--request-id", request];
        run(&server, &words, 0)["task"]["id"].as_str().unwrap().to_owned()
    };
    let (keep, drop) = (add("keep", "keep 1"), add("drop", "drop 1"));
    let held = run(&server, &["task", "list", "--state", "held"], 0);
    assert_eq!(held["tasks"].as_array().unwrap().len(), 2);
    let found = run(&server, &["task", "get", "--request-id", "drop 1"], 0);
    assert_eq!(found["task"]["id"], drop.as_str());

    let changes = run(&server, &["task", "changes", &drop[24..]], 0);
    let first = &changes["changes"][0];
    assert_eq!((&first["path"], &first["kind"], &first["length"]), (&"drop/app".into(), &"add".into(), &1.into()));
    assert_eq!(changes["changes"].as_array().unwrap().len(), 3);
    for _ in 0..2 {
        assert_eq!(run(&server, &["task", "cancel", &drop], 0)["task"]["state"], "cancelled");
    }
    assert_eq!(run(&server, &["task", "watch", &drop], 1)["state"], "cancelled");
    let next = run(&server, &["task", "changes", &drop], 1)["next"].clone();
    assert!(next.as_str().unwrap().contains("if it is done"), "a cancelled task changed nothing: {next}");

    let published = run(&server, &["publish"], 0);
    assert_eq!(published["task"]["counts"]["added"], 3, "{published}");
    let shown: Vec<_> =
        published["results"].as_array().unwrap().iter().map(|it| it["path"].as_str().unwrap()).collect();
    assert_eq!(shown, ["keep/app", "keep/lib/a", "keep/lib/b"]);
    let refused = run(&server, &["task", "cancel", &keep], 1);
    assert_eq!(refused["task"], keep.as_str(), "{refused}");
    let next = refused["next"].as_str().unwrap();
    for command in ["rstuf task get", "rstuf task results", "rstuf artifact remove"] {
        assert!(next.contains(command), "{command} in {next}");
    }
    dev.stop();
}
