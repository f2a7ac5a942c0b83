//! Imports.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::Stdio,
    time::{Duration, Instant},
};

use rstuf_api::proto::artifacts::v1::{
    GetImportRequest, artifact_service_client::ArtifactServiceClient, get_import_request::Key,
};

use crate::support::{Dev, error, human, paths, rstuf, run};

fn lines(count: usize) -> String {
    (0..count).map(|at| format!("bulk/{at:05};{at};sha256;{at:064x}\n")).collect()
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

/// More than one message holds: it is an import then, by whatever verb.
#[test]
fn many_changes_of_any_verb_are_one_task() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::start(&dir.path().join("data"));
    let server = dev.server();
    let file = dir.path().join("paths");
    let count = 10_001;
    fs::write(&file, (0..count).map(|at| format!("gone/{at}\n")).collect::<String>()).unwrap();
    let remove = || {
        let words = ["artifact", "remove", "--from", file.to_str().unwrap(), "--request-id", "m 1"];
        run(&server, &words, 0)["task"].clone()
    };
    let removed = remove();
    assert_eq!((&removed["kind"], &removed["counts"]["not_found"]), (&"import".into(), &count.into()), "{removed}");
    assert_eq!(remove()["id"], removed["id"]);
    dev.stop();
}

/// Every mistake that a person could mend at once is told at once.
#[test]
fn wrong_lines_are_told_together() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::start(&dir.path().join("data"));
    let file = dir.path().join("wrong.csv");
    let wrong = "a;x;sha256;y\nb;1;md5;y\n../c;1;sha256;y\n";
    fs::write(&file, format!("{}{wrong}{}", lines(3), lines(3))).unwrap();
    let told = run(&dev.server(), &["import", file.to_str().unwrap()], 1);
    assert_eq!(told["message"], "3 lines are wrong, nothing is imported");
    let fields: Vec<_> =
        told["violations"].as_array().unwrap().iter().map(|it| it["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["line 4", "line 5", "line 6"], "{told}");

    fs::write(&file, "nonsense\n".repeat(1_000)).unwrap();
    let told = run(&dev.server(), &["import", file.to_str().unwrap()], 1);
    assert_eq!(told["violations"].as_array().unwrap().len(), 20, "{told}");
    dev.stop();
}

#[test]
fn imports_are_read_in_every_format_and_remove_too() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::start(&dir.path().join("data"));
    let server = dev.server();
    let file = dir.path().join("lines");
    let import = |text: &str, format: &[&str]| {
        fs::write(&file, text).unwrap();
        run(&server, &[&["import", file.to_str().unwrap()], format].concat(), 0)["task"]["counts"].clone()
    };
    let digest = "ab".repeat(32);
    let counts = import(&format!("path,length,algorithm,digest\nfrom/commas,1,sha256,{digest}\n"), &[]);
    assert_eq!(counts["added"], 1);
    let counts = import(&format!("digest;action;path;length;algorithm\n{digest};;semi,colons;2;sha256\n"), &[]);
    assert_eq!(counts["added"], 1);
    let objects = format!(
        "{{\"path\":\"from/json\",\"length\":3,\"hashes\":{{\"sha256\":\"{digest}\"}},\"custom\":{{\"k\":1}}}}\n\
         {{\"remove\":\"semi,colons\"}}\n"
    );
    let counts = import(&objects, &[]);
    assert_eq!((&counts["added"], &counts["removed"]), (&1.into(), &1.into()));
    let counts = import("from/commas,,,,remove\n", &["--format", "csv"]);
    assert_eq!(counts["removed"], 1);

    // What is listed can be imported elsewhere, or again.
    let listed = run(&server, &["artifact", "list", "from/", "--all"], 0);
    assert_eq!((paths(&listed), &listed["artifacts"][0]["custom"]["k"]), (vec!["from/json"], &1.into()));
    let again: String = listed["artifacts"].as_array().unwrap().iter().map(|it| format!("{it}\n")).collect();
    assert_eq!(import(&again, &["--format", "jsonl"])["unchanged"], 1);
    dev.stop();
}

