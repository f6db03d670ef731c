//! The agent's numbers against the kernel's own files: `truth` reads `/proc`, `compare` judges, `report` is what came of
//! it. Asks nobody, reads no clock, and decides nothing else.

mod compare;
mod quantity;
mod report;
mod sockets;
mod truth;

pub use compare::{Look, Round, Shown, Subject};
pub use quantity::Quantity;
pub use report::{Audit, Beyond, Compared, Guarded};
pub use truth::{Inspect, Reader, Truth, Truths};
