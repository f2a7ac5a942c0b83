//! Imports.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use crate::support::{Dev, error, paths, rstuf, run};

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
