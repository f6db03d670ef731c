//! What this host offers, found out by looking and trying, and for a person what follows from what is missing.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use aya::{
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};

use super::{
    lsm, mounts,
    plan::{AttachPlan, HookKind, LSM_HOOKS},
};
use crate::model::MissingHook;

/// What the programs and the plan need to know of a host.
#[derive(Clone, Debug, Default)]
pub struct HostFacts {
    /// Release of the kernel, as `uname -r` says it.
    pub kernel: String,
    /// Machine architecture.
    pub architecture: String,
    /// Whether the caller is root.
    pub privileged: bool,
    /// Where the kernel's type information is read.
    pub btf_path: PathBuf,
    /// Names of system call tracepoints.
    pub syscall_tracepoints: HashSet<String>,
    /// Where cgroup v2 is mounted.
    pub cgroup2: Option<PathBuf>,
    /// Controllers of cgroup v2 at its root.
    pub controllers: Vec<String>,
    /// The security modules that the kernel asks; `None` where that cannot be seen.
    pub security_modules: Option<Vec<String>>,
    /// Bytes of a page.
    pub page_bytes: u64,
    /// Possible CPUs.
    pub cpus: u32,
    /// What programs may use.
    pub programs: ProgramFacts,
}

/// What this kernel lets programs use that the oldest does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgramFacts {
    /// Whether they may ask for the running task by a typed pointer.
    pub typed_current: bool,
    /// Whether they may ask for a task's registers.
    pub typed_registers: bool,
    /// Whether they may use atomic operations that fetch.
    pub fetching_atomics: bool,
}

impl HostFacts {
    /// Looks at the host; tracefs must be mounted for the tracepoints to be seen. `btf` names another file with type
    /// information, for kernels that lack their own.
    pub fn look(btf: Option<&Path>) -> Self {
        let uname = rustix::system::uname();
        let cgroup2 = mounts::mounted("cgroup2").into_iter().next();
        let controllers = cgroup2
            .as_ref()
            .and_then(|root| fs::read_to_string(root.join("cgroup.controllers")).ok());
        Self {
            kernel: uname.release().to_string_lossy().into_owned(),
            architecture: uname.machine().to_string_lossy().into_owned(),
            privileged: rustix::process::geteuid().is_root(),
            btf_path: btf.unwrap_or(Path::new("/sys/kernel/btf/vmlinux")).to_owned(),
            syscall_tracepoints: mounts::tracefs().map(syscall_tracepoints).unwrap_or_default(),
            cgroup2,
            controllers: controllers
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            security_modules: lsm::modules(),
            page_bytes: rustix::param::page_size() as u64,
            cpus: possible_cpus(&fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default()),
            programs: ProgramFacts::look(),
        }
    }
}

impl ProgramFacts {
    /// Of a program and its variant for kernels without atomic operations that fetch, the one for this kernel.
    pub(super) fn variant(self, program: &'static str, locked: &'static str) -> &'static str {
        if self.fetching_atomics { program } else { locked }
    }

    /// Whether all hooks can be pinned: links of perf events came with the helper.
    pub(super) fn pins_all(self) -> bool {
        self.typed_registers
    }

    fn look() -> Self {
        Self {
            typed_current: has_helper(BpfHelper::BPF_FUNC_get_current_task_btf),
            typed_registers: has_helper(BpfHelper::BPF_FUNC_task_pt_regs),
            // A helper of the release after the one that brought them: none tells of instructions.
            fetching_atomics: has_helper(BpfHelper::BPF_FUNC_for_each_map_elem),
        }
    }
}

fn has_helper(helper: BpfHelper) -> bool {
    is_helper_supported(ProgramType::TracePoint, helper).unwrap_or(false)
}

fn syscall_tracepoints(tracefs: &Path) -> HashSet<String> {
    let entries = fs::read_dir(tracefs.join("events/syscalls"))
        .into_iter()
        .flatten()
        .flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// The number of possible CPUs from a list like `0-3,5`: one more than the highest.
fn possible_cpus(list: &str) -> u32 {
    let numbers = list.trim().split([',', '-']).filter_map(|n| n.parse::<u32>().ok());
    numbers.max().map_or(1, |highest| highest + 1)
}

/// How a finding bears on resmgr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There, and used.
    Ok,
    /// Missing; something works less well.
    Degraded,
    /// Missing; resmgr does not run without it.
    Fatal,
}

/// One thing that a host offers or lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// How it bears on resmgr.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What follows, where something is missing.
    pub consequence: Option<String>,
}

