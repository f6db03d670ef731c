//! A process with a known use: does what it is told on standard input, a line an order, and answers each with a line.
//!
//! It holds what it opened until it is told otherwise or its input ends.

mod memory;
mod processes;

use std::{
    error::Error,
    fs::File,
    io::{BufRead as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    time::Duration,
};

use resmgr_tests::{ramp, raw};
use rustix::{
    event::{EventfdFlags, eventfd},
    io::{FdFlags, dup, dup2, fcntl_dupfd_cloexec, fcntl_getfd},
    net::{AddressFamily, SocketFlags, SocketType, socketpair, sockopt},
    process::Pid,
    time::{ClockId, clock_gettime},
};

/// What is held: descriptors that nothing will be asked of, and things that will be.
#[derive(Default)]
struct Held {
    descriptors: Vec<OwnedFd>,
    memory: Vec<Vec<u8>>,
    ramped: ramp::Held,
    mapped: Option<raw::Reserved>,
    listener: Option<TcpListener>,
    streams: Vec<TcpStream>,
    datagrams: Vec<UdpSocket>,
    children: Vec<Pid>,
}

type Answer = Result<String, Box<dyn Error>>;

/// The argument of one that another has become, by an order that is to be answered.
const AGAIN: &str = "again";

fn main() -> Result<(), Box<dyn Error>> {
    let mut held = Held::default();
    if std::env::args().any(|argument| argument == AGAIN) {
        println!("ok");
    }
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match obey(&words, &mut held) {
            Ok(answer) => format!("ok {answer}"),
            Err(error) => format!("error {error}"),
        };
        println!("{}", answer.trim_end());
        std::io::stdout().flush()?;
    }
    Ok(())
}

