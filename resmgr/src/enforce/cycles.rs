//! Freezing by turns, where no quota of CPU time can be had: a tool's leaf runs for its part of each period and is frozen
//! for the rest. A process of its own does it, which ends with the agent and leaves nothing frozen.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use super::leaf::Leaf;

/// One turn of all: long enough to freeze and thaw in little of it, short enough that a tool still answers.
const PERIOD: Duration = Duration::from_millis(200);
/// The hidden command that runs [`freeze_by_turns`].
pub const FREEZE_COMMAND: &str = "freeze-by-turns";

/// The agent's side: says which leaves run for which part of the time.
#[derive(Debug, Default)]
pub struct Cycles {
    wanted: BTreeMap<PathBuf, u64>,
    running: Option<(Child, ChildStdin)>,
}

impl Cycles {
    /// Has a leaf run for so many percent of the time; all of it where none are given.
    pub fn set(&mut self, leaf: &Leaf, percent: Option<u64>) -> io::Result<()> {
        let path = leaf.path().to_owned();
        let percent = percent.filter(|percent| *percent < 100);
        if self.wanted.get(&path).copied() == percent {
            return Ok(());
        }
        match percent {
            Some(percent) => _ = self.wanted.insert(path.clone(), percent),
            None => _ = self.wanted.remove(&path),
        }
        if let Some((_, input)) = &mut self.running
            && input.write_all(&order(&path, percent)).is_ok()
        {
            if self.wanted.is_empty() {
                self.stop();
            }
            return Ok(());
        }
        self.start()
    }

    /// Starts another process where the one that freezes has ended, which may have left something frozen.
    pub fn mend(&mut self) -> io::Result<()> {
        let ended = match &mut self.running {
            Some((child, _)) => child.try_wait()?,
            None => None,
        };
        if ended.is_some() { self.start() } else { Ok(()) }
    }

    /// Starts the process that freezes, or another where that has ended, and tells it everything.
    fn start(&mut self) -> io::Result<()> {
        self.stop();
        if self.wanted.is_empty() {
            return Ok(());
        }
        let mut child = Command::new("/proc/self/exe")
            .arg(FREEZE_COMMAND)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // A key that interrupts the agent is not to end this one before it has thawed.
            .process_group(0)
            .spawn()?;
        let Some(mut input) = child.stdin.take() else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        for (path, percent) in &self.wanted {
            input.write_all(&order(path, Some(*percent)))?;
        }
        self.running = Some((child, input));
        Ok(())
    }

    /// Ends it: it thaws all, and is waited for.
    fn stop(&mut self) {
        if let Some((mut child, input)) = self.running.take() {
            drop(input);
            // What it did not thaw is thawed by whoever puts the leaf back.
            let _ = child.wait();
        }
    }
}

impl Drop for Cycles {
    fn drop(&mut self) {
        self.stop();
    }
}

fn order(path: &Path, percent: Option<u64>) -> Vec<u8> {
    let mut line = format!("{} ", percent.unwrap_or(100)).into_bytes();
    line.extend(path.as_os_str().as_encoded_bytes());
    line.push(b'\n');
    line
}

fn parse(line: &str) -> Option<(PathBuf, u64)> {
    let (percent, path) = line.split_once(' ')?;
    Some((path.into(), percent.parse().ok()?))
}

/// The other side: freezes and thaws by the orders that it reads, and thaws everything when there will be no more.
pub fn freeze_by_turns(orders: impl BufRead + Send + 'static) {
    let (tell, told) = channel();
    thread::spawn(move || {
        for line in orders.lines().map_while(Result::ok) {
            // Whoever does not listen any more has ended.
            let _ = parse(&line).map(|order| tell.send(order));
        }
    });
    let mut leaves: BTreeMap<PathBuf, u64> = BTreeMap::new();
    while turn(&mut leaves, &told) {}
    for path in leaves.into_keys() {
        thaw(path);
    }
}

/// One period; false once no more orders will come.
fn turn(leaves: &mut BTreeMap<PathBuf, u64>, told: &Receiver<(PathBuf, u64)>) -> bool {
    let began = Instant::now();
    let mut by_end: Vec<(u64, PathBuf)> = leaves.iter().map(|(path, percent)| (*percent, path.clone())).collect();
    by_end.sort();
    for path in leaves.keys() {
        thaw(path.clone());
    }
    for (percent, path) in by_end {
        let runs = PERIOD * u32::try_from(percent).unwrap_or(100) / 100;
        if !listen(leaves, told, began + runs) {
            return false;
        }
        if leaves.contains_key(&path) {
            // A leaf that has gone holds nobody.
            let _ = Leaf::at(path).freeze();
        }
    }
    // With nobody to freeze there is nothing but orders to wait for.
    let until = if leaves.is_empty() {
        began + Duration::from_secs(3600)
    } else {
        began + PERIOD
    };
    listen(leaves, told, until)
}

/// Takes in orders until a time; false once no more will come.
fn listen(leaves: &mut BTreeMap<PathBuf, u64>, told: &Receiver<(PathBuf, u64)>, until: Instant) -> bool {
    loop {
        let idle = leaves.is_empty();
        match told.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok((path, percent)) if percent >= 100 => {
                leaves.remove(&path);
                thaw(path);
            }
            Ok((path, percent)) => _ = leaves.insert(path, percent),
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        // The first one begins its turns at once.
        if idle && !leaves.is_empty() {
            return true;
        }
    }
}

fn thaw(path: PathBuf) {
    // A leaf that has gone holds nobody.
    let _ = Leaf::at(path).thaw();
}

#[cfg(test)]
mod tests {
    //! Folders in the place of cgroups.
    use std::{fs, io::BufReader, os::unix::net::UnixStream};

    use super::*;

    #[test]
    fn an_order_is_read_as_it_was_written() {
        let path = Path::new("/sys/fs/cgroup/a tool-1");
        let line = String::from_utf8(order(path, Some(25))).unwrap();
        assert_eq!(parse(line.trim_end()), Some((path.to_owned(), 25)));
        let line = String::from_utf8(order(path, None)).unwrap();
        assert_eq!(parse(line.trim_end()), Some((path.to_owned(), 100)));
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn a_leaf_is_frozen_by_turns_and_thawed_when_orders_end() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("cgroup.freeze");
        fs::write(&file, "0").unwrap();
        let (mut orders, read) = UnixStream::pair().unwrap();
        let freezing = thread::spawn(|| freeze_by_turns(BufReader::new(read)));
        orders.write_all(&order(folder.path(), Some(50))).unwrap();
        let mut seen = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(20);
        while seen.len() < 4 && Instant::now() < deadline {
            let now = fs::read_to_string(&file).unwrap();
            if !now.is_empty() && seen.last() != Some(&now) {
                seen.push(now);
            }
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(seen.len(), 4, "it is frozen and thawed, again and again: {seen:?}");
        drop(orders);
        freezing.join().unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "0");
    }
}
