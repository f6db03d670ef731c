//! Where the running kernel keeps what the programs read: user space fills it in from BTF before loading.

use crate::wire;

/// Kinds of resident memory that the kernel counts, in its order: file, anonymous, swap entries, shared memory.
pub const RSS_KINDS: usize = 4;

/// How `mm_struct.rss_stat` is kept.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RssShape {
    /// An array of `atomic_long_t` (before Linux 6.2).
    Atomics = 0,
    /// An array of `percpu_counter` (since Linux 6.2).
    PerCpu = 1,
}

macro_rules! layout {
    ($($(#[doc = $doc:literal])+ $field:ident,)+) => {
        /// Byte offsets of kernel struct fields, a global of the programs named [`crate::names::LAYOUT`].
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
        pub struct Layout {
            $($(#[doc = $doc])+ pub $field: u32,)+
        }

        impl Layout {
            /// Every field zero: the value in the object before user space overrides it.
            pub const ZERO: Self = Self { $($field: 0,)+ };
        }
    };
}

layout! {
    /// `task_struct.pid`
    task_pid,
    /// `task_struct.tgid`
    task_tgid,
    /// `task_struct.flags`
    task_flags,
    /// `task_struct.__state`, or `state` before Linux 5.14
    task_state,
    /// `task_struct.exit_state`
    task_exit_state,
    /// `task_struct.exit_code`
    task_exit_code,
    /// `task_struct.group_leader`
    task_group_leader,
    /// `task_struct.real_parent`
    task_real_parent,
    /// `task_struct.start_boottime`
    task_start_boottime,
    /// `task_struct.se.sum_exec_runtime`
    task_sum_exec_runtime,
    /// `task_struct.se.prev_sum_exec_runtime`
    task_prev_sum_exec_runtime,
    /// `task_struct.prio`
    task_prio,
    /// `task_struct.se.exec_start`
    task_exec_start,
    /// `task_struct.signal`
    task_signal,
    /// `task_struct.files`
    task_files,
    /// `task_struct.mm`
    task_mm,
    /// `task_struct.real_cred`
    task_real_cred,
    /// `task_struct.comm`
    task_comm,
    /// `task_struct.rss_stat.count`: pages that a thread has not yet added to its address space's (0 since Linux 6.2)
    task_rss_cached,
    /// `task_struct.cgroups` (0 where the kernel has no control groups)
    task_cgroups,
    /// `css_set.dfl_cgrp`
    css_set_default,
    /// `cgroup.kn`
    cgroup_node,
    /// `kernfs_node.id`
    kernfs_node_id,
    /// `signal_struct.sum_sched_runtime`
    signal_sum_sched_runtime,
    /// `signal_struct.group_exit_code`
    signal_group_exit_code,
    /// `signal_struct.live`
    signal_live,
    /// `signal_struct.nr_threads`
    signal_nr_threads,
    /// `signal_struct.maxrss`
    signal_maxrss,
    /// `cred.uid`
    cred_uid,
    /// `cred.euid`
    cred_euid,
    /// `files_struct.fdt`
    files_fdt,
    /// `fdtable.max_fds`
    fdtable_max_fds,
    /// `fdtable.fd`
    fdtable_fd,
    /// `fdtable.open_fds`
    fdtable_open_fds,
    /// `file.f_op`
    file_f_op,
    /// `file.private_data`
    file_private_data,
    /// `file.f_flags`
    file_f_flags,
    /// `file.f_mode`
    file_f_mode,
    /// `file.f_inode`
    file_f_inode,
    /// `file.f_path.dentry`
    file_dentry,
    /// `inode.i_mode`
    inode_i_mode,
    /// `inode.i_ino`
    inode_i_ino,
    /// `inode.i_sb`
    inode_i_sb,
    /// `super_block.s_magic`
    super_block_s_magic,
    /// `dentry.d_name.name`
    dentry_name,
    /// `mm_struct.total_vm`
    mm_total_vm,
    /// `mm_struct.hiwater_rss`
    mm_hiwater_rss,
    /// `mm_struct.arg_start`
    mm_arg_start,
    /// `mm_struct.arg_end`
    mm_arg_end,
    /// `linux_binprm.filename`
    binprm_filename,
    /// `mm_struct.rss_stat`
    mm_rss_stat,
    /// An [`RssShape`].
    rss_shape,
    /// Size of one element of `rss_stat`
    rss_stride,
    /// `percpu_counter.count` (0 where the shape is [`RssShape::Atomics`])
    percpu_counter_count,
    /// `percpu_counter.counters` (0 where the shape is [`RssShape::Atomics`])
    percpu_counter_counters,
    /// `bpf_array.pptrs`
    bpf_array_pptrs,
    /// `socket.sk`
    socket_sk,
    /// `sock.__sk_common.skc_family`
    sock_family,
    /// `sock.__sk_common.skc_state`
    sock_state,
    /// `sock.sk_protocol`
    sock_protocol,
    /// `sock.sk_type`
    sock_type,
    /// `sock.__sk_common.skc_num`: local port, in the host's byte order
    sock_num,
    /// `sock.__sk_common.skc_dport`: remote port, in network byte order
    sock_dport,
    /// `sock.__sk_common.skc_daddr`
    sock_daddr,
    /// `sock.__sk_common.skc_rcv_saddr`
    sock_rcv_saddr,
    /// `sock.__sk_common.skc_v6_daddr` (0 where the kernel has no IPv6)
    sock_v6_daddr,
    /// `sock.__sk_common.skc_v6_rcv_saddr` (0 where the kernel has no IPv6)
    sock_v6_rcv_saddr,
    /// `sock.sk_socket`
    sock_socket,
    /// `socket.file`
    socket_file,
    /// `task_struct.stack`
    task_stack,
    /// Size of `pt_regs`
    registers_len,
    /// The register that a call's first argument came in: `pt_regs.di`, or `orig_x0`
    registers_argument,
    /// The register that a call's number came in: `pt_regs.orig_ax`, or `syscallno`
    registers_call,
    /// The number of connect
    call_connect,
    /// 1 where `bpf_task_pt_regs` is there (since Linux 5.15), else 0
    typed_registers,
    /// 1 where `bpf_get_current_task_btf` is there (since Linux 5.11), else 0
    typed_current,
    /// Bytes of a page, as a power of two
    page_shift,
    /// Possible CPUs
    cpus,
}
wire!(Layout, 78 * 4);
