//! Mistakes, and how they are told.

use crate::support::run;

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
