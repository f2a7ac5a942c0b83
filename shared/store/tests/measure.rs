#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]
use std::time::Instant;
use rstuf_store::*;
fn rss() -> u64 { let s = std::fs::read_to_string("/proc/self/statm").unwrap(); s.split(' ').nth(1).unwrap().parse::<u64>().unwrap()*4/1024 }
#[tokio::test]
async fn measure() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Options::new(dir.path().join("s"), "x")).unwrap();
    eprintln!("rss {} MB", rss());
    let t = Instant::now();
    for i in 0..500u32 { store.commit(Batch::new().put("a", vec![i as u8; 600])).await.unwrap(); }
    eprintln!("small commit {:?}", t.elapsed()/500);
    for r in 0..40u8 {
        let mut b = Batch::new();
        for i in 0..16384u32 { b.put(format!("bin/{i:05}"), vec![r.wrapping_add(i as u8); 600]); }
        let t = Instant::now();
        store.commit(b).await.unwrap();
        eprintln!("{r}: 16384 rows {:?} rss {} MB", t.elapsed(), rss());
    }
    let t = Instant::now();
    let mut b = Batch::new();
    for i in 0..16384u32 { b.put(format!("big/{i:05}"), [&i.to_be_bytes()[..], &vec![1u8; 6000]].concat()); }
    store.commit(b).await.unwrap();
    eprintln!("16384 blobs {:?} rss {} MB", t.elapsed(), rss());
    let t = Instant::now();
    for i in 0..100u32 { store.commit(Batch::new().put("b", vec![i as u8; 60000])).await.unwrap(); }
    eprintln!("one blob commit {:?}", t.elapsed()/100);
    let t = Instant::now();
    for i in 0..3000u32 { store.commit(Batch::new().put("a", vec![i as u8; 600])).await.unwrap(); }
    eprintln!("small commit {:?} rss {}", t.elapsed()/3000, rss());
    let t = Instant::now();
    let v = store.verify().unwrap();
    eprintln!("verify {:?} {v:?}", t.elapsed());
    store.close().await.unwrap();
    let t = Instant::now();
    let _store = Store::open(Options::new(dir.path().join("s"), "x")).unwrap();
    eprintln!("open {:?} rss {}", t.elapsed(), rss());
}
