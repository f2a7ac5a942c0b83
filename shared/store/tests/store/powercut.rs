//! The simulated power cut itself: what survives is what was made durable, no more and no less.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use rstuf_store::{
    Options, Store,
    powercut::{Shim, restore},
};

/// Runs a script in `root` under the shim; `sync FILE` is fsync of a file or directory, `sync -f` is syncfs.
fn run(shim: &Shim, root: &Path, shadow: &Path, script: &str) {
    let mut command = Command::new("bash");
    command.args(["-e", "-c", script]).current_dir(root).envs(shim.environment(root, shadow).unwrap());
    assert!(command.status().unwrap().success(), "{script}");
}

/// Names and contents, in order; a directory ends with a slash.
fn listing(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            found.push(format!("{name}/"));
            found.extend(listing(&entry.path()).into_iter().map(|below| format!("{name}/{below}")));
        } else {
            found.push(format!("{name}={}", fs::read_to_string(entry.path()).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn only_what_was_synced_survives() {
    let scratch = tempfile::tempdir().unwrap();
    let shim = Shim::build(scratch.path()).unwrap();
    let cases: &[(&str, &[&str])] = &[
        ("true", &["kept/", "kept/a=old"]),
        ("printf new > kept/a", &["kept/", "kept/a=old"]),
        ("printf new > kept/a; sync kept/a", &["kept/", "kept/a=new"]),
        ("printf 1 > b; sync b", &["kept/", "kept/a=old"]),
        ("printf 1 > b; sync .", &["b=", "kept/", "kept/a=old"]),
        ("printf 1 > b; sync b .; printf 2 > b; printf 3 > c", &["b=1", "kept/", "kept/a=old"]),
        ("printf new > n; sync n; mv n kept/a", &["kept/", "kept/a=old"]),
        ("printf new > n; sync n; mv n kept/a; sync kept", &["kept/", "kept/a=new"]),
        ("rm kept/a", &["kept/", "kept/a=old"]),
        ("rm kept/a; sync kept", &["kept/"]),
        // The inode may be used again at once; the new file must not show the old one's bytes.
        ("rm kept/a; printf other > kept/z; sync kept", &["kept/", "kept/z="]),
        ("mkdir -p d/e; printf 1 > d/e/f; sync d/e/f d/e", &["kept/", "kept/a=old"]),
        ("mkdir -p d/e; printf 1 > d/e/f; sync d/e/f d/e d .", &["d/", "d/e/", "d/e/f=1", "kept/", "kept/a=old"]),
        (
            "mkdir -p d/e; printf 1 > d/e/f; mv kept/a kept/b; sync -f .; printf 2 > d/e/f",
            &["d/", "d/e/", "d/e/f=1", "kept/", "kept/b=old"],
        ),
    ];
    for (case, (script, expected)) in cases.iter().enumerate() {
        let [root, shadow, after] =
            ["root", "shadow", "after"].map(|name| scratch.path().join(case.to_string()).join(name));
        fs::create_dir_all(root.join("kept")).unwrap();
        fs::write(root.join("kept").join("a"), "old").unwrap();
        fs::set_permissions(root.join("kept").join("a"), fs::Permissions::from_mode(0o600)).unwrap();
        run(&shim, &root, &shadow, script);
        restore(&shadow, &after).unwrap();
        assert_eq!(listing(&after), *expected, "{script}");
        if after.join("kept").join("a").exists() && !script.contains("mv") {
            let mode = fs::metadata(after.join("kept").join("a")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{script}");
        }
    }
}

/// Several processes share one shadow, at the same time and one after the other.
#[test]
fn processes_share_a_shadow() {
    let scratch = tempfile::tempdir().unwrap();
    let shim = Shim::build(scratch.path()).unwrap();
    let [root, shadow, after] = ["root", "shadow", "after"].map(|name| scratch.path().join(name));
    fs::create_dir(&root).unwrap();
    std::thread::scope(|scope| {
        for process in 0..4 {
            let (shim, root, shadow) = (&shim, &root, &shadow);
            scope.spawn(move || {
                let script = "mkdir P; for n in $(seq 25); do printf $n > P/last; sync P/last P; done; sync .";
                run(shim, root, shadow, &script.replace('P', &format!("p{process}")));
            });
        }
    });
    run(&shim, &root, &shadow, "printf 26 > p0/last; sync p0/last; printf 27 > p0/last");
    restore(&shadow, &after).unwrap();
    let expected = ["p0/", "p0/last=26", "p1/", "p1/last=25", "p2/", "p2/last=25", "p3/", "p3/last=25"];
    assert_eq!(listing(&after), expected);
}

/// A file that was sealed is there after a power cut as it was written; of one that was not, nothing is left.
#[tokio::test]
async fn a_sealed_file_survives() {
    const STATE: &str = "RSTUF_SEALED_STATE";
    let open = |dir: &Path| Store::open(Options::new(dir, "test").free_bytes_min(0)).unwrap();
    let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    if let Some(dir) = std::env::var_os(STATE) {
        let store = open(Path::new(&dir));
        let [mut whole, mut half] = ["whole", "half"].map(|name| store.new_file(name).unwrap());
        for part in content.chunks(65_536) {
            whole.append(part).unwrap();
            half.append(part).unwrap();
        }
        whole.seal().unwrap();
        std::process::exit(0);
    }
    let scratch = tempfile::tempdir().unwrap();
    let shim = Shim::build(scratch.path()).unwrap();
    let [root, shadow, after] = ["root", "shadow", "after"].map(|name| scratch.path().join(name));
    fs::create_dir(&root).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "powercut::a_sealed_file_survives"]).env(STATE, root.join("state"));
    assert!(child.envs(shim.environment(&root, &shadow).unwrap()).output().unwrap().status.success());
    restore(&shadow, &after).unwrap();
    let store = open(&after.join("state"));
    assert_eq!(store.file_names().unwrap(), ["whole"]);
    let mut read = vec![0; content.len()];
    store.open_file("whole").unwrap().read(0, &mut read).unwrap();
    assert!(read == content);
}