#[expect(clippy::too_many_lines, reason = "an arm an order, each short")]
fn obey(words: &[&str], held: &mut Held) -> Answer {
    if let Some(answer) = processes::obey(words, held).or_else(|| memory::obey(words, held)) {
        return answer;
    }
    let number = |n: usize| number(words, n);
    let text = |n: usize| words.get(n).copied().ok_or("a word is missing");
    match *words.first().ok_or("an order is missing")? {
        "open" => open(held, number(1)?),
        "dup" => repeat(held, number(1)?, || Ok(vec![dup(std::io::stdin())?])),
        "fcntl-dup" => repeat(held, number(1)?, || {
            Ok(vec![fcntl_dupfd_cloexec(std::io::stdin(), 10)?])
        }),
        "eventfd" => repeat(held, number(1)?, || Ok(vec![eventfd(0, EventfdFlags::empty())?])),
        "pipe" => repeat(held, number(1)?, || {
            let (reader, writer) = rustix::pipe::pipe()?;
            Ok(vec![reader, writer])
        }),
        "socketpair" => repeat(held, number(1)?, || {
            let (a, b) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None)?;
            Ok(vec![a, b])
        }),
        // Over the last descriptor held: the table does not grow.
        "dup2" => {
            for _ in 0..number(1)? {
                let over = held.descriptors.last_mut().ok_or("nothing is held")?;
                dup2(std::io::stdin(), over)?;
            }
            Ok(String::new())
        }
        "receive" => receive(held, number(1)?),
        // Calls on descriptors that open and close nothing.
        "getfd" => {
            for _ in 0..number(1)? {
                let _: FdFlags = fcntl_getfd(std::io::stdin())?;
            }
            Ok(String::new())
        }
        "close" => {
            let keep = held.descriptors.len().checked_sub(number(1)?).ok_or("fewer are held")?;
            held.descriptors.truncate(keep);
            Ok(String::new())
        }
        "listen" => {
            let listener = TcpListener::bind(text(1)?)?;
            let address = listener.local_addr()?;
            held.listener = Some(listener);
            Ok(address.to_string())
        }
        "accept" => {
            let listener = held.listener.as_ref().ok_or("nothing listens")?;
            for _ in 0..number(1)? {
                held.streams.push(listener.accept()?.0);
            }
            Ok(String::new())
        }
        "connect" => {
            for _ in 0..number(2)? {
                held.streams.push(TcpStream::connect(text(1)?)?);
            }
            Ok(String::new())
        }
        // Threads that connect at the same moment: how many did, how many were not permitted to, how many failed otherwise.
        "connect-at-once" => connect_at_once(held, text(1)?.parse()?, number(2)?),
        "connect-in-vain" => {
            for _ in 0..number(2)? {
                TcpStream::connect(text(1)?).err().ok_or("it was accepted")?;
            }
            Ok(String::new())
        }
        "connect-nonblocking" => {
            let address: std::net::SocketAddr = text(1)?.parse()?;
            connect_nonblocking(held, address, number(2)?)
        }
        // Connections of several paths, both ends held.
        "mptcp" => multipath(held, number(1)?),
        "udp" => {
            for _ in 0..number(2)? {
                let socket = UdpSocket::bind("127.0.0.1:0")?;
                socket.connect(text(1)?)?;
                held.datagrams.push(socket);
            }
            Ok(String::new())
        }
        "disconnect" => {
            let keep = held.streams.len().checked_sub(number(1)?).ok_or("fewer are held")?;
            held.streams.truncate(keep);
            Ok(String::new())
        }
        "ramp" => Ok(held.ramped.take(&words[1..])?.line()),
        // How many rounds there were in so many milliseconds, and the longest in microseconds.
        "rounds" => {
            let (rounds, longest_us) = ramp::rounds(Duration::from_millis(number(1)? as u64), number(2)?)?;
            Ok(format!("{rounds} {longest_us}"))
        }
        "spin" => Ok(spin(number(1)?).to_string()),
        // Until the whole process has used that much since it began.
        "spin-to" => {
            let used = clock_gettime(ClockId::ProcessCPUTime);
            let used_ms = used.tv_sec * 1000 + used.tv_nsec / 1_000_000;
            let wanted = i64::try_from(number(1)?)?;
            Ok(spin(usize::try_from(wanted - used_ms).map_err(|_| "more is used already")?).to_string())
        }
        "spin-threads" => {
            let ms = number(2)?;
            let threads: Vec<_> = (0..number(1)?).map(|_| std::thread::spawn(move || spin(ms))).collect();
            let used: u64 = threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum();
            Ok(used.to_string())
        }
        // Threads that do nothing, until the kernel makes no more of them; answers how many there are.
        "thread-storm" => {
            let thread = || {
                std::thread::Builder::new()
                    .stack_size(16 << 10)
                    .spawn(std::thread::park)
            };
            Ok((0..number(1)?).map_while(|_| thread().ok()).count().to_string())
        }
        // The rest is for benchmarks: calls without end, and nothing held after them.
        "open-close" => {
            for _ in 0..number(1)? {
                let file: OwnedFd = File::open("/dev/null")?.into();
                // By nothing but close: a debug build would make another call first.
                raw::Descriptor::from(file).close()?;
            }
            Ok(String::new())
        }
        "map-unmap" => {
            for _ in 0..number(1)? {
                drop(std::hint::black_box(Vec::<u8>::with_capacity(40 << 20)));
            }
            Ok(String::new())
        }
        "fault" => {
            // Larger than what the allocator keeps for itself, so that each page is new.
            for _ in 0..number(1)?.div_ceil(10_240) {
                drop(std::hint::black_box(vec![1u8; 10_240 << 12]));
            }
            Ok(String::new())
        }
        "ping-pong" => ping_pong(number(1)?),
        // Nanoseconds of the whole process by its own clock, which has the threads that ended too.
        "cpu" => {
            let used = clock_gettime(ClockId::ProcessCPUTime);
            Ok((used.tv_sec * 1_000_000_000 + used.tv_nsec).to_string())
        }
        "numbers" => {
            let numbers: Vec<String> = held.descriptors.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
            Ok(numbers.join(" "))
        }
        other => Err(format!("`{other}` is no order").into()),
    }
}

/// A number among an order's words.
fn number(words: &[&str], n: usize) -> Result<usize, Box<dyn Error>> {
    Ok(words.get(n).ok_or("a number is missing")?.parse()?)
}

fn open(held: &mut Held, n: usize) -> Answer {
    repeat(held, n, || Ok(vec![File::open("/dev/null")?.into()]))
}

fn repeat(held: &mut Held, n: usize, make: impl Fn() -> Result<Vec<OwnedFd>, Box<dyn Error>>) -> Answer {
    for _ in 0..n {
        held.descriptors.extend(make()?);
    }
    Ok(String::new())
}

