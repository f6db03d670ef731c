//! Open files and sockets: their kind, state and addresses.

use aya_ebpf::helpers::generated;

use super::{load, offset, probe};
use crate::maps::FACTS;

/// An open file, by address.
#[derive(Clone, Copy)]
pub struct File(u64);

/// A file that execve opens, in its flags.
const FMODE_EXEC: u32 = 0x20;
/// A file that stands for no opening of its own, in its mode: what a file system like overlayfs opens beneath another.
const FMODE_NOACCOUNT: u32 = 0x2000_0000;
/// File systems that open files beneath theirs (linux/magic.h).
const ECRYPTFS: u64 = 0xf15f;
const CODA: u64 = 0x7375_7245;

impl File {
    /// Wraps the file of an iterator.
    #[inline(always)]
    pub fn at(address: u64) -> Self {
        Self(address)
    }

    /// Identity of its operations.
    #[inline(always)]
    pub fn operations(self) -> u64 {
        probe(self.0, offset!(file_f_op))
    }

    /// Whether it is opened for no descriptor: to be executed, or by a file system beneath another file. Where that one opens
    /// as anybody does, the upper one is left out in its place.
    #[inline(always)]
    pub fn is_for_no_descriptor(self) -> bool {
        let flags: u32 = probe(self.0, offset!(file_f_flags));
        let mode: u32 = probe(self.0, offset!(file_f_mode));
        let (_, _, file_system) = self.inode();
        flags & FMODE_EXEC | mode & FMODE_NOACCOUNT != 0 || matches!(file_system, ECRYPTFS | CODA)
    }

    /// Mode bits, inode number, magic of the file system.
    #[inline(always)]
    pub fn inode(self) -> (u32, u64, u64) {
        let inode: u64 = probe(self.0, offset!(file_f_inode));
        let sb: u64 = probe(inode, offset!(inode_i_sb));
        (
            u32::from(probe::<u16>(inode, offset!(inode_i_mode))),
            probe(inode, offset!(inode_i_ino)),
            probe(sb, offset!(super_block_s_magic)),
        )
    }

    /// Copies the name of its directory entry.
    #[inline(always)]
    pub fn name(self, into: &mut [u8; resmgr_common::NAME_LEN]) {
        let dentry: u64 = probe(self.0, offset!(file_dentry));
        let name: u64 = probe(dentry, offset!(dentry_name));
        // SAFETY: the helper writes at most the length that it is given, NUL included.
        unsafe {
            generated::bpf_probe_read_kernel_str(into.as_mut_ptr().cast(), into.len() as u32, name as *const _);
        }
    }

    /// Its socket, where it is one: recognised by the operations that all sockets share.
    #[inline(always)]
    pub fn socket(self) -> Option<Socket> {
        if self.operations() != SocketOperations::known()?.0 {
            return None;
        }
        let socket = self.known_socket();
        (socket.0 != 0).then_some(socket)
    }

    /// The socket of a file that is known to be one; its address is 0 where it is just being closed.
    #[inline(always)]
    pub fn known_socket(self) -> Socket {
        let socket: u64 = probe(self.0, offset!(file_private_data));
        Socket(probe(socket, offset!(socket_sk)))
    }
}

/// The file operations that all sockets share.
#[derive(Clone, Copy)]
pub struct SocketOperations(pub u64);

impl SocketOperations {
    /// As user space has learned them; `None` until then.
    #[inline(always)]
    pub fn known() -> Option<Self> {
        let facts = FACTS.get(0)?;
        (facts.socket_operations != 0).then_some(Self(facts.socket_operations))
    }
}

/// A socket (`struct sock`), by address.
#[derive(Clone, Copy)]
pub struct Socket(u64);

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// The families that count, as bits.
const FAMILIES: u64 = 1 << AF_INET | 1 << AF_INET6;
const SOCK_STREAM: u16 = 1;
const SOCK_DGRAM: u16 = 2;
pub const IPPROTO_TCP: u16 = 6;
pub const IPPROTO_UDP: u16 = 17;
pub const IPPROTO_MPTCP: u16 = 262;
/// States by the numbers of TCP, which UDP borrows.
pub const ESTABLISHED: u8 = 1;
pub const SYN_SENT: u8 = 2;
pub const CLOSE: u8 = 7;
pub const LISTEN: u8 = 10;

/// The states that make a connection, as bits: by socket type (two bits) and protocol (its lowest five bits, by which
/// MPTCP falls in with TCP).
static COUNTED_STATES: [u16; 128] = {
    let mut rows = [0; 128];
    rows[SOCK_STREAM as usize * 32 + IPPROTO_TCP as usize] = !(1 << CLOSE | 1 << LISTEN);
    rows[SOCK_DGRAM as usize * 32 + IPPROTO_UDP as usize] = 1 << ESTABLISHED;
    rows
};

