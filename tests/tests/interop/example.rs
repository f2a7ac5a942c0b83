//! The example that other build systems start from.

use std::{path::Path, process::Command};

use rstuf_tests::python;

use crate::scene::Scene;

/// Python, with nothing but grpcio and code generated from the protos, submits files and watches them come out.
#[tokio::test(flavor = "multi_thread")]
async fn submits_from_python() -> anyhow::Result<()> {
    let mut scene = Scene::start("succinct:16").await?;
    let Some(python) = python::environment().await? else { return Ok(()) };
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    let folder = tempfile::tempdir()?;
    let generated = folder.path().join("generated");
    std::fs::create_dir(&generated)?;
    let mut generate = Command::new(&python);
    generate.args(["-m", "grpc_tools.protoc", "--proto_path"]).arg(&proto);
    for option in ["--python_out", "--grpc_python_out"] {
        generate.arg(option).arg(&generated);
    }
    for area in ["artifacts", "tasks"] {
        generate.arg(proto.join(format!("rstuf/{area}/v1/{area}.proto")));
    }
    python::run(&mut generate)?;

    let server = scene.repo.coordinator_url().strip_prefix("http://").unwrap().to_owned();
    let script = proto.join("examples/submit.py");
    let submit = |files: &[(&str, &[u8])]| {
        let mut command = Command::new(&python);
        command.env("PYTHONPATH", &generated).arg(&script).arg(&server);
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes)?;
            scene.client().file(name, bytes)?;
            command.arg(folder.path().join(name));
        }
        tokio::task::block_in_place(|| python::run(&mut command))
    };
    let files: [(&str, &[u8]); 2] = [("one.whl", b"1"), ("two.whl", b"2")];
    assert_eq!(submit(&files)?.trim(), "2 added, 0 replaced, 0 unchanged");
    let again: [(&str, &[u8]); 2] = [("one.whl", b"changed"), ("two.whl", b"2")];
    assert_eq!(submit(&again)?.trim(), "0 added, 1 replaced, 1 unchanged");
    let refused = submit(&[("back\\slash", b"x")]).unwrap_err().to_string();
    assert!(refused.contains("INVALID_ARGUMENT") && refused.contains("no backslash"), "{refused}");
    assert!(!refused.contains("Traceback"), "{refused}");
    scene.expect(&again);
    scene.judge().await?;
    scene.repo.stop().await
}