/// Passes descriptors to itself over a socket: they arrive by no call that opens any.
fn receive(held: &mut Held, n: usize) -> Answer {
    use rustix::net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        recvmsg, sendmsg,
    };
    let (a, b) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None)?;
    let stdin = std::io::stdin();
    let passed = vec![stdin.as_fd(); n];
    let mut room = vec![std::mem::MaybeUninit::uninit(); 4096];
    let mut outgoing = SendAncillaryBuffer::new(&mut room);
    if !outgoing.push(SendAncillaryMessage::ScmRights(&passed)) {
        return Err("too many for one message".into());
    }
    sendmsg(&a, &[std::io::IoSlice::new(b"x")], &mut outgoing, SendFlags::empty())?;
    let mut room = vec![std::mem::MaybeUninit::uninit(); 4096];
    let mut incoming = RecvAncillaryBuffer::new(&mut room);
    recvmsg(
        &b,
        &mut [std::io::IoSliceMut::new(&mut [0])],
        &mut incoming,
        RecvFlags::empty(),
    )?;
    for message in incoming.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            held.descriptors.extend(received);
        }
    }
    // Not closed here: before it closes one, a debug build makes a call that lets the agent count the table again.
    held.descriptors.extend([a, b]);
    Ok(String::new())
}

/// Connections of several paths; answers how many were made: none where this kernel or host has no MPTCP.
fn multipath(held: &mut Held, n: usize) -> Answer {
    use rustix::net::{accept, bind, connect, getsockname, ipproto, listen, socket};
    let new = || socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::MPTCP));
    let Ok(listener) = new() else {
        return Ok("0".to_owned());
    };
    bind(&listener, &std::net::SocketAddr::from(([127, 0, 0, 1], 0)))?;
    listen(&listener, 8)?;
    let address = getsockname(&listener)?;
    for _ in 0..n {
        let client = new()?;
        connect(&client, &address)?;
        held.descriptors.push(accept(&listener)?);
        held.descriptors.push(client);
    }
    held.descriptors.push(listener);
    Ok(n.to_string())
}

fn connect_at_once(held: &mut Held, address: std::net::SocketAddr, n: usize) -> Answer {
    let barrier = std::sync::Arc::new(std::sync::Barrier::new(n));
    let connect = |_| {
        let barrier = barrier.clone();
        std::thread::spawn(move || {
            barrier.wait();
            TcpStream::connect(address)
        })
    };
    let threads: Vec<_> = (0..n).map(connect).collect();
    let (mut refused, mut failed) = (0, 0);
    let before = held.streams.len();
    for thread in threads {
        match thread.join().map_err(|_| "a thread failed")? {
            Ok(stream) => held.streams.push(stream),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error()) => refused += 1,
            Err(_) => failed += 1,
        }
    }
    Ok(format!("{} {refused} {failed}", held.streams.len() - before))
}

/// Begins connects that do not wait, and waits for their outcome afterwards.
fn connect_nonblocking(held: &mut Held, address: std::net::SocketAddr, n: usize) -> Answer {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut refused = 0;
    for _ in 0..n {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        let begun = rustix::net::connect(&socket, &address);
        if !matches!(begun, Ok(()) | Err(rustix::io::Errno::INPROGRESS)) {
            refused += 1;
            continue;
        }
        let borrowed: BorrowedFd<'_> = socket.as_fd();
        poll(&mut [PollFd::new(&borrowed, PollFlags::OUT)], None)?;
        match sockopt::socket_error(&socket)? {
            Ok(()) => held.descriptors.push(socket),
            Err(_) => refused += 1,
        }
    }
    Ok(refused.to_string())
}

/// Two threads that hand a byte to and fro.
fn ping_pong(n: usize) -> Answer {
    use std::io::Read as _;
    let (mut ours, mut theirs) = std::os::unix::net::UnixStream::pair()?;
    let other = std::thread::spawn(move || -> std::io::Result<()> {
        let mut byte = [0];
        for _ in 0..n {
            theirs.read_exact(&mut byte)?;
            theirs.write_all(&byte)?;
        }
        Ok(())
    });
    let mut byte = [0];
    for _ in 0..n {
        ours.write_all(&byte)?;
        ours.read_exact(&mut byte)?;
    }
    other.join().map_err(|_| "the other thread failed")??;
    Ok(String::new())
}

/// Uses a CPU for some milliseconds of this thread's own CPU time; returns the nanoseconds used.
fn spin(ms: usize) -> u64 {
    let used = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    let began = used();
    let wanted = Duration::from_millis(ms as u64);
    loop {
        let spent = used().saturating_sub(began);
        if spent >= wanted {
            return u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX);
        }
    }
}
