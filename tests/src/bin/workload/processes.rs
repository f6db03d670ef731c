//! Orders about processes and threads: who is born of whom, and how. Decides nothing.

use std::ffi::CString;

use resmgr_tests::raw;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, getppid, kill_process, set_child_subreaper,
    set_parent_process_death_signal, waitid, waitpid,
};

use crate::{Answer, Held, number, spin};

/// Does an order; `None` where it is none of these.
pub(crate) fn obey(words: &[&str], held: &mut Held) -> Option<Answer> {
    let answer = match *words.first()? {
        // Children that end at once, one after the other; answers their CPU time in nanoseconds.
        "fork-many" => number(words, 1).and_then(many),
        // A child that has copies of all descriptors and does nothing.
        "fork-idle" => idle(held, raw::fork()),
        // So many of them; answers the last one's process id.
        "fork-idle-many" => number(words, 1).and_then(|n| {
            let mut last = Ok(String::new());
            for _ in 0..n {
                last = idle(held, raw::fork());
                last.as_ref().map_err(ToString::to_string)?;
            }
            last
        }),
        // One that a thread bears which is not the first of its process.
        "fork-by-thread" => by_thread(held),
        // One with a process id of one's choice, which nobody has at the time.
        "fork-as" => number(words, 1).and_then(|pid| idle(held, raw::fork_as(u32::try_from(pid)?))),
        "end-idle" => end_idle(held),
        // A child's child that has lost its parent, and does nothing; answers its process id.
        "fork-orphan" => orphan(held),
        "subreaper" => set_child_subreaper(Some(getpid()))
            .map(|()| String::new())
            .map_err(Into::into),
        // A child that uses some memory and ends; answers the highest resident memory of all children so far, in bytes.
        "fork-touch" => number(words, 1).and_then(touch_and_end),
        // A child that has ended and is not waited for.
        "zombie" => zombie(),
        // This program anew in the same process, by a thread that is not its first: nothing is held any more, and what
        // answers is the new one.
        "exec-by-thread" => exec_by_thread(),
        // Threads that use a CPU for some milliseconds, and stay.
        "spin-and-stay" => spin_and_stay(words),
        _ => return None,
    };
    Some(answer)
}

fn many(n: usize) -> Answer {
    let before = raw::children_usage().cpu_ns;
    for _ in 0..n {
        let Some(child) = raw::fork()? else {
            raw::exit_process(0);
        };
        waitpid(Some(child), WaitOptions::empty())?;
    }
    Ok((raw::children_usage().cpu_ns - before).to_string())
}

fn by_thread(held: &mut Held) -> Answer {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // The child is this thread alone.
        let born = raw::fork().map(|child| Some(child.unwrap_or_else(|| rest())));
        let _ = tell.send(born);
        // A parent's death is that of the thread that bore it.
        loop {
            std::thread::park();
        }
    });
    idle(held, told.recv()?)
}

/// Keeps a child that was born; as that child, does nothing.
fn idle(held: &mut Held, born: rustix::io::Result<Option<Pid>>) -> Answer {
    let Some(child) = born? else { rest() };
    held.children.push(child);
    Ok(child.as_raw_nonzero().to_string())
}

/// What a child does that is to do nothing: it ends with its parent, however that ends.
fn rest() -> ! {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    loop {
        std::thread::park();
    }
}

fn end_idle(held: &mut Held) -> Answer {
    for child in held.children.drain(..) {
        kill_process(child, Signal::KILL)?;
        waitpid(Some(child), WaitOptions::empty())?;
    }
    Ok(String::new())
}

fn orphan(held: &mut Held) -> Answer {
    let (reader, writer) = std::io::pipe()?;
    let Some(child) = raw::fork()? else {
        let parent = getpid();
        let born = raw::fork();
        if matches!(born, Ok(None)) {
            drop(writer);
            // The signal of a parent's death is about the one that it has by then.
            while getppid() == Some(parent) {
                std::thread::yield_now();
            }
            rest();
        }
        if let Ok(Some(born)) = born {
            let _ = rustix::io::write(&writer, &born.as_raw_pid().to_ne_bytes());
        }
        raw::exit_process(0);
    };
    drop(writer);
    waitpid(Some(child), WaitOptions::empty())?;
    let mut bytes = [0; 4];
    rustix::io::read(&reader, &mut bytes)?;
    let born = Pid::from_raw(i32::from_ne_bytes(bytes)).ok_or("it was not born")?;
    held.children.push(born);
    Ok(born.as_raw_nonzero().to_string())
}

fn touch_and_end(bytes: usize) -> Answer {
    let Some(child) = raw::fork()? else {
        std::hint::black_box(vec![1u8; bytes]);
        raw::exit_process(0);
    };
    waitpid(Some(child), WaitOptions::empty())?;
    Ok(raw::children_usage().peak_rss_bytes.to_string())
}

fn zombie() -> Answer {
    let Some(child) = raw::fork()? else {
        raw::exit_process(0);
    };
    waitid(WaitId::Pid(child), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    Ok(child.as_raw_nonzero().to_string())
}

fn exec_by_thread() -> Answer {
    let arguments = [CString::new("workload")?, CString::new(crate::AGAIN)?];
    // It returns only where that failed.
    match std::thread::spawn(move || raw::exec(c"/proc/thread-self/exe", &arguments)).join() {
        Ok(error) => Err(error.into()),
        Err(_) => Err("a thread failed".into()),
    }
}

fn spin_and_stay(words: &[&str]) -> Answer {
    let (threads, ms) = (number(words, 1)?, number(words, 2)?);
    let (done, dones) = std::sync::mpsc::channel();
    for _ in 0..threads {
        let done = done.clone();
        std::thread::spawn(move || {
            let used = spin(ms);
            let _ = done.send(used);
            loop {
                std::thread::park();
            }
        });
    }
    let used: u64 = dones.iter().take(threads).sum();
    Ok(used.to_string())
}