impl Finding {
    fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self {
            what,
            verdict: Verdict::Ok,
            found: found.into(),
            consequence: None,
        }
    }

    fn lacking(what: &'static str, verdict: Verdict, found: impl Into<String>, consequence: impl Into<String>) -> Self {
        Self {
            what,
            verdict,
            found: found.into(),
            consequence: Some(consequence.into()),
        }
    }
}

/// Everything that this host offers or lacks. `loaded` says whether the programs load and attach here, where that could
/// be tried; `trampolines` whether the kernel allows them; `raises_hard_limits` whether the caller may.
pub fn doctor(
    facts: &HostFacts,
    loaded: Option<&Result<crate::model::Capabilities, super::KernelError>>,
    trampolines: Option<&Result<(), super::KernelError>>,
    raises_hard_limits: bool,
) -> Vec<Finding> {
    let mut findings = vec![
        kernel(facts),
        privilege(facts),
        btf(facts),
        file_system("tracefs", !mounts::mounted("tracefs").is_empty()),
        file_system(
            "bpf file system",
            mounts::mounted("bpf").iter().any(|at| at == Path::new(mounts::BPFFS)),
        ),
        syscalls(facts),
        cgroup(facts),
        controllers(facts),
        pressure(),
    ];
    findings.extend(loaded.map(programs));
    findings.extend(trampolines.map(trampoline));
    findings.extend(
        loaded
            .and_then(|loaded| loaded.as_ref().ok())
            .map(|loaded| descriptors(loaded, raises_hard_limits)),
    );
    findings
}

fn kernel(facts: &HostFacts) -> Finding {
    let found = format!("{} on {}", facts.kernel, facts.architecture);
    let mut numbers = facts.kernel.split(['.', '-']).map_while(|n| n.parse::<u32>().ok());
    if (numbers.next(), numbers.next()) >= (Some(5), Some(10)) {
        return Finding::ok("kernel", found);
    }
    Finding::lacking("kernel", Verdict::Fatal, found, "resmgr needs Linux 5.10 or later")
}

fn privilege(facts: &HostFacts) -> Finding {
    if facts.privileged {
        return Finding::ok("privilege", "root");
    }
    let consequence = "the agent needs root; without it doctor cannot try the BPF programs: run it with sudo";
    Finding::lacking("privilege", Verdict::Degraded, "not root", consequence)
}

fn btf(facts: &HostFacts) -> Finding {
    let path = facts.btf_path.display();
    match fs::metadata(&facts.btf_path) {
        Ok(file) => Finding::ok("BTF", format!("{path}, {} KiB", file.len() / 1024)),
        Err(error) => {
            let consequence = "the programs cannot find the kernel's fields: use a kernel with CONFIG_DEBUG_INFO_BTF=y";
            Finding::lacking("BTF", Verdict::Fatal, format!("{path}: {error}"), consequence)
        }
    }
}

fn file_system(what: &'static str, mounted: bool) -> Finding {
    let found = if mounted {
        "mounted"
    } else {
        "not mounted: the agent mounts it"
    };
    Finding::ok(what, found)
}

fn syscalls(facts: &HostFacts) -> Finding {
    let what = "system call tracepoints";
    if !facts.privileged && facts.syscall_tracepoints.is_empty() {
        return Finding::lacking(
            what,
            Verdict::Degraded,
            "cannot be seen without root",
            "run doctor with sudo",
        );
    }
    if mounts::tracefs().is_none() {
        return Finding::ok(what, "seen once tracefs is mounted");
    }
    let plan = AttachPlan::for_host(facts);
    if let Some(missing) = plan.missing.iter().find(|missing| missing.hook == "syscalls:*") {
        return Finding::lacking(what, Verdict::Degraded, &missing.reason, &missing.consequence);
    }
    let used = plan.hooks.iter().filter(|hook| hook.kind == HookKind::Syscall).count();
    let absent: Vec<&str> = plan
        .absent_calls
        .iter()
        .filter_map(|name| name.split('_').next_back())
        .collect();
    Finding::ok(
        what,
        if absent.is_empty() {
            format!("{used} used")
        } else {
            format!(
                "{used} used; this kernel has no call {}, so nothing is missed",
                absent.join(", ")
            )
        },
    )
}

fn cgroup(facts: &HostFacts) -> Finding {
    match &facts.cgroup2 {
        Some(root) => Finding::ok("cgroup v2", root.display().to_string()),
        None => Finding::lacking(
            "cgroup v2",
            Verdict::Degraded,
            "not mounted",
            "between sweeps a closed connection is still counted; limits will fall back to rlimits and signals",
        ),
    }
}

