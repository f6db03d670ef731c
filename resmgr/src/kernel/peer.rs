//! Who is at the other end of a socket, beyond what the standard library tells.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
};

/// More groups than anybody is in (`NGROUPS_MAX`).
const MOST_GROUPS: usize = 65_536;

/// The supplementary groups that the peer of a connected Unix socket had when it connected (`SO_PEERGROUPS`).
pub fn peer_groups(socket: &impl AsFd) -> io::Result<Vec<u32>> {
    let fd = socket.as_fd().as_raw_fd();
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut bytes = libc::socklen_t::try_from(size_of_val(groups.as_slice())).map_err(io::Error::other)?;
        // SAFETY: the descriptor is borrowed for the call, `groups` has room for `bytes` bytes, and the kernel writes no
        // more than that, whole group ids.
        let done = unsafe {
            libc::getsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = usize::try_from(bytes).map_err(io::Error::other)? / size_of::<libc::gid_t>();
        if done == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // There were more, and it says how many.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() || count > MOST_GROUPS {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}