/// Whoever stops an import without a request id of their own can go on with the random one, once there is something to
/// go on with; what is refused at once has nothing.
#[test]
fn a_random_request_id_is_told_once_something_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::start(&dir.path().join("data"));
    let server = dev.server();
    let file = dir.path().join("lines");
    fs::write(&file, "nonsense\n").unwrap();
    let (exit, _, told) = human(&server, &["import", file.to_str().unwrap()]);
    assert!(exit == 1 && !told.contains("--request-id"), "{told}");

    let mut process = rstuf(&server, &["import", "-", "--output", "human"]);
    let mut process = process.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut notes = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
    // Its input has no end, so it is cut short. Nobody sees a bar, so lines tell how far it is.
    let mut stdin = process.stdin.take().unwrap();
    assert_eq!(notes.next().unwrap(), "importing: 0 B");
    stdin.write_all(lines(10_001).as_bytes()).unwrap();
    let told = notes.find(|line| line.contains("--request-id")).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    let id = told.rsplit_once("--request-id ").unwrap().1;

    fs::write(&file, lines(10_003)).unwrap();
    let file = file.to_str().unwrap();
    let imported = run(&server, &["import", file, "--request-id", id], 0);
    assert_eq!(imported["task"]["request_id"], id);
    let random = run(&server, &["import", file], 0);
    assert!(random["task"]["request_id"].as_str().is_some_and(|it| !it.is_empty() && it != id), "{random}");
    dev.stop();
}

/// One import is of one source: what an earlier run sent is not gone on with by other lines, and stays.
#[test]
fn other_lines_do_not_go_on_with_an_import() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::start(&dir.path().join("data"));
    let server = dev.server();
    let words = ["import", "-", "--request-id", "i 1"];
    let mut process = rstuf(&server, &words).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    process.stdin.as_mut().unwrap().write_all(lines(15_000).as_bytes()).unwrap();
    arrived(&server, "i 1", 10_000);
    process.kill().unwrap();
    process.wait().unwrap();

    let told = run(&server, &["task", "get", "--request-id", "i 1"], 1);
    assert!(told["message"].as_str().unwrap().contains("10000 changes"), "{told}");
    assert!(told["next"].as_str().unwrap().contains("--restart"), "{told}");

    let file = dir.path().join("lines");
    let import = |text: &str, more: &[&str], exit| {
        fs::write(&file, text).unwrap();
        run(&server, &[&["import", file.to_str().unwrap(), "--request-id", "i 1"], more].concat(), exit)
    };
    let all = lines(15_000);
    // The number of lines is the same, and what differs is in those that the coordinator has.
    let other = all.replacen("bulk/00007;7;", "bulk/00007;8;", 1);
    for (text, why) in [(&*other, "differ"), (&lines(9_999), "9999"), (&format!("nonsense\n{all}"), "line 1")] {
        let refused = import(text, &[], 1);
        assert!(refused["message"].as_str().unwrap().contains(why), "{refused}");
        arrived(&server, "i 1", 10_000);
    }
    let imported = import(&all, &[], 0);
    assert_eq!(imported["task"]["counts"]["added"], 15_000, "{imported}");

    // The same is answered with the same task; anything else, with what the id was used for.
    assert_eq!(import(&all, &[], 0)["task"]["id"], imported["task"]["id"]);
    for (text, more) in [(&*other, &[][..]), (&lines(14_999), &[]), (&all, &["--hold"])] {
        let refused = import(text, more, 1);
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains("import, task") && message.contains("another id"), "{refused}");
    }
    dev.stop();
}

/// Whoever mended the source of an import that was stopped begins anew with its request id, also another kind of one.
#[test]
fn an_import_that_was_stopped_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::start(&dir.path().join("data"));
    let server = dev.server();
    let words = ["import", "-", "--hold", "--request-id", "i 1"];
    let mut process = rstuf(&server, &words).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    process.stdin.as_mut().unwrap().write_all(lines(15_000).as_bytes()).unwrap();
    arrived(&server, "i 1", 10_000);
    process.kill().unwrap();
    process.wait().unwrap();
    let file = dir.path().join("lines");
    fs::write(&file, lines(3)).unwrap();
    let imported = run(&server, &["import", file.to_str().unwrap(), "--request-id", "i 1", "--restart"], 0);
    assert_eq!(imported["task"]["counts"]["added"], 3, "{imported}");
    dev.stop();
}

