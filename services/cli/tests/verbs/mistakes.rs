//! Mistakes, and how they are told.

use crate::support::{Dev, human, rstuf, run};

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
    run(nobody, &["task", "watch", "abcd", "--wait-timeout", "1"], 69);
    run(nobody, &["task", "watch", "abcd", "--wait-timeout", "soon"], 2);

    let (exit, _, said) = human(nobody, &["artifact", "add", "--jsn", "x"]);
    assert!(exit == 2 && said.contains("--json") && !said.contains("as a value"), "{said}");
    let (exit, _, said) = human(nobody, &["artifact", "add", "Cargo.toml", "--as", "/abs"]);
    assert!(exit == 1 && said.contains("/abs") && !said.contains("name it with --as"), "{said}");
}

/// Whoever leaves out the group of a verb finds it.
#[test]
fn verbs_are_found_by_their_names_alone() {
    let nobody = "http://127.0.0.1:1";
    for (words, told) in [
        (&["ls"][..], "did you mean `rstuf artifact list` or `rstuf task list`?"),
        (&["rm", "a"], "did you mean `rstuf artifact remove`?"),
        (&["add", "a"], "did you mean `rstuf artifact add`?"),
        (&["artifact", "publish"], "did you mean `rstuf publish`?"),
        (&["artifact", "watch", "a"], "did you mean `rstuf task watch`?"),
    ] {
        let (exit, _, said) = human(nobody, words);
        assert!(exit == 2 && said.contains(told), "{words:?}: {said}");
    }
    assert!(!human(nobody, &["nonsense"]).2.contains("did you mean"));
}

/// What is wrong here is told before the coordinator is asked, and with what is allowed.
#[test]
fn what_is_wrong_on_this_side_is_told_first() {
    let nobody = "http://127.0.0.1:1";
    let (exit, _, said) = human(nobody, &["artifact", "add", "--artifacts-dir", "/nowhere/artifacts", "Cargo.toml"]);
    assert!(exit == 2 && said.contains("there is no such directory"), "{said}");
    for verb in [&["artifact", "list"][..], &["task", "list"], &["task", "changes", "abcd"]] {
        let (exit, _, said) = human(nobody, &[verb, &["--limit", "-1"]].concat());
        assert!(exit == 2 && said.contains("-1 is not in 1.."), "{said}");
    }
    assert!(human(nobody, &["import", "--help"]).1.contains("csv is the same"));

    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("ceremony.toml");
    std::fs::write(&config, "root.keys = ['no-such-key.pem']").unwrap();
    let told = run(nobody, &["ceremony", "--config", config.to_str().unwrap()], 1);
    assert!(told["message"].as_str().unwrap().contains("no-such-key.pem"), "{told}");
}

/// The mirror answers, but not in gRPC: that is no trouble which passes.
#[test]
fn who_is_not_a_coordinator_is_told_at_once() {
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start(data.path());
    let mirror = dev.ready["mirror"].as_str().unwrap();
    for arguments in [&["status"][..], &["task", "list"], &["publish"], &["artifact", "remove", "v1/app"]] {
        let told = run(mirror, arguments, 1);
        let message = told["message"].as_str().unwrap();
        assert!(message.contains(&format!("{mirror} is not a coordinator")), "{told}");
        assert!(!told.to_string().contains("took effect"), "{told}");
    }
    dev.stop();
}

/// Each mistake in the settings is told once, with where it stands.
#[test]
fn wrong_settings_are_told_once_each() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rstuf.toml");
    std::fs::write(&file, "servr = \"x\"\nserver = \"ftp://x\"\n").unwrap();
    let check = |name: &str, value: &str| {
        let mut command = rstuf("http://127.0.0.1:1", &["config", "check", "--output", "human"]);
        let output = command.env_remove("RSTUF_SERVER").env(name, value).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (exit, told) = check("RSTUF_CONFIG", file.to_str().unwrap());
    assert_eq!(exit, Some(78), "{told}");
    assert_eq!((told.matches("\"servr\"").count(), told.matches("ftp://x").count()), (1, 1), "{told}");
    let (exit, told) = check("RSTUF_SERVER", "nowhere");
    assert_eq!((exit, told.matches("nowhere").count()), (Some(78), 1), "{told}");
    let (exit, told) = check("RSTUF_SERVER", "127.0.0.1:50051");
    assert!(exit == Some(78) && told.contains("did you mean http://127.0.0.1:50051?"), "{told}");
    let (exit, told) = check("RSTUF_SERVR", "http://127.0.0.1:2");
    assert_eq!(exit, Some(0), "{told}");
    assert!(told.contains("RSTUF_SERVR is not read: did you mean RSTUF_SERVER?"), "{told}");
}
