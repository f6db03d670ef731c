//! The ways to make and end descriptors and connections that the churn tries, and since when kernels know them.

/// Declares the kinds with their names and the first kernel that has each.
macro_rules! kinds {
    ($($(#[$meta:meta])* $kind:ident = $name:literal since $since:expr;)*) => {
        /// A way to make or end a descriptor or a connection.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$meta])* $kind,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// What it is called in tables.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// The first kernel that has it. Those that every supported kernel has say 5.10.
            pub const fn since(self) -> (u32, u32) {
                match self {
                    $(Self::$kind => $since,)*
                }
            }
        }
    };
}

kinds! {
    /// `open`.
    Open = "open" since (5, 10);
    /// `openat`.
    Openat = "openat" since (5, 10);
    /// `openat2`.
    Openat2 = "openat2" since (5, 10);
    /// `creat`.
    Creat = "creat" since (5, 10);
    /// `dup`.
    Dup = "dup" since (5, 10);
    /// `dup2` over an open descriptor.
    Dup2Over = "dup2 over an open one" since (5, 10);
    /// `dup2` onto a free number.
    Dup2Free = "dup2 onto a free number" since (5, 10);
    /// `dup3` over an open descriptor.
    Dup3Over = "dup3 over an open one" since (5, 10);
    /// `dup3` onto a free number.
    Dup3Free = "dup3 onto a free number" since (5, 10);
    /// `fcntl(F_DUPFD)`.
    FcntlDupfd = "fcntl F_DUPFD" since (5, 10);
    /// `fcntl(F_DUPFD_CLOEXEC)`.
    FcntlDupfdCloexec = "fcntl F_DUPFD_CLOEXEC" since (5, 10);
    /// `socket`, TCP over IPv4.
    SocketTcp4 = "socket TCP4" since (5, 10);
    /// `socket`, TCP over IPv6.
    SocketTcp6 = "socket TCP6" since (5, 10);
    /// `socket`, UDP over IPv4.
    SocketUdp4 = "socket UDP4" since (5, 10);
    /// `socket`, UDP over IPv6.
    SocketUdp6 = "socket UDP6" since (5, 10);
    /// `socket`, unix.
    SocketUnix = "socket unix" since (5, 10);
    /// `socketpair`.
    Socketpair = "socketpair" since (5, 10);
    /// `pipe`.
    Pipe = "pipe" since (5, 10);
    /// `pipe2`.
    Pipe2 = "pipe2" since (5, 10);
    /// `eventfd2`.
    Eventfd = "eventfd2" since (5, 10);
    /// `epoll_create1`.
    EpollCreate1 = "epoll_create1" since (5, 10);
    /// `timerfd_create`.
    TimerfdCreate = "timerfd_create" since (5, 10);
    /// `signalfd4`.
    Signalfd = "signalfd4" since (5, 10);
    /// `memfd_create`.
    MemfdCreate = "memfd_create" since (5, 10);
    /// `inotify_init1`.
    InotifyInit1 = "inotify_init1" since (5, 10);
    /// `fanotify_init`.
    FanotifyInit = "fanotify_init" since (5, 10);
    /// `userfaultfd`.
    Userfaultfd = "userfaultfd" since (5, 10);
    /// `pidfd_open`.
    PidfdOpen = "pidfd_open" since (5, 10);
    /// `pidfd_getfd`.
    PidfdGetfd = "pidfd_getfd" since (5, 10);
    /// `perf_event_open`.
    PerfEventOpen = "perf_event_open" since (5, 10);
    /// `bpf(BPF_MAP_CREATE)`.
    BpfMapCreate = "bpf map create" since (5, 10);
    /// `io_uring_setup`.
    IoUringSetup = "io_uring_setup" since (5, 10);
    /// An `io_uring` request that opens a file into the table.
    IoUringOpenat = "io_uring OPENAT" since (5, 10);
    /// An `io_uring` request that opens a file into the ring, and so into no table.
    IoUringOpenatDirect = "io_uring OPENAT direct" since (5, 15);
    /// A descriptor sent and received within one process.
    ScmRightsWithin = "SCM_RIGHTS within" since (5, 10);
    /// A descriptor sent for any process to receive.
    ScmRightsSend = "SCM_RIGHTS send" since (5, 10);
    /// A descriptor received that any process sent.
    ScmRightsReceive = "SCM_RIGHTS receive" since (5, 10);
    /// A connection sent and received.
    ScmRightsConnection = "SCM_RIGHTS connection" since (5, 10);
    /// `open_by_handle_at`.
    OpenByHandleAt = "open_by_handle_at" since (5, 10);
    /// `fsopen`.
    Fsopen = "fsopen" since (5, 10);
    /// `close`.
    Close = "close" since (5, 10);
    /// `close_range`.
    CloseRange = "close_range" since (5, 10);
    /// `close_range(CLOSE_RANGE_CLOEXEC)`, which closes at the next exec.
    CloseRangeCloexec = "close_range CLOEXEC" since (5, 11);
    /// `close_range(CLOSE_RANGE_UNSHARE)`, in a table of this thread's own from then on.
    CloseRangeUnshare = "close_range UNSHARE" since (5, 10);
    /// `unshare(CLONE_FILES)` by a thread.
    UnshareTable = "unshare of a table" since (5, 10);
    /// `listen`.
    Listen = "listen" since (5, 10);
    /// `connect` that is established, TCP over IPv4.
    ConnectTcp4 = "connect TCP4" since (5, 10);
    /// `connect` that is established, TCP over IPv6.
    ConnectTcp6 = "connect TCP6" since (5, 10);
    /// `connect` that is refused.
    ConnectRefused = "connect refused" since (5, 10);
    /// `connect` that does not wait and stays under way.
    ConnectPending = "connect pending" since (5, 10);
    /// `accept`.
    Accept = "accept" since (5, 10);
    /// `accept4`.
    Accept4 = "accept4" since (5, 10);
    /// `shutdown` of one direction or both.
    HalfClose = "shutdown" since (5, 10);
    /// `connect` of UDP over IPv4.
    ConnectUdp4 = "connect UDP4" since (5, 10);
    /// `connect` of UDP over IPv6.
    ConnectUdp6 = "connect UDP6" since (5, 10);
    /// `connect(AF_UNSPEC)` of connected UDP.
    DisconnectUdp = "disconnect UDP" since (5, 10);
    /// `fork` of a child that works and ends.
    Fork = "fork, and exit" since (5, 10);
    /// `fork` of a process that stays, with what it inherited.
    ForkThatStays = "fork that stays" since (5, 10);
    /// `fork` with a connection, which both then hold.
    ForkWithConnection = "fork with connections" since (5, 10);
    /// `clone(CLONE_FILES)` of a process: two of them with one table.
    CloneTable = "clone of a shared table" since (5, 10);
    /// `posix_spawn`: vfork and exec.
    Spawn = "posix_spawn, and exit" since (5, 10);
    /// `execve` by a process's only thread.
    Exec = "exec" since (5, 10);
    /// `execve` by a thread while others work.
    ExecByThread = "exec by a thread" since (5, 10);
    /// The end of the leading thread while others go on.
    LeaderExit = "exit of the leader" since (5, 10);
    /// The end of a process that stayed.
    Exit = "exit" since (5, 10);
    /// More than 1,024 descriptors in a table.
    FillThousand = "more than 1,024 open" since (5, 10);
    /// More than 16,384 descriptors in a table.
    FillBeyondCount = "more than 16,384 open" since (5, 10);
}

impl Kind {
    /// The kind of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}
