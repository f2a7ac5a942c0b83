//! The generated code in `src/gen` is what `proto/` says. Rewrite it with:
//!
//!     RSTUF_CODEGEN=write cargo test -p rstuf-api --test codegen
#![allow(clippy::unwrap_used, clippy::panic)]

mod rules;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const AREAS: [&str; 5] = ["metadata", "artifacts", "tasks", "repository", "signer"];

#[test]
fn generated_code_is_fresh() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let protos = here.join("../../proto");
    let checked_in = here.join("src/gen");
    let fresh = tempfile::tempdir().unwrap();
    generate(&protos, fresh.path());

    if std::env::var_os("RSTUF_CODEGEN").is_some_and(|mode| mode == "write") {
        fs::remove_dir_all(&checked_in).unwrap();
        fs::create_dir_all(&checked_in).unwrap();
        for (name, bytes) in files(fresh.path()) {
            fs::write(checked_in.join(name), bytes).unwrap();
        }
    }
    assert!(files(fresh.path()) == files(&checked_in), "src/gen differs from proto/: see the top of this file");
}

fn sources(protos: &Path) -> Vec<PathBuf> {
    AREAS.iter().map(|area| protos.join(format!("rstuf/{area}/v1/{area}.proto"))).collect()
}

/// With comments.
fn descriptors(protos: &Path) -> prost_types::FileDescriptorSet {
    let mut compiler = protox::Compiler::new([protos]).unwrap();
    compiler.include_imports(true).include_source_info(true).open_files(sources(protos)).unwrap();
    compiler.file_descriptor_set()
}

fn generate(protos: &Path, out: &Path) {
    let set = descriptors(protos);
    let mut reflection = protox::Compiler::new([protos]).unwrap();
    reflection.include_imports(true).open_files(sources(protos)).unwrap();
    fs::write(out.join("descriptors.bin"), reflection.encode_file_descriptor_set()).unwrap();
    let mut names = tonic_prost_build::Config::new();
    names.enable_type_names();
    let builder = tonic_prost_build::configure().bytes(".").codec_path("crate::codec::Codec").out_dir(out);
    let builder = builder.extern_path(".rstuf.signer.v1.SubmittedChange", "crate::submitted::SubmittedChange");
    builder.compile_fds_with_config(set, names).unwrap();
    fs::remove_file(out.join("google.protobuf.rs")).ok();
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}
