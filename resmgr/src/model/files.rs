//! Open descriptors in detail: their kind, and for connections state and peer.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// What a descriptor refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Character or block device, a terminal for instance.
    Device,
    /// Pipe or FIFO.
    Pipe,
    /// Socket of any family.
    Socket,
    /// Anonymous memory file (`memfd_create`).
    Memfd,
    /// `eventfd`.
    Eventfd,
    /// `epoll`.
    Epoll,
    /// `timerfd`.
    Timerfd,
    /// `signalfd`.
    Signalfd,
    /// `inotify`.
    Inotify,
    /// `fanotify`.
    Fanotify,
    /// `userfaultfd`.
    Userfaultfd,
    /// Process (`pidfd_open`).
    Pidfd,
    /// Performance event.
    PerfEvent,
    /// BPF map, program, link or iterator.
    Bpf,
    /// `io_uring`.
    IoUring,
    /// Any other kind that has no name in a file system.
    Anonymous,
    /// Anything else.
    Other,
}

/// Transport protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// Multipath TCP.
    Mptcp,
    /// UDP.
    Udp,
}

/// State of a connection, by the names of TCP; a connected UDP socket is established.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SocketState {
    /// Open in both directions.
    Established,
    /// A connect is under way.
    SynSent,
    /// An accept's handshake is under way.
    SynRecv,
    /// Closed by us, not yet acknowledged.
    FinWait1,
    /// Closed by us, acknowledged.
    FinWait2,
    /// Waits for stray packets to expire.
    TimeWait,
    /// Not connected.
    Close,
    /// Closed by the peer, not by us.
    CloseWait,
    /// Closed by both, our last acknowledgement outstanding.
    LastAck,
    /// Accepts connections.
    Listen,
    /// Closed by both at once.
    Closing,
}

impl SocketState {
    /// The state with a number of `enum tcp_state`, 1 to 11.
    pub fn from_number(number: u8) -> Option<Self> {
        const STATES: [SocketState; 11] = [
            SocketState::Established,
            SocketState::SynSent,
            SocketState::SynRecv,
            SocketState::FinWait1,
            SocketState::FinWait2,
            SocketState::TimeWait,
            SocketState::Close,
            SocketState::CloseWait,
            SocketState::LastAck,
            SocketState::Listen,
            SocketState::Closing,
        ];
        STATES.get(usize::from(number).checked_sub(1)?).copied()
    }
}

/// A connected socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Connection {
    /// Inode number of the socket, as `ss -e` and `/proc/PID/fd` show it.
    pub inode: u32,
    /// Transport protocol.
    pub protocol: Protocol,
    /// State.
    pub state: SocketState,
    /// Own address.
    pub local: SocketAddr,
    /// Peer's address.
    pub remote: SocketAddr,
}

impl Connection {
    /// Whether it counts: TCP that neither listens nor is closed, UDP that is connected.
    pub fn counts(&self) -> bool {
        match self.protocol {
            Protocol::Udp => self.state == SocketState::Established,
            Protocol::Tcp | Protocol::Mptcp => !matches!(self.state, SocketState::Listen | SocketState::Close),
        }
    }
}

/// One open descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSample {
    /// The process.
    pub id: super::ProcessId,
    /// The table that it is in.
    pub table: super::TableId,
    /// Descriptor number.
    pub fd: u32,
    /// Kind.
    pub kind: FileKind,
    /// The connection, where the descriptor refers to one that counts.
    pub connection: Option<Connection>,
    /// Identity of the connection's socket.
    pub socket: Option<super::SocketId>,
}
