//! Tools that are MCP servers on standard streams: the proxy between one and its client.
//!
//! Threads pass bytes on as they come, one for each direction; a scanner tells which messages they are. What is asked of the
//! agent, and what it says, goes by a thread of its own: the conversation never waits for it.

mod answers;
mod calls;
mod gate;
mod link;
mod passing;
mod proxy;
mod scan;
mod server;
mod shared;
mod signals;
mod streams;

pub use proxy::Proxy;
pub use server::Announced;
