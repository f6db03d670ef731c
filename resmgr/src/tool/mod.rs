//! Tools as programs run them.

pub mod mcp;
