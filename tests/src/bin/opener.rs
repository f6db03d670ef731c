//! A process that opens descriptors in every way, also where it may not: does what it is told on standard input, a line an
//! order, and answers with how often it could. It holds what it opened until it is told otherwise or its input ends.

use std::{
    error::Error,
    fs::File,
    io::{BufRead as _, IoSlice, IoSliceMut, Write as _},
    net::{TcpListener, TcpStream},
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    process::Command,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::{
    event::{EventfdFlags, epoll, eventfd},
    fs::{CWD, MemfdFlags, Mode, OFlags, ResolveFlags, memfd_create, open, openat2},
    io::{Errno, dup, fcntl_dupfd_cloexec},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, SocketFlags, SocketType, accept, recvmsg, sendmsg, socket, socketpair,
    },
    process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open},
};

/// Bytes of a thread's stack: of hundreds, the usual ones would be beyond a limit of memory.
const STACK: usize = 64 << 10;

type Answer = Result<String, Box<dyn Error>>;
type Made = Result<Vec<OwnedFd>, Errno>;

/// What is held.
#[derive(Default)]
struct Held {
    descriptors: Vec<OwnedFd>,
    /// What ways need that take more than a call: made while there is room.
    listener: Option<TcpListener>,
    clients: Vec<TcpStream>,
    pair: Option<(OwnedFd, OwnedFd)>,
    own: Option<OwnedFd>,
}

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).is_some() {
        // Was to be executed, and nothing else.
        return Ok(());
    }
    let mut held = Held::default();
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

fn obey(words: &[&str], held: &mut Held) -> Answer {
    let text = |n: usize| words.get(n).copied().ok_or("a word is missing");
    let number = |n: usize| -> Result<usize, Box<dyn Error>> { Ok(text(n)?.parse()?) };
    match text(0)? {
        "numbers" => Ok(String::new()),
        "prepare" => prepare(held, number(1)?),
        // A way, so often: how often it did, was refused, failed otherwise.
        "try" => attempt(held, text(1)?, number(2)?),
        // A path that cannot be opened, so often: how it failed.
        "in-vain" => {
            let mut errors: Vec<String> = Vec::new();
            for _ in 0..number(2)? {
                let flags = if Path::new(text(1)?).is_dir() {
                    OFlags::WRONLY
                } else {
                    OFlags::RDONLY
                };
                let error = open(text(1)?, flags, Mode::empty()).err().ok_or("it was opened")?;
                errors.push(error.raw_os_error().to_string());
            }
            errors.dedup();
            Ok(errors.join(" "))
        }
        "at-once" => at_once(held, number(1)?),
        "hammer" => Ok(hammer(number(1)?, Duration::from_millis(number(2)? as u64))),
        "close" => {
            let keep = held.descriptors.len().checked_sub(number(1)?).ok_or("fewer are held")?;
            held.descriptors.truncate(keep);
            Ok(String::new())
        }
        // Executes a program that opens nothing by itself.
        "execute" => Ok(Command::new("/proc/self/exe").arg("end").status()?.to_string()),
        other => Err(format!("`{other}` is no order").into()),
    }
}

/// Makes what some ways need.
fn prepare(held: &mut Held, clients: usize) -> Answer {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    held.clients = (0..clients)
        .map(|_| TcpStream::connect(address))
        .collect::<Result<_, _>>()?;
    held.listener = Some(listener);
    held.pair = Some(socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?);
    held.own = Some(pidfd_open(getpid(), PidfdFlags::empty())?);
    Ok(String::new())
}

fn attempt(held: &mut Held, way: &str, n: usize) -> Answer {
    let (mut refused, mut failed, mut done) = (0, 0, 0);
    for _ in 0..n {
        match make(held, way)? {
            Ok(made) => {
                done += 1;
                held.descriptors.extend(made);
            }
            Err(Errno::MFILE) => refused += 1,
            Err(_) => failed += 1,
        }
    }
    Ok(format!("{done} {refused} {failed}"))
}

