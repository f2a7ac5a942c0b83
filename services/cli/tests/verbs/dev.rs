//! `rstuf dev`.

use std::{fs, net::TcpListener, path::Path};

use crate::support::{run, sample};

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

/// Whoever starts it twice, or in the wrong directory, loses nothing and is told what to do.
#[test]
fn dev_takes_its_ports_and_its_directory_before_it_writes_anything() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let dev = |data: &Path, mirror: &str| {
        let data = data.to_str().unwrap();
        run("", &["dev", "--once", "--data", data, "--coordinator", "127.0.0.1:0", "--mirror", mirror], 1)
    };
    let refused = dev(&data, &taken);
    assert!(refused["message"].as_str().unwrap().contains(&format!("cannot listen on {taken}")), "{refused}");
    assert!(refused["next"].as_str().unwrap().contains("--mirror 127.0.0.1:0"), "{refused}");
    assert!(!data.exists(), "nothing was written");

    fs::create_dir(&data).unwrap();
    fs::write(data.join("thesis.tex"), "").unwrap();
    let refused = dev(&data, "127.0.0.1:0");
    assert!(refused["message"].as_str().unwrap().contains("thesis.tex"), "{refused}");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "nothing was written");
}
