//! Knows what every process on a Linux host uses, from the kernel itself.
//!
//! BPF programs count events as they happen ([`kernel`]); sweeps read the truth of every process at each tick;
//! [`track`] puts both together; [`engine`] drives both; [`agent`] runs it as a daemon that is asked through a socket
//! ([`protocol`]). Where each thing lives and what it must not do: see ARCHITECTURE.md.

pub mod adapt;
pub mod agent;
pub mod alert;
pub mod audit;
pub mod cli;
pub mod config;
pub mod enforce;
pub mod engine;
pub mod export;
pub mod history;
pub mod kernel;
pub mod manager;
pub mod model;
pub mod pattern;
pub mod protocol;
pub mod tool;
pub mod track;