/// Opens by one call, or by one that receives.
fn make(held: &Held, way: &str) -> Result<Made, Box<dyn Error>> {
    let stdin = std::io::stdin();
    let one = |made: Result<OwnedFd, Errno>| made.map(|fd| vec![fd]);
    let two = |made: Result<(OwnedFd, OwnedFd), Errno>| made.map(|(a, b)| vec![a, b]);
    let null = "/dev/null";
    Ok(match way {
        "open" => one(open(null, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())),
        "openat2" => one(openat2(CWD, null, OFlags::RDONLY, Mode::empty(), ResolveFlags::empty())),
        "path" => one(open(null, OFlags::PATH, Mode::empty())),
        "temporary" => one(open("/dev/shm", OFlags::TMPFILE | OFlags::WRONLY, Mode::RUSR)),
        "socket" => one(socket(AddressFamily::INET, SocketType::STREAM, None)),
        "socketpair" => two(socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::empty(),
            None,
        )),
        "accept" => one(accept(held.listener.as_ref().ok_or("nothing is prepared")?)),
        "fcntl" => one(fcntl_dupfd_cloexec(stdin.as_fd(), 0)),
        "getfd" => one(pidfd_getfd(
            held.own.as_ref().ok_or("nothing is prepared")?,
            0,
            PidfdGetfdFlags::empty(),
        )),
        "receive" => receive(held)?,
        "dup" => one(dup(stdin.as_fd())),
        "pipe" => two(rustix::pipe::pipe()),
        "eventfd" => one(eventfd(0, EventfdFlags::empty())),
        "epoll" => one(epoll::create(epoll::CreateFlags::empty())),
        "memfd" => one(memfd_create("held", MemfdFlags::empty())),
        other => return Err(format!("`{other}` is no way").into()),
    })
}

/// Passes a descriptor to itself over a socket. One that may not be had is left out, and the message says so.
fn receive(held: &Held) -> Result<Made, Box<dyn Error>> {
    let (a, b) = held.pair.as_ref().ok_or("nothing is prepared")?;
    let stdin = std::io::stdin();
    let passed = [stdin.as_fd()];
    let mut room = [std::mem::MaybeUninit::uninit(); 128];
    let mut outgoing = SendAncillaryBuffer::new(&mut room);
    if !outgoing.push(SendAncillaryMessage::ScmRights(&passed)) {
        return Err("no room for a descriptor".into());
    }
    sendmsg(a, &[IoSlice::new(b"x")], &mut outgoing, SendFlags::empty())?;
    let mut room = [std::mem::MaybeUninit::uninit(); 128];
    let mut incoming = RecvAncillaryBuffer::new(&mut room);
    recvmsg(b, &mut [IoSliceMut::new(&mut [0])], &mut incoming, RecvFlags::empty())?;
    let mut made = Vec::new();
    for message in incoming.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            made.extend(received);
        }
    }
    Ok(if made.is_empty() { Err(Errno::MFILE) } else { Ok(made) })
}

/// Threads that open at the same moment, and hold what they got.
fn at_once(held: &mut Held, n: usize) -> Answer {
    let barrier = Barrier::new(n);
    let opened: Vec<_> = std::thread::scope(|scope| {
        let open = || {
            barrier.wait();
            File::open("/dev/null")
        };
        let small = || std::thread::Builder::new().stack_size(STACK);
        let threads: Vec<_> = (0..n).map(|_| small().spawn_scoped(scope, open)).collect();
        // One that did not start would be waited for by all: that ends the process.
        let threads = threads
            .into_iter()
            .map(|thread| thread.unwrap_or_else(|_| std::process::exit(1)));
        threads.map(std::thread::ScopedJoinHandle::join).collect()
    });
    let (mut refused, mut failed) = (0, 0);
    let before = held.descriptors.len();
    for file in opened {
        match file.map_err(|_| "a thread failed")? {
            Ok(file) => held.descriptors.push(file.into()),
            Err(error) if error.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => refused += 1,
            Err(_) => failed += 1,
        }
    }
    Ok(format!("{} {refused} {failed}", held.descriptors.len() - before))
}

/// Threads that open and close for a time. Answers how many were open together at most, by a count that is raised after an
/// open and lowered before a close, and so is never too high; and how often one was opened and one was refused.
fn hammer(threads: usize, time: Duration) -> String {
    let (open, most, opened, refused) = (
        AtomicU64::new(0),
        AtomicU64::new(0),
        AtomicU64::new(0),
        AtomicU64::new(0),
    );
    let is_over = AtomicBool::new(false);
    let failed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    match File::open("/dev/null") {
                        Ok(file) => {
                            most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            opened.fetch_add(1, Ordering::Relaxed);
                            std::thread::yield_now();
                            open.fetch_sub(1, Ordering::SeqCst);
                            drop(file);
                        }
                        Err(error) if error.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => {
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(_) => _ = failed.fetch_add(1, Ordering::Relaxed),
                    }
                }
            });
        }
        let began = Instant::now();
        while began.elapsed() < time {
            std::thread::sleep(Duration::from_millis(10));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let [most, opened, refused, failed] = [most, opened, refused, failed].map(AtomicU64::into_inner);
    format!("{most} {opened} {refused} {failed}")
}
