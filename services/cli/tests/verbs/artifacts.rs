//! Artifacts in and out.

use std::{
    fs,
    io::{Read as _, Write as _},
    process::Stdio,
};

use serde_json::Value;

use crate::support::{Dev, error, get, human, paths, rstuf, run, sample};

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
    for (search, told) in [("nope*", "no artifact matches nope*"), ("nope", "no artifact's path begins with nope")] {
        assert_eq!(human(&server, &["artifact", "ls", search]).1.trim_end(), told);
    }
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
    let next = run(&server, &["artifact", "get", "held/*"], 1)["next"].clone();
    assert_eq!(next, "for all that match: `rstuf artifact list 'held/*'`");

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

#[test]
fn bytes_are_where_the_mirror_serves_them_before_the_metadata_names_them() {
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start(data.path());
    let server = dev.server();
    let directory = sample();
    let served = data.path().join("artifacts");
    let (directory, served) = (directory.path().to_str().unwrap(), served.to_str().unwrap());

    let (exit, _, notes) = human(&server, &["artifact", "add", directory, "--prefix", "bare"]);
    assert!(exit == 0 && notes.contains("the bytes were not sent") && notes.contains("--artifacts-dir"), "{notes}");
    for (prefix, flags) in [("bare", &[][..]), ("dry", &["--dry-run"]), ("held", &["--hold"])] {
        let words = [&["artifact", "add", directory, "--prefix", prefix], flags].concat();
        let (exit, _, notes) = human(&server, &words);
        assert!(exit == 0 && !notes.contains("the bytes were not sent"), "nothing names them now: {words:?}: {notes}");
    }
    let url = |path: &str| format!("{}/targets/{path}", dev.ready["mirror"].as_str().unwrap());
    assert_eq!(get(&url("bare/lib/a")).0, 404);

    let add = ["artifact", "add", directory, "--prefix", "full", "--artifacts-dir", served];
    let added = run(&server, &add, 0);
    assert_eq!((&added["task"]["state"], &added["copied"]), (&"done".into(), &3.into()), "{added}");
    assert_eq!(get(&url("full/lib/a")), (200, b"22".to_vec()));
    assert_eq!(run(&server, &add, 0)["copied"], 0, "they are there already");

    // Other content under the name: neither overwritten nor published.
    let sha256 = run(&server, &["artifact", "get", "full/app"], 0)["artifact"]["hashes"]["sha256"].clone();
    let damaged = data.path().join("artifacts").join(sha256.as_str().unwrap());
    fs::write(&damaged, "damaged").unwrap();
    let refused = run(&server, &["artifact", "add", directory, "--prefix", "not", "--artifacts-dir", served], 1);
    assert!(refused["message"].as_str().unwrap().contains("does not hold what its name says"), "{refused}");
    assert_eq!(fs::read(&damaged).unwrap(), b"damaged");
    assert!(paths(&run(&server, &["artifact", "list", "not/"], 0)).is_empty());
    let slip = run(&server, &["artifact", "add", directory, "--artifacts-dir", "/nowhere"], 2);
    assert!(slip["message"].as_str().unwrap().contains("artifacts_dir"), "{slip}");
    dev.stop();
}

#[test]
fn whoever_adds_a_directory_sees_what_becomes_of_it() {
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start(data.path());
    let server = dev.server();
    let directory = sample();
    fs::create_dir(directory.path().join(".git")).unwrap();
    fs::write(directory.path().join(".git/config"), "secret").unwrap();
    let directory = directory.path().to_str().unwrap();

    let (exit, _, notes) = human(&server, &["artifact", "add", directory]);
    assert!(exit == 0 && notes.contains(&format!("adding {directory}/lib/a as lib/a")), "{notes}");
    assert!(notes.contains(&format!("left out: {directory}/.git is hidden (--hidden takes it)")), "{notes}");
    let got = run(&server, &["artifact", "get", ".git/config"], 1);
    assert_eq!(got["kind"], "failed", "hidden files stay at home");

    fs::write(format!("{directory}/app"), "other").unwrap();
    fs::write(format!("{directory}/fresh"), "").unwrap();
    let before = run(&server, &["artifact", "list", "--all"], 0);
    let dry = run(&server, &["artifact", "add", directory, "--hidden", "--dry-run"], 0);
    let foreseen = dry["artifacts"].as_array().unwrap().iter();
    let foreseen: Vec<_> = foreseen.map(|it| (it["path"].as_str().unwrap(), it["outcome"].as_str().unwrap())).collect();
    let expected = [
        (".git/config", "added"),
        ("app", "replaced"),
        ("fresh", "added"),
        ("lib/a", "unchanged"),
        ("lib/b", "unchanged"),
    ];
    assert_eq!(foreseen, expected);
    let refused = run(&server, &["artifact", "add", directory, "--no-replace"], 1);
    assert!(refused["message"].as_str().unwrap().contains("other contents already: app; nothing"), "{refused}");
    assert_eq!(run(&server, &["artifact", "list", "--all"], 0), before, "nothing was submitted");

    let fresh = format!("{directory}/fresh");
    let added = run(&server, &["artifact", "add", &fresh, "--no-replace", "--request-id", "n1"], 0);
    let again = run(&server, &["artifact", "add", &fresh, "--no-replace", "--request-id", "n1"], 0);
    assert_eq!(added["task"]["id"], again["task"]["id"], "what is there already, exactly so, is no replacement");
    dev.stop();
}

