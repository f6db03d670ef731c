//! Refusing descriptors by LSM: whether this kernel asks BPF programs, and what each call does. Attaches nothing.

use std::{ffi::c_long, fs, io::Read as _};

use aya::programs::ProgramError;
use resmgr_common::{CALL_NUMBERS, CallEffect, Calls};
use rustix::{
    fs::{Mode, OFlags, openat},
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen},
};

use super::{
    KernelError,
    attach::{chain, refused},
    plan::{AttachPlan, Hook, HookKind},
};

/// Where the kernel names the security modules that it asks, as far as securityfs is mounted.
const LIST: &str = "/sys/kernel/security/lsm";

/// The security modules that this kernel asks, `None` where that cannot be seen.
pub(super) fn modules() -> Option<Vec<String>> {
    let list = fs::read_to_string(LIST).ok().or_else(unmounted)?;
    Some(list.trim().split(',').map(str::to_owned).collect())
}

/// The list by a mount that is nowhere, and gone with its descriptor.
fn unmounted() -> Option<String> {
    let context = fsopen("securityfs", FsOpenFlags::FSOPEN_CLOEXEC).ok()?;
    fsconfig_create(&context).ok()?;
    let mount = fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
    )
    .ok()?;
    let list = openat(&mount, "lsm", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = String::new();
    fs::File::from(list).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The calls that hooks are asked about and whose exits tell what came of them.
const SETTLED: &[(&str, c_long)] = &[
    #[cfg(target_arch = "x86_64")]
    ("sys_exit_open", libc::SYS_open),
    #[cfg(target_arch = "x86_64")]
    ("sys_exit_creat", libc::SYS_creat),
    ("sys_exit_openat", libc::SYS_openat),
    ("sys_exit_openat2", libc::SYS_openat2),
    ("sys_exit_open_by_handle_at", libc::SYS_open_by_handle_at),
    ("sys_exit_mq_open", libc::SYS_mq_open),
    ("sys_exit_socket", libc::SYS_socket),
    ("sys_exit_socketpair", libc::SYS_socketpair),
    ("sys_exit_accept", libc::SYS_accept),
    ("sys_exit_accept4", libc::SYS_accept4),
    ("sys_exit_fcntl", libc::SYS_fcntl),
    ("sys_exit_pidfd_getfd", libc::SYS_pidfd_getfd),
];

/// The calls whose descriptors stay once hooks have let them: nothing watches their exits.
const HAD: [c_long; 2] = [libc::SYS_recvmsg, libc::SYS_recvmmsg];

/// What each call does to descriptors, by the exits that a plan watches.
pub(super) fn calls(plan: &AttachPlan) -> Calls {
    let mut calls = [CallEffect::Unseen as u8; CALL_NUMBERS];
    let mut set = |number: c_long, effect: CallEffect| {
        if let Some(call) = usize::try_from(number).ok().and_then(|number| calls.get_mut(number)) {
            *call = effect as u8;
        }
    };
    for &(exit, number) in SETTLED {
        let is_exit = |hook: &Hook| hook.kind == HookKind::Syscall && hook.name == exit;
        if plan.hooks.iter().any(is_exit) {
            let is_pair = number == libc::SYS_socketpair;
            set(number, if is_pair { CallEffect::Pair } else { CallEffect::Settled });
        }
    }
    for number in HAD {
        set(number, CallEffect::Had);
    }
    set(libc::SYS_close_range, CallEffect::Closes);
    calls
}

/// Why the kernel does not ask a program, in words; an error where it should have.
pub(super) fn refusal(program: &str, error: ProgramError) -> Result<String, KernelError> {
    match error {
        ProgramError::LoadError { io_error, .. } if io_error.raw_os_error() == Some(libc::EPERM) => {
            Ok(format!("this kernel refuses BPF trampolines ({io_error})"))
        }
        error @ ProgramError::LoadError { .. } => Err(refused(program, error)),
        error => Ok(chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    //! What calls do, by the numbers of x86-64's table of system calls.
    use super::*;
    use crate::kernel::HostFacts;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn only_a_call_whose_exit_is_watched_is_settled() {
        let facts = HostFacts {
            syscall_tracepoints: ["sys_exit_openat", "sys_exit_fcntl"].map(str::to_owned).into(),
            ..HostFacts::default()
        };
        let calls = calls(&AttachPlan::for_host(&facts));
        let of = |effect| {
            let with = calls.iter().enumerate().filter(|(_, call)| **call == effect as u8);
            with.map(|(number, _)| number).collect::<Vec<usize>>()
        };
        assert_eq!(of(CallEffect::Settled), [72, 257]);
        assert_eq!(of(CallEffect::Had), [47, 299]);
        assert_eq!(of(CallEffect::Closes), [436]);
    }
}
