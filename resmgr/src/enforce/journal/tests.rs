//! Journals in a temporary folder: what is noted survives, damage is set aside, and one agent writes.

use tempfile::TempDir;

use super::*;

fn leaf(n: u64) -> Change {
    Change::Leaf {
        path: format!("/cgroup/tool-{n}").into(),
    }
}

fn idle(threads: &[u32]) -> Change {
    Change::Idle {
        unusual: threads
            .iter()
            .map(|&thread| (thread, SchedulingPolicy::Batch))
            .collect(),
    }
}

impl Journal {
    /// One whose disk is full.
    pub(in crate::enforce) fn full(mut self) -> Self {
        self.path = "/dev/full".into();
        self.state().file = File::options().write(true).open(&self.path).unwrap();
        self
    }
}

#[test]
fn what_was_before_the_first_change_is_what_is_put_back() {
    let folder = TempDir::new().unwrap();
    let journal = Journal::open(folder.path(), "boot").unwrap();
    journal.note(7, leaf(7)).unwrap();
    journal.note(7, Change::Data { from: None }).unwrap();
    journal.note(7, Change::Data { from: Some(1 << 20) }).unwrap();
    journal.note(8, Change::OomScore { from: -5 }).unwrap();
    let expected = vec![leaf(7), Change::Data { from: None }];
    assert_eq!(journal.changes(7), expected);
    drop(journal);
    let journal = Journal::open(folder.path(), "boot").unwrap();
    assert_eq!(journal.changes(7), expected, "and after the agent was killed");
    assert_eq!(journal.instances(), [7, 8]);
    journal.settle(7).unwrap();
    drop(journal);
    let journal = Journal::open(folder.path(), "boot").unwrap();
    assert_eq!(journal.instances(), [8]);
    drop(journal);
    let journal = Journal::open(folder.path(), "another boot").unwrap();
    assert_eq!(journal.instances(), [0_u64; 0], "its processes have gone");
    journal.remove().unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn threads_that_come_later_are_added() {
    let folder = TempDir::new().unwrap();
    let journal = Journal::open(folder.path(), "boot").unwrap();
    for threads in [&[][..], &[3], &[3, 4]] {
        journal.note(1, idle(threads)).unwrap();
    }
    assert_eq!(journal.changes(1), [idle(&[3, 4])]);
    drop(journal);
    let journal = Journal::open(folder.path(), "boot").unwrap();
    assert_eq!(journal.changes(1), [idle(&[3, 4])]);
}

#[test]
fn a_line_that_was_cut_is_set_aside_and_the_others_hold() {
    let folder = TempDir::new().unwrap();
    let journal = Journal::open(folder.path(), "boot").unwrap();
    journal.note(1, leaf(1)).unwrap();
    journal.note(2, leaf(2)).unwrap();
    drop(journal);
    let path = folder.path().join(NAME);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 9]).unwrap();
    let journal = Journal::open(folder.path(), "boot").unwrap();
    assert_eq!(journal.instances(), [1]);
    assert_eq!(
        fs::read(folder.path().join(SET_ASIDE)).unwrap(),
        &whole[..whole.len() - 9]
    );
    drop(journal);
    fs::write(&path, "not a journal\n{}\n").unwrap();
    assert_eq!(Journal::open(folder.path(), "boot").unwrap().instances(), [0_u64; 0]);
    let aside = fs::read_to_string(folder.path().join(SET_ASIDE)).unwrap();
    assert_eq!(aside, "not a journal\n{}\n");
    fs::write(&path, "{\"version\":9,\"boot\":\"boot\"}\n").unwrap();
    let error = Journal::open(folder.path(), "boot").unwrap_err().to_string();
    assert!(error.contains("version 9"), "{error}");
}

#[test]
fn a_folder_belongs_to_one_agent() {
    let folder = TempDir::new().unwrap();
    let _journal = Journal::open(folder.path(), "boot").unwrap();
    let error = Journal::open(folder.path(), "boot").unwrap_err().to_string();
    assert!(error.contains("--state-dir"), "{error}");
}

#[test]
fn what_cannot_be_written_is_an_error_and_a_long_life_makes_no_long_file() {
    let folder = TempDir::new().unwrap();
    let journal = Journal::open(folder.path(), "boot").unwrap();
    for instance in 0..10_000 {
        journal.note(instance, leaf(instance)).unwrap();
        journal.settle(instance).unwrap();
    }
    let text = fs::read_to_string(folder.path().join(NAME)).unwrap();
    assert!(text.lines().count() <= SPARE_LINES + 2, "{}", text.lines().count());
    let full = journal.full();
    let error = full.note(1, leaf(1)).unwrap_err().to_string();
    assert!(error.starts_with("write /dev/full: "), "{error}");
    assert_eq!(full.changes(1), []);
}