/// All names that a person has to mend are told together, before anything is sent.
#[test]
fn names_that_no_artifact_can_have_are_told_together() {
    let directory = sample();
    for number in 0..25 {
        fs::write(directory.path().join(format!("{number:02}\u{202e}gpj")), "").unwrap();
    }
    let directory = directory.path().to_str().unwrap();
    let nobody = "http://127.0.0.1:1";
    let (exit, _, told) = human(nobody, &["artifact", "add", directory]);
    assert!(exit == 1 && told.contains("25 files can't be artifacts, nothing was submitted:\n"), "{told}");
    assert_eq!(told.matches("gpj: ").count(), 20, "{told}");
    assert!(told.contains("19\\u{202e}gpj: ") && told.contains("\n  and 5 more\n") && told.contains("--as"), "{told}");
    let all = run(nobody, &["artifact", "add", directory], 1);
    assert_eq!(all["violations"].as_array().unwrap().len(), 25);
}

#[test]
fn many_are_removed_from_a_list_by_prefix_or_by_pattern() {
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start(data.path());
    let server = dev.server();
    let directory = sample();
    let directory = directory.path().to_str().unwrap();
    for prefix in ["v1", "v2", "v3"] {
        run(&server, &["artifact", "add", directory, "--prefix", prefix], 0);
    }
    let left = || paths(&run(&server, &["artifact", "ls", "--prefix", "v"], 0)).len();

    let refused = run(&server, &["artifact", "remove", "--prefix", "v1/"], 2);
    assert!(refused["message"].as_str().unwrap().contains("Remove these 3 artifacts?"), "{refused}");
    assert!(refused["next"].as_str().unwrap().contains("--yes"), "{refused}");
    // An unset variable in a script is not a wish to remove everything.
    assert_eq!(run(&server, &["artifact", "remove", "--prefix", "", "--yes"], 2)["kind"], "usage");
    assert_eq!(left(), 9);
    let removed = run(&server, &["artifact", "remove", "--prefix", "v1/", "--yes"], 0);
    assert_eq!(removed["task"]["counts"]["removed"], 3);

    // A pattern is one: `*` stays within a directory.
    assert_eq!(run(&server, &["artifact", "rm", "v2/*"], 2)["kind"], "usage");
    let removed = run(&server, &["artifact", "rm", "v2/*", "--yes"], 0);
    assert_eq!(removed["task"]["counts"]["removed"], 1, "only v2/app");
    let listed = run(&server, &["artifact", "ls", "v?/lib/*", "--limit", "3"], 0);
    assert_eq!((paths(&listed), &listed["more"]), (vec!["v2/lib/a", "v2/lib/b", "v3/lib/a"], &true.into()));
    let exactly = run(&server, &["artifact", "ls", "v?/lib/*", "--limit", "4"], 0);
    assert_eq!((paths(&exactly).len(), &exactly["more"]), (4, &false.into()));

    let mut process = rstuf(&server, &["artifact", "rm", "--from", "-"]);
    let mut process = process.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(b"v2/lib/a\nv2/lib/b\n\nv3/app\n").unwrap();
    let output = process.wait_with_output().unwrap();
    let removed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &removed["task"]["counts"]["removed"]), (Some(0), &3.into()));
    assert_eq!(left(), 2);
    dev.stop();
}

#[test]
fn what_is_not_there_to_be_removed_can_be_an_error() {
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start(data.path());
    let server = dev.server();
    assert_eq!(run(&server, &["artifact", "remove", "nope"], 0)["task"]["counts"]["not_found"], 1);
    assert_eq!(run(&server, &["artifact", "remove", "nope/*"], 0)["not_found"], serde_json::json!(["nope/*"]));
    for arguments in [&["nope"][..], &["nope/*"], &["--prefix", "nope"]] {
        let (exit, _, said) = human(&server, &[&["artifact", "remove", "--strict"], arguments].concat());
        assert!(exit == 1 && said.contains("1 not found, which --strict does not allow"), "{said}");
    }
    dev.stop();
}

/// A list is written as it comes, so that nobody holds a million artifacts; where it breaks off, nobody takes what
/// there is of it for the whole.
#[test]
fn a_list_that_breaks_off_is_told_from_a_whole_one() {
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start(&data.path().join("data"));
    let (server, file, count) = (dev.server(), data.path().join("many.csv"), 2_500);
    fs::write(&file, (0..count).map(|at| format!("many/{at:05};1;sha256;{at:064x}\n")).collect::<String>()).unwrap();
    run(&server, &["import", file.to_str().unwrap()], 0);
    assert_eq!(paths(&run(&server, &["artifact", "list", "many/", "--all"], 0)).len(), count);

    let mut list = rstuf(&server, &["artifact", "list", "many/", "--all"]);
    let mut list = list.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdout, mut written) = (list.stdout.take().unwrap(), vec![0; 1_000]);
    stdout.read_exact(&mut written).unwrap();
    // It is still writing the first page, which no pipe holds.
    drop(dev);
    stdout.read_to_end(&mut written).unwrap();
    let output = list.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(error(&output)["message"].as_str().unwrap().contains(&server), "{output:?}");
    let written = String::from_utf8(written).unwrap();
    assert!(written.contains("many/00999") && !written.contains("many/01000"), "not one page");
    assert!(serde_json::from_str::<Value>(&written).is_err_and(|error| error.is_eof()));
}
