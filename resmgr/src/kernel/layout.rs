//! Finds the offsets that the programs need in the kernel's BTF. Pure: types in, numbers out.

use resmgr_common::{Layout, RssShape};

use super::{HostFacts, btf::Types};

/// A struct of the kernel lacks what the programs read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The kernel has no such struct.
    #[error("it has no struct {0}")]
    NoStruct(&'static str),
    /// The struct has no such field.
    #[error("its struct {structure} has no field {field}")]
    NoField {
        /// The struct.
        structure: &'static str,
        /// The field.
        field: &'static str,
    },
    /// Fields that are read together lie apart.
    #[error("in its struct sock, {0} lie apart")]
    Apart(&'static str),
}

/// A struct to find fields in.
struct Struct<'t, 'a> {
    types: &'t Types<'a>,
    name: &'static str,
    id: u32,
}

impl<'t, 'a> Struct<'t, 'a> {
    fn find(types: &'t Types<'a>, name: &'static str) -> Result<Self, LayoutError> {
        let id = types.structure(name).ok_or(LayoutError::NoStruct(name))?;
        Ok(Self { types, name, id })
    }

    fn offset(&self, field: &'static str) -> Result<u32, LayoutError> {
        self.optional(field).ok_or(LayoutError::NoField {
            structure: self.name,
            field,
        })
    }

    fn optional(&self, field: &str) -> Option<u32> {
        self.types.member(self.id, field).map(|member| member.offset)
    }
}

/// Where the kernel of these types keeps what the programs read.
pub(super) fn find(types: &Types<'_>, facts: &HostFacts) -> Result<Layout, LayoutError> {
    let task = Struct::find(types, "task_struct")?;
    let signal = Struct::find(types, "signal_struct")?;
    let cred = Struct::find(types, "cred")?;
    let files = Struct::find(types, "files_struct")?;
    let fdtable = Struct::find(types, "fdtable")?;
    let file = Struct::find(types, "file")?;
    let inode = Struct::find(types, "inode")?;
    let super_block = Struct::find(types, "super_block")?;
    let dentry = Struct::find(types, "dentry")?;
    let mm = Struct::find(types, "mm_struct")?;
    let socket = Struct::find(types, "socket")?;
    let sock = Struct::find(types, "sock")?;
    let binprm = Struct::find(types, "linux_binprm")?;
    let cgroups = cgroups(types, &task)?;
    let rss = rss(types, &mm)?;
    let registers = registers(types)?;
    are_neighbours(&sock)?;
    Ok(Layout {
        task_pid: task.offset("pid")?,
        task_tgid: task.offset("tgid")?,
        task_flags: task.offset("flags")?,
        task_state: match task.optional("__state") {
            Some(offset) => offset,
            None => task.offset("state")?,
        },
        task_exit_state: task.offset("exit_state")?,
        task_exit_code: task.offset("exit_code")?,
        task_group_leader: task.offset("group_leader")?,
        task_real_parent: task.offset("real_parent")?,
        task_start_boottime: task.offset("start_boottime")?,
        task_sum_exec_runtime: task.offset("se.sum_exec_runtime")?,
        task_prev_sum_exec_runtime: task.offset("se.prev_sum_exec_runtime")?,
        task_prio: task.offset("prio")?,
        task_exec_start: task.offset("se.exec_start")?,
        task_signal: task.offset("signal")?,
        task_files: task.offset("files")?,
        task_mm: task.offset("mm")?,
        task_real_cred: task.offset("real_cred")?,
        task_comm: task.offset("comm")?,
        task_rss_cached: task.optional("rss_stat.count").unwrap_or(0),
        task_cgroups: cgroups.task,
        css_set_default: cgroups.set,
        cgroup_node: cgroups.cgroup,
        kernfs_node_id: cgroups.node,
        signal_sum_sched_runtime: signal.offset("sum_sched_runtime")?,
        signal_group_exit_code: signal.offset("group_exit_code")?,
        signal_live: signal.offset("live")?,
        signal_nr_threads: signal.offset("nr_threads")?,
        signal_maxrss: signal.offset("maxrss")?,
        cred_uid: cred.offset("uid")?,
        cred_euid: cred.offset("euid")?,
        files_fdt: files.offset("fdt")?,
        fdtable_max_fds: fdtable.offset("max_fds")?,
        fdtable_fd: fdtable.offset("fd")?,
        fdtable_open_fds: fdtable.offset("open_fds")?,
        file_f_op: file.offset("f_op")?,
        file_private_data: file.offset("private_data")?,
        file_f_flags: file.offset("f_flags")?,
        file_f_mode: file.offset("f_mode")?,
        file_f_inode: file.offset("f_inode")?,
        file_dentry: file.offset("f_path.dentry")?,
        inode_i_mode: inode.offset("i_mode")?,
        inode_i_ino: inode.offset("i_ino")?,
        inode_i_sb: inode.offset("i_sb")?,
        super_block_s_magic: super_block.offset("s_magic")?,
        dentry_name: dentry.offset("d_name.name")?,
        mm_total_vm: mm.offset("total_vm")?,
        mm_hiwater_rss: mm.offset("hiwater_rss")?,
        mm_arg_start: mm.offset("arg_start")?,
        mm_arg_end: mm.offset("arg_end")?,
        binprm_filename: binprm.offset("filename")?,
        mm_rss_stat: rss.offset,
        rss_shape: rss.shape as u32,
        rss_stride: rss.stride,
        percpu_counter_count: rss.count,
        percpu_counter_counters: rss.counters,
        bpf_array_pptrs: Struct::find(types, "bpf_array")?.offset("pptrs")?,
        socket_sk: socket.offset("sk")?,
        sock_family: sock.offset("__sk_common.skc_family")?,
        sock_state: sock.offset("__sk_common.skc_state")?,
        sock_protocol: sock.offset("sk_protocol")?,
        sock_type: sock.offset("sk_type")?,
        sock_num: sock.offset("__sk_common.skc_num")?,
        sock_dport: sock.offset("__sk_common.skc_dport")?,
        sock_daddr: sock.offset("__sk_common.skc_daddr")?,
        sock_rcv_saddr: sock.offset("__sk_common.skc_rcv_saddr")?,
        sock_v6_daddr: sock.optional("__sk_common.skc_v6_daddr").unwrap_or(0),
        sock_v6_rcv_saddr: sock.optional("__sk_common.skc_v6_rcv_saddr").unwrap_or(0),
        sock_socket: sock.offset("sk_socket")?,
        socket_file: socket.offset("file")?,
        task_stack: task.offset("stack")?,
        registers_len: registers.len,
        registers_argument: registers.argument,
        registers_call: registers.call,
        call_connect: registers.connect,
        typed_registers: facts.programs.typed_registers.into(),
        typed_current: facts.programs.typed_current.into(),
        page_shift: facts.page_bytes.trailing_zeros(),
        cpus: facts.cpus,
    })
}

/// The programs read a socket's family and state together.
fn are_neighbours(sock: &Struct<'_, '_>) -> Result<(), LayoutError> {
    let (family, state) = (
        sock.offset("__sk_common.skc_family")?,
        sock.offset("__sk_common.skc_state")?,
    );
    if state == family + 2 {
        Ok(())
    } else {
        Err(LayoutError::Apart("skc_family and skc_state"))
    }
}

/// The way from a task to the identity of its cgroup; zeros where the kernel has no control groups.
#[derive(Default)]
struct Cgroups {
    task: u32,
    set: u32,
    cgroup: u32,
    node: u32,
}

fn cgroups(types: &Types<'_>, task: &Struct<'_, '_>) -> Result<Cgroups, LayoutError> {
    let Some(at) = task.optional("cgroups") else {
        return Ok(Cgroups::default());
    };
    Ok(Cgroups {
        task: at,
        set: Struct::find(types, "css_set")?.offset("dfl_cgrp")?,
        cgroup: Struct::find(types, "cgroup")?.offset("kn")?,
        node: Struct::find(types, "kernfs_node")?.offset("id")?,
    })
}

/// The registers that a task saves when it calls the kernel.
struct Registers {
    len: u32,
    argument: u32,
    call: u32,
    /// The number of connect on this architecture.
    connect: u32,
}

fn registers(types: &Types<'_>) -> Result<Registers, LayoutError> {
    let registers = Struct::find(types, "pt_regs")?;
    let len = types.size(registers.id).unwrap_or(0);
    Ok(match registers.optional("orig_ax") {
        // x86_64
        Some(call) => Registers {
            len,
            argument: registers.offset("di")?,
            call,
            connect: 42,
        },
        // aarch64
        None => Registers {
            len,
            argument: registers.offset("orig_x0")?,
            call: registers.offset("syscallno")?,
            connect: 203,
        },
    })
}

/// How resident memory is counted.
struct Rss {
    offset: u32,
    shape: RssShape,
    stride: u32,
    count: u32,
    counters: u32,
}

fn rss(types: &Types<'_>, mm: &Struct<'_, '_>) -> Result<Rss, LayoutError> {
    let missing = LayoutError::NoField {
        structure: "mm_struct",
        field: "rss_stat",
    };
    let member = types.member(mm.id, "rss_stat").ok_or(missing)?;
    if let Some(("percpu_counter", stride)) = types.array_of_structs(member.type_id) {
        let counter = Struct::find(types, "percpu_counter")?;
        return Ok(Rss {
            offset: member.offset,
            shape: RssShape::PerCpu,
            stride,
            count: counter.offset("count")?,
            counters: counter.offset("counters")?,
        });
    }
    Ok(Rss {
        offset: mm.offset("rss_stat.count")?,
        shape: RssShape::Atomics,
        stride: 8,
        count: 0,
        counters: 0,
    })
}

#[cfg(test)]
mod tests;
