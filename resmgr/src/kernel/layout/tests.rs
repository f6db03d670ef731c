//! The layout of the kernel that runs, where it has types to read.

use super::*;

#[test]
fn the_running_kernels_fields_are_found_and_differ() {
    let blob = std::fs::read("/sys/kernel/btf/vmlinux").expect("this machine's kernel has BTF");
    let layout = find(&Types::parse(&blob).unwrap(), &HostFacts::default()).unwrap();
    let task = [
        layout.task_pid,
        layout.task_tgid,
        layout.task_flags,
        layout.task_state,
        layout.task_files,
        layout.task_mm,
        layout.task_comm,
        layout.task_signal,
    ];
    let distinct: std::collections::HashSet<u32> = task.into_iter().collect();
    assert_eq!(distinct.len(), task.len());
    assert_eq!(
        layout.task_tgid,
        layout.task_pid + 4,
        "the kernel keeps the two side by side"
    );
}

#[test]
fn a_missing_struct_is_named() {
    let empty = {
        let mut blob = vec![0x9f, 0xeb, 1, 0];
        for word in [24u32, 0, 0, 0, 1] {
            blob.extend_from_slice(&word.to_ne_bytes());
        }
        blob.push(0);
        blob
    };
    let types = Types::parse(&empty).unwrap();
    assert_eq!(
        find(&types, &HostFacts::default()).unwrap_err(),
        LayoutError::NoStruct("task_struct")
    );
}
