//! What was: samples of what tools used, and what minutes and hours of them come to, kept in an embedded store. Reads no
//! clock; knows nothing of what is learned but its bytes.

mod chunk;
mod recorder;
mod spread;
mod store;
mod writing;

pub use chunk::DecodeError;
pub use recorder::{Batch, Recorder};
pub use store::{Store, StoreError};
pub use writing::Writing;