/// Of two runs under one request id at the same time, the one that falls behind is told so, and what to do; the other
/// goes on.
#[test]
fn two_runs_at_once_are_told_of_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::start(&dir.path().join("data"));
    let server = dev.server();
    let all = lines(45_000);
    let [first, second, third] = [15_000, 25_000, 35_000].map(|count| lines(count).len());
    let start = |output| {
        let mut import = rstuf(&server, &["import", "-", "--request-id", "i 1", "--output", output]);
        let import = import.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = import.spawn().unwrap();
        let mut stdin = process.stdin.take().unwrap();
        stdin.write_all(&all.as_bytes()[..first]).unwrap();
        (process, stdin)
    };
    let (slow, mut to_slow) = start("json");
    arrived(&server, "i 1", 10_000);
    let (mut late, mut to_late) = start("human");
    let mut notes = BufReader::new(late.stderr.take().unwrap()).lines().map_while(Result::ok);
    notes.find(|line| line.contains("going on after 10000 changes")).unwrap();
    let (quick, mut to_quick) = start("json");
    to_quick.write_all(&all.as_bytes()[first..third]).unwrap();
    arrived(&server, "i 1", 30_000);

    to_slow.write_all(&all.as_bytes()[first..second]).unwrap();
    let output = slow.wait_with_output().unwrap();
    let behind = error(&output);
    assert_eq!(behind["message"], "another run is importing with request id i 1, and has sent 30000 changes");
    assert!(output.status.code() == Some(75) && behind["next"].as_str().unwrap().contains("wait"), "{behind}");
    to_quick.write_all(&all.as_bytes()[third..]).unwrap();
    drop(to_quick);
    let output = quick.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    to_late.write_all(&all.as_bytes()[first..second]).unwrap();
    assert!(notes.any(|line| line.contains("another run has imported with request id i 1 meanwhile")));
    assert_eq!(late.wait().unwrap().code(), Some(75));

    let file = dir.path().join("lines");
    fs::write(&file, &all).unwrap();
    let again = run(&server, &["import", file.to_str().unwrap(), "--request-id", "i 1"], 0);
    assert_eq!(again["task"]["counts"]["added"], 45_000, "{again}");
    dev.stop();
}

/// A run does not pass off as its own what another one with more lines sent under its request id.
#[test]
fn a_run_commits_nothing_but_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::start(&dir.path().join("data"));
    let server = dev.server();
    // Of these, unlike of rows, each is a change as soon as it is read.
    let objects = |count| (0..count).map(|at| format!("{{\"remove\":\"bulk/{at}\"}}\n")).collect::<String>();
    let mut short = rstuf(&server, &["import", "-", "--request-id", "i 1"]);
    let mut short = short.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = short.stdin.take().unwrap();
    stdin.write_all(objects(10_000).as_bytes()).unwrap();
    arrived(&server, "i 1", 10_000);
    let file = dir.path().join("lines");
    fs::write(&file, objects(10_001)).unwrap();
    let long = run(&server, &["import", file.to_str().unwrap(), "--request-id", "i 1"], 0);
    assert_eq!(long["task"]["counts"]["not_found"], 10_001, "{long}");
    drop(stdin);
    let output = short.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    assert_eq!(error(&output)["message"], "another run has imported with request id i 1 meanwhile");
    dev.stop();
}

/// Waits until an open import has so many changes.
fn arrived(server: &str, request_id: &str, changes: u64) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut client = ArtifactServiceClient::new(rstuf_runtime::connect(server).unwrap());
        let deadline = Instant::now() + ARRIVAL_MAX;
        loop {
            let key = Some(Key::RequestId(request_id.to_owned()));
            // Before it is created, it is not found.
            let import = client.get_import(GetImportRequest { key }).await.ok().and_then(|it| it.into_inner().import);
            if import.as_ref().is_some_and(|import| import.next_offset == changes) {
                return;
            }
            assert!(Instant::now() < deadline, "{changes} never arrived: {import:?}");
        }
    });
}

/// How long that may take.
const ARRIVAL_MAX: Duration = Duration::from_secs(60);

/// What the coordinator has is not sent again: neither after its crash nor after that of the command.
#[test]
fn an_import_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let dev = Dev::start(&data);
    let server = dev.server();
    let count = 45_000;
    let all = lines(count);
    // A part has 10,000 changes: two parts and some, then another.
    let (two, three) = (lines(25_000).len(), lines(35_000).len());
    let words = ["import", "-", "--request-id", "i 1", "--output", "human"];
    let start = || rstuf(&server, &words).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();

    let mut process = start();
    process.stdin.as_mut().unwrap().write_all(&all.as_bytes()[..two]).unwrap();
    arrived(&server, "i 1", 20_000);
    process.kill().unwrap();
    process.wait().unwrap();

    let mut process = start();
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(&all.as_bytes()[..three]).unwrap();
    arrived(&server, "i 1", 30_000);
    let address = |name: &str| dev.ready[name].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    let (coordinator, mirror) = (address("coordinator"), address("mirror"));
    // Dropped, it is killed with SIGKILL.
    drop(dev);
    let dev = Dev::start_at(&data, &coordinator, &mirror);
    stdin.write_all(&all.as_bytes()[three..]).unwrap();
    drop(stdin);
    let output = process.wait_with_output().unwrap();
    let notes = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{notes}");
    assert!(notes.contains("going on after 20000 changes"), "{notes}");

    let task = run(&server, &["task", "get", "--request-id", "i 1"], 0);
    assert_eq!(task["task"]["counts"]["added"], count, "{task}");
    let listed = run(&server, &["artifact", "list", "bulk/4499", "--all"], 0);
    assert_eq!(paths(&listed).len(), 10);
    dev.stop();
}
