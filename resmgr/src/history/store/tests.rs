//! Stores in files of their own: written, closed, damaged, filled.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::{
    history::Recorder,
    model::{Measure, Retention},
};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn tool(instance: u64) -> PastTool {
    PastTool {
        instance,
        name: "server".parse().unwrap(),
        uid: 1000,
        began: at(1000),
        ended: None,
        peaks: [1, 2, 3, 4],
    }
}

/// What a tool wrote of so many seconds.
fn recorded(instance: u64, seconds: Range<u64>) -> Writing {
    let mut recorder = Recorder::default();
    for second in seconds {
        let sample = UsageSample {
            at_ms: second * 1000,
            values: [second, 0, 7, 0, 0],
            ..UsageSample::default()
        };
        recorder.take(instance, sample);
    }
    Writing {
        batch: recorder.batch(),
        tools: vec![tool(instance)],
        ..Writing::default()
    }
}

fn open(path: &Path) -> Store {
    let (store, aside) = Store::open(path, at(0)).unwrap();
    assert_eq!(aside, None);
    store
}

#[test]
fn what_was_written_is_read_after_the_store_was_opened_again() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("history.redb");
    let store = open(&path);
    // In pieces, as it comes.
    for begin in (0..7200).step_by(10) {
        store.write(&recorded(1, begin..begin + 10)).unwrap();
    }
    store.write(&recorded(1, 0..7201)).unwrap();
    let learned = vec![("a".to_owned(), Some(vec![1, 2])), ("b".to_owned(), Some(vec![3]))];
    let learned = Writing {
        learned,
        ..Writing::default()
    };
    store.write(&learned).unwrap();
    drop(store);
    let store = open(&path);
    assert_eq!(store.tools().unwrap(), [tool(1)]);
    let samples = store.rows(1, Tier::Second, 3_000_000..3_005_000).unwrap();
    let memory: Vec<u64> = samples
        .iter()
        .map(|row| row.measure(Measure::Memory).unwrap().max)
        .collect();
    // Twice, since all of it was written once more.
    assert_eq!(memory, [3000, 3000, 3001, 3001, 3002, 3002, 3003, 3003, 3004, 3004]);
    assert_eq!(store.rows(1, Tier::Hour, 0..u64::MAX).unwrap().len(), 2);
    assert_eq!(store.rows(2, Tier::Hour, 0..u64::MAX).unwrap(), []);
    let all = store.learned().unwrap();
    assert_eq!(all, [("a".to_owned(), vec![1, 2]), ("b".to_owned(), vec![3])]);
    let forget = Writing {
        learned: vec![("a".to_owned(), None)],
        ..Writing::default()
    };
    store.write(&forget).unwrap();
    assert_eq!(store.learned().unwrap(), [("b".to_owned(), vec![3])]);
}

#[test]
fn what_is_older_than_it_is_kept_for_is_forgotten_and_its_tool_with_the_last_of_it() {
    let mut store = Store::in_memory().unwrap();
    store.write(&recorded(1, 0..7300)).unwrap();
    store.write(&recorded(2, 7200..7300)).unwrap();
    let kept = |store: &Store, tier| store.rows(1, tier, 0..u64::MAX).unwrap().len();
    let retention = Retention {
        kept_ms: [60_000, 1_800_000, 7_200_000],
        ..Retention::default()
    };
    store.prune(at(7300), &retention).unwrap();
    // Samples lie together for two minutes, and go together.
    assert_eq!(kept(&store, Tier::Second), 100);
    assert_eq!(kept(&store, Tier::Minute), 29);
    assert_eq!(kept(&store, Tier::Hour), 1);
    let ended = |instance| PastTool {
        ended: Some(at(7300)),
        ..tool(instance)
    };
    let both = Writing {
        tools: vec![ended(1), ended(2)],
        ..Writing::default()
    };
    store.write(&both).unwrap();
    store.prune(at(10_000), &retention).unwrap();
    assert_eq!(store.tools().unwrap(), [ended(1)]);
    store.prune(at(100_000), &retention).unwrap();
    assert_eq!(store.tools().unwrap(), []);
}

#[test]
fn a_file_that_is_too_large_gives_its_oldest() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("history.redb");
    let mut store = open(&path);
    for instance in 0..40 {
        for begin in (0..7200).step_by(600) {
            store.write(&recorded(instance, begin..begin + 600)).unwrap();
        }
    }
    let before = store.bytes().unwrap();
    let retention = Retention {
        max_bytes: before / 2,
        ..Retention::default()
    };
    assert!(store.prune(at(7200), &retention).unwrap());
    assert!(store.bytes().unwrap() <= before / 2);
    assert!(fs::metadata(&path).unwrap().len() <= before, "the file is smaller, too");
    let rows = store.rows(7, Tier::Second, 0..u64::MAX).unwrap();
    assert!(!rows.is_empty() && rows.len() < 7200, "{}", rows.len());
    assert_eq!(rows.last().unwrap().at_ms, 7_199_000, "the latest is kept");
    let nothing = Retention {
        max_bytes: 1,
        ..Retention::default()
    };
    assert!(!store.prune(at(7200), &nothing).unwrap(), "what is no row stays");
}

#[test]
fn a_file_that_is_no_store_or_of_another_version_is_set_aside_and_kept() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("history.redb");
    fs::write(
        &path,
        "this is somebody's text, and longer than a header would be.".repeat(200),
    )
    .unwrap();
    let text = fs::read(&path).unwrap();
    let (store, aside) = Store::open(&path, at(86_400)).unwrap();
    let (aside, why) = aside.unwrap();
    assert_eq!(aside.file_name().unwrap(), "history.redb.set-aside-19700102T000000");
    assert!(!why.is_empty());
    assert_eq!(fs::read(&aside).unwrap(), text);
    store.write(&recorded(1, 0..100)).unwrap();
    let writing = store.database.begin_write().unwrap();
    writing.open_table(META).unwrap().insert("format", 99).unwrap();
    writing.commit().unwrap();
    drop(store);
    let error = Store::open(&path, at(86_400)).unwrap_err();
    assert!(error.to_string().contains("set"), "nothing is written over: {error}");
    let (store, aside) = Store::open(&path, at(86_401)).unwrap();
    assert!(aside.unwrap().1.contains("version 99"));
    assert_eq!(store.tools().unwrap(), []);
}

#[test]
fn whatever_byte_of_a_file_is_damaged_nothing_panics_and_nothing_is_lost() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("history.redb");
    let store = open(&path);
    store.write(&recorded(1, 0..2000)).unwrap();
    drop(store);
    let whole = fs::read(&path).unwrap();
    let mut damaged = 0;
    for n in 0..60_usize {
        let mut bytes = whole.clone();
        let at_byte = n * bytes.len() / 60;
        for byte in bytes.iter_mut().skip(at_byte).take(64) {
            *byte ^= 0x5a;
        }
        fs::write(&path, &bytes).unwrap();
        let (store, aside) = Store::open(&path, at(i64::try_from(n).unwrap())).unwrap();
        if let Some((aside, _)) = aside {
            damaged += 1;
            assert_eq!(fs::read(aside).unwrap(), bytes);
        } else {
            // Where nothing was stored, or what says the same twice.
            assert_eq!(store.rows(1, Tier::Second, 0..u64::MAX).unwrap().len(), 2000);
        }
    }
    assert!(damaged > 0);
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let (_, aside) = Store::open(&path, at(1000)).unwrap();
    assert!(aside.is_some(), "cut in half");
}
