//! The agent's numbers against the kernel's own files: `truth` reads `/proc`, `compare` judges. Asks nobody, decides
//! nothing else.

mod compare;
mod truth;

pub use compare::{Audit, Beyond, Compared, Quantity, Shown, compare};
pub use truth::{Inspect, Reader, Truth};