fn controllers(facts: &HostFacts) -> Finding {
    let what = "cgroup v2 controllers";
    let missing: Vec<&str> = ["cpu", "memory", "pids"]
        .into_iter()
        .filter(|name| !facts.controllers.iter().any(|there| there == name))
        .collect();
    if missing.is_empty() {
        return Finding::ok(what, facts.controllers.join(" "));
    }
    Finding::lacking(
        what,
        Verdict::Degraded,
        format!("no {}", missing.join(", no ")),
        "other means stand in for them, as below; tasks are not limited",
    )
}

fn pressure() -> Finding {
    if Path::new("/proc/pressure/memory").exists() {
        return Finding::ok("pressure stall information", "/proc/pressure");
    }
    Finding::lacking(
        "pressure stall information",
        Verdict::Degraded,
        "/proc/pressure is not there",
        "memory pressure cannot hold back the tightening of limits: boot with psi=1",
    )
}

fn programs(loaded: &Result<crate::model::Capabilities, super::KernelError>) -> Finding {
    match loaded {
        Ok(capabilities) if capabilities.hooks_missing.is_empty() => Finding::ok(
            "BPF programs",
            format!("load; {} hooks attached for a moment", capabilities.hooks_attached),
        ),
        Ok(capabilities) => {
            let missing = &capabilities.hooks_missing;
            let names: Vec<&str> = missing.iter().map(|hook| hook.hook.as_str()).collect();
            let consequences: Vec<&str> = missing.iter().map(|hook| hook.consequence.as_str()).collect();
            let found = format!(
                "load; {} hooks attached, not {}",
                capabilities.hooks_attached,
                names.join(", ")
            );
            Finding::lacking("BPF programs", Verdict::Degraded, found, consequences.join("; "))
        }
        Err(error) => Finding::lacking(
            "BPF programs",
            Verdict::Fatal,
            error.to_string(),
            "the agent does not start",
        ),
    }
}

/// What refuses descriptors here, as the programs found out.
fn descriptors(capabilities: &crate::model::Capabilities, raises_hard_limits: bool) -> Finding {
    let what = "BPF LSM";
    if capabilities.refuses_descriptors {
        return Finding::ok(what, "on a tool's total, by BPF LSM");
    }
    let of_lsm = |hook: &&MissingHook| hook.hook.starts_with(LSM_HOOKS);
    let missing = capabilities.hooks_missing.iter().find(of_lsm);
    Finding::lacking(
        what,
        Verdict::Degraded,
        missing.map_or_else(|| "not on a tool's total".to_owned(), |missing| missing.reason.clone()),
        format!(
            "{}{}",
            missing.map_or("", |missing| missing.consequence.as_str()),
            if raises_hard_limits {
                ""
            } else {
                "; without CAP_SYS_RESOURCE only the soft limit, which a program may raise again"
            }
        ),
    )
}

fn trampoline(tried: &Result<(), super::KernelError>) -> Finding {
    match tried {
        Ok(()) => Finding::ok("BPF trampolines", "allowed (fentry, LSM)"),
        Err(error) => Finding::lacking(
            "BPF trampolines",
            Verdict::Degraded,
            match error {
                super::KernelError::Verifier { source, .. } => format!("refused by this kernel ({source})"),
                error => error.to_string(),
            },
            "BPF LSM is refused with them: see descriptor limits",
        ),
    }
}

#[cfg(test)]
mod tests {
    //! What text from the kernel means.
    use super::*;

    #[test]
    fn possible_cpus_are_counted_to_the_highest() {
        assert_eq!(possible_cpus("0-1\n"), 2);
        assert_eq!(possible_cpus("0-3,8"), 9);
        assert_eq!(possible_cpus("0"), 1);
        assert_eq!(possible_cpus(""), 1);
    }

    #[test]
    fn a_kernel_before_5_10_is_refused_by_doctor() {
        let at = |kernel: &str| kernel_verdict(kernel);
        assert_eq!(at("5.9.16-generic"), Verdict::Fatal);
        assert_eq!(at("5.10.0-30-amd64"), Verdict::Ok);
        assert_eq!(at("6.1.0"), Verdict::Ok);
    }

    fn kernel_verdict(release: &str) -> Verdict {
        kernel(&HostFacts {
            kernel: release.to_owned(),
            ..HostFacts::default()
        })
        .verdict
    }
}
