//! Mistakes, and how they are told.

use crate::support::{human, rstuf, run};

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

/// What people type who know other commands.
#[test]
fn habits_from_elsewhere_work() {
    let nobody = "http://127.0.0.1:1";
    for json in [&["--json"][..], &["-o", "json"], &["-ojson"], &["--output=json"]] {
        let command = [&["version"], json].concat();
        let output = rstuf(nobody, &command).env("RSTUF_OUTPUT", "human").output().unwrap();
        assert!(output.stdout.starts_with(b"{") && output.status.success(), "{command:?}: {output:?}");
        let mistake = [&["--nonsense"], json].concat();
        let output = rstuf(nobody, &mistake).env("RSTUF_OUTPUT", "human").output().unwrap();
        assert!(output.stderr.starts_with(b"{"), "{mistake:?}: {output:?}");
    }
    let (exit, help, _) = human(nobody, &["help", "artifact", "add"]);
    assert!(exit == 0 && help.contains("Examples:\n  rstuf artifact add"), "{help}");
    assert_eq!(human(nobody, &["artifact", "add", "--help"]).1, help);
    for alias in [&["artifact", "ls"][..], &["artifact", "rm", "a"], &["task", "ls"]] {
        assert_eq!(run(nobody, alias, 69)["kind"], "unreachable", "{alias:?} is a verb");
    }
    // A plain number is seconds: the address is asked, so the number was understood.
    run(nobody, &["task", "watch", "id", "--wait-timeout", "1"], 69);
    run(nobody, &["task", "watch", "id", "--wait-timeout", "soon"], 2);

    let (exit, _, said) = human(nobody, &["artifact", "add", "--jsn", "x"]);
    assert!(exit == 2 && said.contains("--json") && !said.contains("as a value"), "{said}");
    let (exit, _, said) = human(nobody, &["artifact", "add", "Cargo.toml", "--as", "/abs"]);
    assert!(exit == 1 && said.contains("/abs") && !said.contains("name it with --as"), "{said}");
}
