//! A folder that looks like `/proc`.

use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

const HEADING: &str =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

/// A socket table with one socket for each state and inode number.
fn table(sockets: &[(&str, u64)]) -> String {
    let line = |(state, inode): &(&str, u64)| {
        format!(
            "   0: 0100007F:0CEA 0100007F:9C40 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1\n"
        )
    };
    HEADING.to_owned() + &sockets.iter().map(line).collect::<String>()
}

/// A `stat` of which only what is read here means anything.
fn stat(comm: &str, state: char, flags: u32) -> String {
    format!("5 ({comm}) {state} 1 5 5 0 -1 {flags} 0 0 0 0 1 2 0 0 20 0 2 0 4711 0 0")
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn write_memory(folder: &Path, pages: u64, counted: [u64; 3]) {
    write(&folder.join("statm"), &format!("{pages} 5 3 1 0 2 0\n"));
    write(
        &folder.join("smaps_rollup"),
        "00-ff ---p 00 00:00 0 [rollup]\nRss:   20 kB\nAnonymous:  8 kB\n",
    );
    let [anon, file, shmem] = counted;
    write(
        &folder.join("status"),
        &format!("Name:\ta\nRssAnon:\t {anon} kB\nRssFile:\t {file} kB\nRssShmem:\t {shmem} kB\nVmSwap:\t 4 kB\n"),
    );
}

/// Process 5 with threads 5 and 6, in a namespace of which `sockets` are known; its descriptors are `fds`.
fn process(root: &TempDir, sockets: &[(&str, u64)], fds: &[(&str, &str)]) -> PathBuf {
    let process = root.path().join("5");
    write(&process.join("stat"), &stat("a) b", 'S', 0));
    write_memory(&process, 10, [8, 8, 4]);
    write(&process.join("net/tcp"), &table(sockets));
    fs::create_dir_all(process.join("ns")).unwrap();
    symlink("net:[1]", process.join("ns/net")).unwrap();
    for thread in ["5", "6"] {
        let task = process.join("task").join(thread);
        write(&task.join("stat"), &stat("a) b", 'S', 0));
        fs::create_dir_all(task.join("fd")).unwrap();
        for (fd, target) in fds {
            symlink(target, task.join("fd").join(fd)).unwrap();
        }
    }
    process
}

const INSPECT: Inspect = Inspect {
    clock_ns: |_| Ok(7),
    share_descriptors: |_, _| Ok(true),
};

fn read(root: &TempDir, inspect: Inspect) -> Truths {
    Reader::new(root.path().to_owned(), inspect).read(None)
}

#[test]
fn a_process_is_read_with_its_tables_and_connections() {
    let root = TempDir::new().unwrap();
    let states = [("0A", 100), ("01", 101), ("07", 102), ("06", 0)];
    let fds = [
        ("0", "/dev/null"),
        ("3", "socket:[100]"),
        ("4", "socket:[101]"),
        ("5", "socket:[102]"),
    ];
    process(&root, &states, &fds);
    let truth = &read(&root, INSPECT)[&5];
    assert_eq!((truth.comm.as_str(), truth.started), ("a) b", 4711));
    assert_eq!((truth.threads, truth.fds(), truth.cpu_ns), (2, 4, Some(7)));
    assert_eq!(
        truth.connections,
        BTreeSet::from([101]),
        "one listens, one is closed, one has no owner"
    );
    assert_eq!(
        (truth.anon_bytes, truth.resident_bytes),
        (Some(8 << 10), Some(20 << 10))
    );
    assert_eq!(
        (truth.file_bytes, truth.shmem_bytes, truth.swap_bytes),
        (Some(8 << 10), Some(4 << 10), Some(4 << 10))
    );

    let share_descriptors = |_, _| Ok(false);
    let apart = Inspect {
        share_descriptors,
        ..INSPECT
    };
    assert_eq!(read(&root, apart)[&5].fds(), 8, "each of two tables");
    let wanted = BTreeSet::from([7]);
    let reader = Reader::new(root.path().to_owned(), INSPECT);
    assert!(reader.read(Some(&wanted)).is_empty());
}

#[test]
fn a_kernel_without_kcmp_is_taken_to_share_tables() {
    let root = TempDir::new().unwrap();
    process(&root, &[], &[("0", "/dev/null")]);
    let share_descriptors = |_, _| Err(io::Error::from_raw_os_error(38));
    let unable = Inspect {
        share_descriptors,
        ..INSPECT
    };
    assert_eq!(read(&root, unable)[&5].fds(), 1);
}

#[test]
fn a_socket_is_found_in_a_namespace_that_its_process_is_not_in() {
    let root = TempDir::new().unwrap();
    process(&root, &[], &[("3", "socket:[101]")]);
    assert_eq!(read(&root, INSPECT)[&5].connections, BTreeSet::new());
    let elsewhere = root.path().join("9");
    write(&elsewhere.join("net/udp6"), &table(&[("01", 101)]));
    fs::create_dir_all(elsewhere.join("ns")).unwrap();
    symlink("net:[2]", elsewhere.join("ns/net")).unwrap();
    assert_eq!(read(&root, INSPECT)[&5].connections, BTreeSet::from([101]));
}

#[test]
fn counters_that_disagree_with_the_walk_over_the_pages_are_no_truth() {
    let root = TempDir::new().unwrap();
    let folder = process(&root, &[], &[]);
    write_memory(&folder, 10, [8, 4, 4]);
    let truth = &read(&root, INSPECT)[&5];
    assert_eq!(
        (truth.file_bytes, truth.resident_bytes, truth.virtual_bytes.is_some()),
        (None, Some(20 << 10), true)
    );
}

#[test]
fn a_process_whose_leader_has_exited_is_read_by_its_threads() {
    let root = TempDir::new().unwrap();
    let folder = process(&root, &[], &[("0", "/dev/null")]);
    for leader in [folder.clone(), folder.join("task/5")] {
        write(&leader.join("stat"), &stat("a", 'Z', 0));
    }
    write_memory(&folder, 0, [0, 0, 0]);
    write_memory(&folder.join("task/6"), 12, [8, 8, 4]);
    let truth = &read(&root, INSPECT)[&5];
    assert_eq!((truth.threads, truth.fds()), (1, 1));
    assert_eq!(truth.anon_bytes, Some(8 << 10));
    assert_eq!(truth.virtual_bytes, Some(12 * rustix::param::page_size() as u64));
}

#[test]
fn zombies_and_threads_of_the_kernel_are_left_out() {
    for (state, flags) in [('Z', 0), ('S', KERNEL_THREAD)] {
        let root = TempDir::new().unwrap();
        let folder = process(&root, &[], &[]);
        for place in [folder.clone(), folder.join("task/5"), folder.join("task/6")] {
            write(&place.join("stat"), &stat("a", state, flags));
        }
        assert!(read(&root, INSPECT).is_empty(), "{state} {flags}");
    }
}
