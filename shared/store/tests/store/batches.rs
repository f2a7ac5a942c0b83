//! Batches, before they are committed.

use rstuf_store::{Batch, Put};

/// What a batch sets the key to.
fn value<'a>(batch: &'a Batch, key: &str) -> Option<&'a [u8]> {
    match batch.changes().find(|(changed, _)| *changed == key.as_bytes()) {
        Some((_, Some(Put::Value(bytes)))) => Some(bytes),
        _ => None,
    }
}

/// Whoever may have to commit a batch again keeps a clone, however large it is.
#[test]
fn a_clone_holds_the_same_bytes_until_it_changes() {
    let mut batch = Batch::new();
    batch.put("large", vec![1; 1 << 20]).put("small", "1");
    let mut clone = batch.clone();
    let same = |one: &Batch, other: &Batch| {
        value(one, "large").unwrap().as_ptr_range() == value(other, "large").unwrap().as_ptr_range()
    };
    assert!(same(&batch, &clone), "they were copied");
    clone.put("small", "2").delete("large");
    assert_eq!((value(&clone, "small"), value(&clone, "large")), (Some(&b"2"[..]), None));
    assert_eq!((value(&batch, "small"), value(&batch, "large").map(<[u8]>::len)), (Some(&b"1"[..]), Some(1 << 20)));
    assert_eq!(
        (batch.size_bytes(), clone.size_bytes()),
        ("large".len() + (1 << 20) + "small1".len(), "largesmall2".len())
    );
    let mut both = Batch::new();
    both.append(batch.clone()).append(clone);
    assert_eq!((value(&both, "small"), value(&both, "large")), (Some(&b"2"[..]), None));
}
