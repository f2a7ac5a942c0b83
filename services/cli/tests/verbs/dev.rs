//! `rstuf dev`.

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
