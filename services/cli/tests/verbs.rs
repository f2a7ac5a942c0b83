//! The command as a person and a script use it, against the whole system in one process.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

fn rstuf(server: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rstuf"));
    // Settings of whoever runs the tests have no part in them.
    command.env_clear().env("RSTUF_SERVER", server).env("RSTUF_OUTPUT", "json").args(arguments);
    command
}

/// Runs a verb that must end with `exit`; answers its JSON document, from standard error where it failed.
fn run(server: &str, arguments: &[&str], exit: i32) -> Value {
    let output = rstuf(server, arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {output:?}");
    if output.stdout.is_empty() {
        return error(&output);
    }
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"))
}

/// The error, which is the last line of standard error; what `dev` logs stands before it.
fn error(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().last().map(serde_json::from_str::<Value>);
    last.unwrap_or_else(|| panic!("no error: {output:?}")).unwrap()["error"].clone()
}

/// `rstuf dev`, killed when a test ends early.
struct Dev {
    process: Child,
    ready: Value,
}

impl Dev {
    /// Waits until it says where it answers.
    fn start(data: &Path) -> Dev {
        Dev::start_at(data, "127.0.0.1:0", "127.0.0.1:0")
    }

    fn start_at(data: &Path, coordinator: &str, mirror: &str) -> Dev {
        let data = data.to_str().unwrap();
        let mut command = rstuf("", &["dev", "--data", data, "--coordinator", coordinator, "--mirror", mirror]);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = process.stdout.take().unwrap();
        let ready = serde_json::Deserializer::from_reader(stdout).into_iter::<Value>().next();
        Dev { process, ready: ready.expect("dev ended early").unwrap() }
    }

    fn server(&self) -> String {
        self.ready["coordinator"].as_str().unwrap().to_owned()
    }

    /// Ends it as an operator does.
    fn stop(mut self) {
        let killed = Command::new("kill").arg(self.process.id().to_string()).status().unwrap();
        assert!(killed.success());
        assert_eq!(self.process.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn paths(listed: &Value) -> Vec<&str> {
    listed["artifacts"].as_array().unwrap().iter().map(|artifact| artifact["path"].as_str().unwrap()).collect()
}

fn lines(count: usize) -> String {
    (0..count).map(|at| format!("bulk/{at:05};{at};sha256;{at:064x}\n")).collect()
}

/// A directory of three files and a link.
fn sample() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("lib")).unwrap();
    for (name, text) in [("app", "1"), ("lib/a", "22"), ("lib/b", "333")] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    std::os::unix::fs::symlink("app", dir.path().join("latest")).unwrap();
    dir
}

#[test]
fn dev_once_proves_every_layout() {
    for layout in ["flat", "prefix:16", "succinct:256"] {
        let data = tempfile::tempdir().unwrap();
        let artifacts = sample();
        let (data, artifacts) = (data.path().to_str().unwrap(), artifacts.path().to_str().unwrap());
        let ports = ["--coordinator", "127.0.0.1:0", "--mirror", "127.0.0.1:0"];
        let once = ["dev", "--once", "--data", data, "--artifacts", artifacts, "--layout", layout];
        let answer = run("", &[&once[..], &ports[..]].concat(), 0);
        assert_eq!((&answer["layout"], &answer["verified"]), (&layout.into(), &3.into()), "{answer}");
        assert_eq!(answer["task"]["counts"]["added"], 3);
        let again = run("", &[&once[..], &ports[..]].concat(), 0);
        assert_eq!(again["task"]["counts"]["unchanged"], 3, "goes on where it was");
        let other = ["dev", "--once", "--data", data, "--layout", "succinct:2"];
        assert_eq!(run("", &[&other[..], &ports[..]].concat(), 2)["kind"], "usage");
    }
}

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

#[test]
fn an_import_takes_effect_whole_or_not_at_all() {
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start(data.path());
    let server = dev.server();
    // More than one message holds, so that parts of it arrive before the mistake is found.
    let count = 25_000;

    let mut process = rstuf(&server, &["import", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(format!("{}bad;x;sha256;y\n", lines(count)).as_bytes()).unwrap();
    drop(stdin);
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output)["message"].as_str().unwrap().starts_with("line 25001: length is \"x\""), "{output:?}");
    assert!(paths(&run(&server, &["artifact", "list", "bulk/"], 0)).is_empty());

    let file = data.path().join("good.csv");
    fs::write(&file, lines(count)).unwrap();
    let imported = run(&server, &["import", file.to_str().unwrap(), "--request-id", "i1"], 0);
    assert_eq!((&imported["task"]["kind"], &imported["task"]["counts"]["added"]), (&"import".into(), &count.into()));
    let again = run(&server, &["import", file.to_str().unwrap(), "--request-id", "i1"], 0);
    assert_eq!(again["task"]["id"], imported["task"]["id"]);
    let listed = run(&server, &["artifact", "list", "bulk/2499", "--all"], 0);
    assert_eq!(paths(&listed).len(), 10);
    dev.stop();
}

#[test]
fn mistakes_end_in_the_documented_exit_codes() {
    let nobody = "http://127.0.0.1:1";
    let unreachable = run(nobody, &["artifact", "list"], 69);
    assert!(unreachable["next"].as_str().unwrap().contains("rstuf dev"));
    assert_eq!(run(nobody, &["nonsense"], 2)["kind"], "usage");
    assert_eq!(run(nobody, &["artifact", "add", "a", "b", "--as", "c"], 2)["exit_code"], 2);
    assert_eq!(run("ftp://x", &["version"], 78)["kind"], "config");
    assert_eq!(run(nobody, &["ceremony", "--config", "/nowhere.toml"], 78)["kind"], "config");

    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("root.pem");
    let key = key.to_str().unwrap();
    let made = run(nobody, &["key", "generate", key], 0);
    assert_eq!(run(nobody, &["key", "show", key], 0), made);
    assert!(run(nobody, &["key", "generate", key], 1)["message"].as_str().unwrap().contains("exists"));
    assert_eq!(run(nobody, &["version"], 0)["version"], env!("CARGO_PKG_VERSION"));
    assert!(run(nobody, &["completions", "bash"], 0)["script"].as_str().unwrap().contains("complete "));
    assert_eq!(run(nobody, &["config", "dump"], 0)["server"]["source"]["name"], "RSTUF_SERVER");
}
