//! The kernel: what it offers (`probe`), where it keeps things (`btf`, `layout`), what to attach (`plan`), and the
//! programs at work (`load`, `events`, `sweep`). The only module that names aya.

mod adoption;
mod attach;
mod btf;
mod counters;
mod error;
mod events;
mod files;
mod heap;
mod inspect;
mod layout;
mod load;
mod lsm;
mod mounts;
mod object;
mod peer;
mod pins;
mod plan;
mod probe;
mod readable;
mod records;
mod schedule;
mod source;
mod spawn;
mod statistics;
mod sweep;
mod tools;
mod tracked;
mod wire;

pub use error::KernelError;
pub use inspect::{process_clock_ns, share_descriptors};
pub use load::{Kernel, LoadOptions};
pub use mounts::Mounts;
pub use object::BpfObject;
pub use peer::peer_groups;
pub use plan::{AttachPlan, Hook, HookKind};
pub use probe::{Finding, HostFacts, Verdict, doctor};
pub use readable::Readable;
pub use schedule::Scheduler;
pub use spawn::{Refusals, register_at_start};
