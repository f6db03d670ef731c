//! Processes from records made by hand.

use super::*;

fn task(tid: u32, tgid: u32, flags: u32) -> TaskRecord {
    TaskRecord {
        tid,
        tgid,
        flags,
        cpu_ns: 10,
        dead_cpu_ns: 100,
        ..TaskRecord::default()
    }
}

fn assemble(tasks: &[TaskRecord], sockets: &[SocketRecord]) -> Vec<ProcessSample> {
    let mut assembly = Assembly::default();
    for socket in sockets {
        assembly.take(RecordKind::Socket as u32, bytemuck::bytes_of(socket));
    }
    for task in tasks {
        assembly.take(RecordKind::Task as u32, bytemuck::bytes_of(task));
    }
    assembly.finish(4096)
}

#[test]
fn cpu_time_is_that_of_all_live_threads_plus_the_dead_ones_once() {
    let processes = assemble(&[task(5, 5, TaskFlags::LEADER), task(6, 5, 0), task(7, 5, 0)], &[]);
    assert_eq!((processes[0].cpu_ns, processes[0].threads), (130, 3));
}

#[test]
fn a_table_that_threads_share_counts_once_and_an_unshared_one_too() {
    let with_table = |tid, files, fds, own| TaskRecord {
        files,
        fds,
        ..task(
            tid,
            5,
            if tid == 5 { TaskFlags::LEADER } else { 0 } | if own { TaskFlags::OWN_TABLE } else { 0 },
        )
    };
    let shared = assemble(&[with_table(5, 0xa, 7, true), with_table(6, 0xa, 0, false)], &[]);
    assert_eq!(shared[0].open_fds, 7);
    let unshared = assemble(&[with_table(5, 0xa, 7, true), with_table(6, 0xb, 4, true)], &[]);
    assert_eq!(unshared[0].open_fds, 11);
    let leader_gone = assemble(
        &[
            with_table(5, 0, 0, false),
            with_table(6, 0xa, 7, true),
            with_table(7, 0xa, 7, true),
        ],
        &[],
    );
    assert_eq!(leader_gone[0].open_fds, 7);
}

#[test]
fn a_socket_under_several_numbers_is_one_connection() {
    let socket = |sock| SocketRecord {
        tgid: 5,
        sock,
        ..SocketRecord::default()
    };
    let processes = assemble(&[task(5, 5, TaskFlags::LEADER)], &[socket(1), socket(2), socket(1)]);
    assert_eq!(processes[0].connections, 2);
}

#[test]
fn a_socket_whose_process_is_gone_makes_no_process() {
    let orphan = SocketRecord {
        tgid: 9,
        sock: 1,
        ..SocketRecord::default()
    };
    assert_eq!(assemble(&[task(5, 5, TaskFlags::LEADER)], &[orphan]).len(), 1);
}

#[test]
fn a_leader_that_has_exited_is_no_zombie_while_a_thread_lives() {
    let leader = task(5, 5, TaskFlags::LEADER | TaskFlags::ZOMBIE);
    assert!(!assemble(&[leader, task(6, 5, 0)], &[])[0].zombie);
    assert!(assemble(&[leader], &[])[0].zombie);
}

#[test]
fn memory_is_in_bytes_and_a_negative_count_is_zero() {
    let record = TaskRecord {
        rss_pages: [3, 2, -1, 1],
        virtual_pages: 10,
        peak_rss_pages: 4,
        ..task(5, 5, TaskFlags::LEADER | TaskFlags::MEMORY_READ)
    };
    let process = &assemble(&[record], &[])[0];
    let memory = process.memory.unwrap();
    assert_eq!(
        (
            memory.file_bytes,
            memory.anon_bytes,
            memory.swap_bytes,
            memory.shmem_bytes
        ),
        (12288, 8192, 0, 4096)
    );
    assert_eq!(memory.counted_bytes(), 12288);
    assert_eq!(
        process.peak_rss_bytes,
        Some(24576),
        "not less than what is resident now"
    );
}

#[test]
fn pages_that_threads_have_yet_to_add_are_added() {
    let with = |tid, flags, rss_pages, rss_cached| TaskRecord {
        mm: 0xa,
        rss_pages,
        rss_cached,
        ..task(tid, 5, flags)
    };
    let leader = with(
        5,
        TaskFlags::LEADER | TaskFlags::MEMORY_READ,
        [0, 100, 0, 0],
        [0, 7, 0, 0],
    );
    let thread = with(6, 0, [0; 4], [2, -3, 0, 0]);
    let memory = assemble(&[leader, thread], &[])[0].memory.unwrap();
    assert_eq!((memory.file_bytes, memory.anon_bytes), (2 * 4096, 104 * 4096));
}

#[test]
fn a_detailed_pass_replaces_what_a_cut_walk_found() {
    let mut assembly = Assembly::default();
    let mut cut = task(
        5,
        5,
        TaskFlags::LEADER | TaskFlags::OWN_TABLE | TaskFlags::TABLE_CUT | TaskFlags::COUNTERS_READ,
    );
    cut.counters.fds_open = 4000;
    assembly.take(RecordKind::Task as u32, bytemuck::bytes_of(&cut));
    assert_eq!(assembly.cut(), [5]);
    let found = FoundInDetail {
        descriptors: (0..5000).map(|fd| (0xa, fd)).collect(),
        sockets: (0..600).map(SocketId).collect(),
    };
    assembly.complete(5, found);
    let correction = assembly.corrections()[&5];
    assert_eq!(
        (correction.fds, correction.connections),
        (5000 - 4000, 600),
        "what events missed"
    );
    let process = &assembly.finish(4096)[0];
    assert_eq!((process.open_fds, process.connections), (5000, 600));
}

#[test]
fn only_a_process_with_more_than_its_leaders_table_is_left_to_be_corrected() {
    let leader = |pid, files, fds| TaskRecord {
        files,
        fds,
        ..task(
            pid,
            pid,
            TaskFlags::LEADER | TaskFlags::OWN_TABLE | TaskFlags::COUNTERS_READ,
        )
    };
    let thread = TaskRecord {
        files: 0xb,
        fds: 4,
        ..task(6, 5, TaskFlags::OWN_TABLE)
    };
    let mut assembly = Assembly::default();
    for record in [leader(5, 0xa, 3), thread, leader(9, 0xc, 8)] {
        assembly.take(RecordKind::Task as u32, bytemuck::bytes_of(&record));
    }
    let corrections = assembly.corrections();
    assert_eq!(corrections.keys().collect::<Vec<_>>(), [&5]);
    assert_eq!(corrections[&5].fds, 3 + 4, "events had counted none");
}