impl Socket {
    /// The address, to compare.
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0
    }

    /// Address family.
    #[inline(always)]
    pub fn family(self) -> u16 {
        probe(self.0, offset!(sock_family))
    }

    /// Protocol number.
    #[inline(always)]
    pub fn protocol(self) -> u16 {
        probe(self.0, offset!(sock_protocol))
    }

    /// Type: stream, datagram, raw, …
    #[inline(always)]
    pub fn kind(self) -> u16 {
        probe(self.0, offset!(sock_type))
    }

    /// State, by the numbers of TCP.
    #[inline(always)]
    pub fn state(self) -> u8 {
        probe(self.0, offset!(sock_state))
    }

    /// Whether it speaks TCP (or MPTCP) or UDP over IP, and if so which; and its state.
    ///
    /// Family and state lie side by side in every kernel (user space has checked), and are read together.
    #[inline(always)]
    pub fn transport(self) -> Option<(Transport, u8)> {
        let [family, state]: [u16; 2] = probe(self.0, offset!(sock_family));
        if FAMILIES >> (family & 63) & 1 == 0 {
            return None;
        }
        let transport = match (self.kind(), self.protocol()) {
            (SOCK_STREAM, IPPROTO_TCP | IPPROTO_MPTCP) => Transport::Tcp,
            (SOCK_DGRAM, IPPROTO_UDP) => Transport::Udp,
            _ => return None,
        };
        Some((transport, state as u8))
    }

    /// 1 where it is a connection (TCP that neither listens nor is closed, or UDP that is connected), else 0.
    ///
    /// By look-up and shift rather than by branches, each of which the verifier would follow for each descriptor.
    #[inline(always)]
    pub fn is_connection(self) -> u64 {
        let row = usize::from(self.kind() & 3) * 32 + usize::from(self.protocol() & 31);
        // Masked once more, where the compiler cannot tell that it need not be: it makes a 32-bit `or` of the sum, of
        // which the verifiers of 5.10 and 6.1 know no bounds (that of 6.12 does).
        let row = core::hint::black_box(row) & (COUNTED_STATES.len() - 1);
        // SAFETY: a read of a static, the row masked to its length; volatile, so that it stays a look-up.
        let states = unsafe { core::ptr::read_volatile(&raw const COUNTED_STATES[row]) };
        let family = FAMILIES >> (self.family() & 63);
        u64::from(states) >> (self.state() & 15) & family & 1
    }

    /// Local and remote port.
    #[inline(always)]
    pub fn ports(self) -> (u16, u16) {
        (
            probe(self.0, offset!(sock_num)),
            u16::from_be(probe(self.0, offset!(sock_dport))),
        )
    }

    /// Local and remote address, in network byte order.
    #[inline(always)]
    pub fn addresses(self) -> ([u8; 16], [u8; 16]) {
        if self.family() == AF_INET6 && offset!(sock_v6_daddr) != 0 {
            return (
                probe(self.0, offset!(sock_v6_rcv_saddr)),
                probe(self.0, offset!(sock_v6_daddr)),
            );
        }
        let mut local = [0; 16];
        let mut remote = [0; 16];
        let [a, b, c, d]: [u8; 4] = probe(self.0, offset!(sock_rcv_saddr));
        (local[0], local[1], local[2], local[3]) = (a, b, c, d);
        let [a, b, c, d]: [u8; 4] = probe(self.0, offset!(sock_daddr));
        (remote[0], remote[1], remote[2], remote[3]) = (a, b, c, d);
        (local, remote)
    }
}

/// A socket, by a pointer that the verifier knows the type of.
#[derive(Clone, Copy)]
pub struct TypedSocket(*const u8);

impl TypedSocket {
    /// Wraps an argument of a BTF tracepoint.
    #[inline(always)]
    pub fn new(sock: *const u8) -> Self {
        Self(sock)
    }

    /// The address, to compare.
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0 as u64
    }

    /// Whether it speaks TCP or MPTCP.
    #[inline(always)]
    pub fn is_tcp(self) -> bool {
        matches!(load(self.0, offset!(sock_protocol)), IPPROTO_TCP | IPPROTO_MPTCP)
    }

    /// Whether there is a file for it: those that the kernel opens for itself have none, and the file of a subflow of
    /// MPTCP is another socket's.
    #[inline(always)]
    pub fn has_file(self) -> bool {
        let socket: *const u8 = load(self.0, offset!(sock_socket));
        let file: *const u8 = load(socket, offset!(socket_file));
        let of_file: *const u8 = load(socket, offset!(socket_sk));
        !file.is_null() && of_file as u64 == self.address()
    }
}

/// The transports whose sockets count as connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP and MPTCP.
    Tcp,
    /// UDP.
    Udp,
}
