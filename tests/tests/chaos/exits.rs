//! How processes end.

use rstuf_tests::processes::{Processes, Service};

#[tokio::test]
async fn five_processes_start_publish_and_end_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let mut system = Processes::start(dir.path(), "succinct:16").await.unwrap();
    system.client().unwrap().add(&[("a/b", b"c")]).await.unwrap();
    for service in Service::ALL.into_iter().rev() {
        let status = system.terminate(service).await.unwrap();
        assert_eq!(status.code(), Some(0), "{}: {}", service.name(), system.log_end(service));
    }
}
