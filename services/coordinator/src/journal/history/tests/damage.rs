//! Files that are missing or damaged, and what an operator may do about them.

use rstuf_runtime::config::{CommonRaw, ProcessRaw};

use super::*;
use crate::{Config, ConfigRaw, forget_damaged};

fn config(dir: &Path) -> Config {
    let common = CommonRaw {
        state_dir: Some(dir.to_str().unwrap().into()),
        process: ProcessRaw { admin_listen: Some("127.0.0.1:0".into()), ..ProcessRaw::default() },
        ..CommonRaw::default()
    };
    let raw = ConfigRaw { common, published_dir: Some("/nowhere".into()), ..ConfigRaw::default() };
    rstuf_runtime::config::checked(&raw).unwrap()
}

/// Tasks of three days, each in a file of its own, oldest first.
async fn three_days(dir: &Path) -> Vec<(PathBuf, Model)> {
    let journal = open(dir, Bounds { small_bytes: 1 << 20, ..LOW }).unwrap();
    let mut days = Vec::new();
    for (number, hour) in (0..).zip([1_000, 1_030, 1_060]) {
        days.push(finish(&journal, number * 40..(number + 1) * 40, hour).await);
    }
    journal.keep_history(hour(1_090)).await.unwrap();
    close(journal).await;
    let files = sealed(dir);
    assert_eq!(files.len(), days.len());
    files.into_iter().zip(days).collect()
}

/// With a file that is missing or damaged, wherever, an operator can go on without that one: all the rest is there, and
/// what was in it can come again.
#[tokio::test]
async fn an_operator_goes_on_without_what_is_damaged() {
    let damage: [fn(&Path); 4] = [
        |file| fs::remove_file(file).unwrap(),
        |file| fs::write(file, []).unwrap(),
        |file| flip(file, 10),
        |file| flip(file, fs::metadata(file).unwrap().len() as usize - 10),
    ];
    for (number, damage) in damage.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let mut days = three_days(dir.path()).await;
        damage(&days[1].0);
        let name = days[1].0.file_name().unwrap().to_str().unwrap().to_owned();
        let said = forget_damaged(&config(dir.path())).await.unwrap();
        assert!(said.contains("forgot 40 tasks") && said.contains(&name), "damage {number}: {said}");
        assert_eq!(said.matches("forgot ").count(), 1, "{said}");
        let journal = open(dir.path(), LOW).unwrap();
        let (_, forgotten) = days.remove(1);
        let left = days.iter().flat_map(|(_, model)| model.clone()).collect();
        answers_as(&journal, &left, &forgotten);
        assert_eq!(sealed(dir.path()), [days[0].0.clone(), days[1].0.clone()]);
        close(journal).await;
        let again = forget_damaged(&config(dir.path())).await.unwrap();
        assert!(again.contains("nothing was forgotten"), "{again}");
    }
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 4;
    fs::write(file, bytes).unwrap();
}

/// Not while a coordinator is there, not where the disk does not say what is in a file, and nothing is made where there
/// is nothing.
#[tokio::test]
async fn nothing_is_forgotten_by_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let days = three_days(dir.path()).await;
    let journal = open(dir.path(), LOW).unwrap();
    let running = forget_damaged(&config(dir.path())).await.unwrap_err();
    assert!(matches!(running, Error::Store(rstuf_store::Error::InUse { .. })), "{running}");
    close(journal).await;

    let (unread, aside) = (&days[2].0, dir.path().join("aside"));
    fs::remove_file(&days[0].0).unwrap();
    fs::rename(unread, &aside).unwrap();
    fs::create_dir(unread).unwrap();
    let unsaid = forget_damaged(&config(dir.path())).await.unwrap_err();
    assert!(matches!(unsaid, Error::Store(rstuf_store::Error::Io { .. })), "{unsaid}");
    fs::remove_dir(unread).unwrap();
    fs::rename(&aside, unread).unwrap();
    let said = forget_damaged(&config(dir.path())).await.unwrap();
    assert_eq!(said.matches("forgot 40 tasks").count(), 1, "{said}");

    let (nothing, empty) = (dir.path().join("nothing"), tempfile::tempdir().unwrap());
    for wrong in [nothing.as_path(), empty.path()] {
        let refused = forget_damaged(&config(wrong)).await.unwrap_err();
        assert!(matches!(refused, Error::Invalid { .. }), "{refused}");
    }
    assert!(!nothing.exists() && fs::read_dir(empty.path()).unwrap().next().is_none());
}
