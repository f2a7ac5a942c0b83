//! Artifacts in and out.

use serde_json::Value;

use crate::support::{Dev, paths, rstuf, run, sample};

#[test]
fn artifacts_go_in_and_out_and_survive_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start(data.path());
    let server = dev.server();
    let directory = sample();
    let directory = directory.path().to_str().unwrap();

    let added = run(&server, &["artifact", "add", directory, "--prefix", "v1", "--results", "--request-id", "r1"], 0);
    assert_eq!((&added["task"]["state"], &added["task"]["counts"]["added"]), (&"done".into(), &3.into()), "{added}");
    assert_eq!(added["results"][2], serde_json::json!({"path": "v1/lib/b", "outcome": "added"}));
    assert!(added["skipped"][0]["source"].as_str().unwrap().ends_with("/latest"));

    // The same request is the same task, another one under its id is refused.
    let again = run(&server, &["artifact", "add", directory, "--prefix", "v1", "--request-id", "r1"], 0);
    assert_eq!(again["task"]["id"], added["task"]["id"]);
    let other = run(&server, &["artifact", "remove", "v1/app", "--request-id", "r1"], 1);
    assert!(other["message"].as_str().unwrap().contains("r1"), "{other}");

    let got = run(&server, &["artifact", "get", "v1/lib/a"], 0);
    let sha256 = "785f3ec7eb32f30b90cd0fcf3657d388b5ff4297f2f9716ff66e9b69c05ddd09";
    assert_eq!((&got["artifact"]["length"], &got["artifact"]["hashes"]["sha256"]), (&2.into(), &sha256.into()));
    assert_eq!(run(&server, &["artifact", "get", "nope"], 1)["kind"], "failed");
    let listed = run(&server, &["artifact", "list", "v1/", "--limit", "2"], 0);
    assert_eq!((paths(&listed), &listed["more"]), (vec!["v1/app", "v1/lib/a"], &true.into()));

    let removed = run(&server, &["artifact", "remove", "v1/app", "v1/app", "nope"], 0);
    assert_eq!(
        (&removed["task"]["counts"]["removed"], &removed["task"]["counts"]["not_found"]),
        (&1.into(), &1.into())
    );

    // Held back until it is published.
    let held = run(&server, &["artifact", "add", directory, "--prefix", "held", "--hold"], 0);
    assert_eq!(held["task"]["state"], "held");
    assert!(paths(&run(&server, &["artifact", "list", "held/"], 0)).is_empty());
    run(&server, &["publish"], 0);
    assert_eq!(paths(&run(&server, &["artifact", "list", "held/"], 0)).len(), 3);

    let id = held["task"]["id"].as_str().unwrap();
    let watched = rstuf(&server, &["task", "watch", id]).output().unwrap();
    let last = String::from_utf8(watched.stdout).unwrap().lines().last().map(serde_json::from_str::<Value>);
    assert_eq!(last.unwrap().unwrap()["state"], "done");
    let tasks = run(&server, &["task", "list", "--limit", "1"], 0);
    assert_eq!((&tasks["tasks"][0]["kind"], &tasks["more"]), (&"publish".into(), &true.into()));
    assert_eq!(run(&server, &["status", "--check"], 0)["attention"], serde_json::json!([]));

    let before = run(&server, &["artifact", "list", "--all"], 0);
    dev.stop();
    assert_eq!(run(&server, &["status"], 69)["exit_code"], 69);
    let dev = Dev::start(data.path());
    assert_eq!(run(&dev.server(), &["artifact", "list", "--all"], 0), before);
    dev.stop();
}
