//! Uses that grow at a rate, for the workload: until all of it is there, or the kernel refuses more.

use std::{
    error::Error,
    fs::File,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    thread::sleep,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::io::Errno;

/// A step of memory: small beside what a line of memory is, large beside what a step costs.
const STEP: u64 = 256 << 10;

/// What came of a ramp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ramped {
    /// How much was had.
    pub had: u64,
    /// How long that took, in milliseconds.
    pub took_ms: u64,
    /// The error number with which more was refused; 0 where it was not.
    pub errno: i32,
    /// When it was over, in microseconds of the wall clock.
    pub at_us: i64,
}

impl Ramped {
    /// As the workload answers.
    pub fn line(&self) -> String {
        format!("{} {} {} {}", self.had, self.took_ms, self.errno, self.at_us)
    }

    /// From the workload's answer.
    pub fn of(line: &str) -> Self {
        let fields: Vec<i64> = line
            .split(' ')
            .map(|field| field.parse().expect("a ramp answers numbers"))
            .collect();
        let unsigned = |n: usize| u64::try_from(fields[n]).expect("no less than nothing");
        Self {
            had: unsigned(0),
            took_ms: unsigned(1),
            errno: i32::try_from(fields[2]).expect("an error number"),
            at_us: fields[3],
        }
    }
}

/// The time of the wall clock in microseconds.
pub fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Takes step after step, no faster than so much a second.
fn paced(total: u64, step: u64, per_second: u64, mut take: impl FnMut() -> io::Result<()>) -> Ramped {
    let began = Instant::now();
    let (mut had, mut errno) = (0, 0);
    while had < total {
        if let Err(error) = take() {
            errno = error.raw_os_error().unwrap_or(-1);
            break;
        }
        had += step;
        let due = Duration::from_micros(had.saturating_mul(1_000_000) / per_second.max(1));
        sleep(due.saturating_sub(began.elapsed()));
    }
    Ramped {
        had,
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        errno,
        at_us: now_us(),
    }
}

/// What ramps have taken.
#[derive(Default)]
pub struct Held {
    memory: Vec<Vec<u8>>,
    files: Vec<File>,
    streams: Vec<TcpStream>,
}

impl Held {
    /// Takes so much at so much a second: `TOTAL PER_SECOND KIND [WHERE]`, memory in bytes.
    pub fn take(&mut self, words: &[&str]) -> Result<Ramped, Box<dyn Error>> {
        let [total, per_second, kind, to @ ..] = words else {
            return Err("TOTAL PER_SECOND KIND [WHERE]".into());
        };
        let (total, per_second) = (total.parse()?, per_second.parse()?);
        let to = to.first().ok_or("a word is missing");
        Ok(match *kind {
            "anonymous" => self.anonymous(total, per_second),
            "written" => self.written(to?.as_ref(), total, per_second)?,
            "read" => {
                let mut file = File::open(to?)?;
                let mut step = vec![0; usize::try_from(STEP).unwrap_or(usize::MAX)];
                let ramped = paced(total, STEP, per_second, || file.read_exact(&mut step));
                self.files.push(file);
                ramped
            }
            "files" => paced(total, 1, per_second, || {
                self.files.push(File::open("/dev/null")?);
                Ok(())
            }),
            "connections" => {
                let to: SocketAddr = to?.parse()?;
                paced(total, 1, per_second, || {
                    self.streams.push(TcpStream::connect(to)?);
                    Ok(())
                })
            }
            other => return Err(format!("`{other}` is no kind").into()),
        })
    }

    /// Memory of the process's own, each page written.
    fn anonymous(&mut self, total: u64, per_second: u64) -> Ramped {
        paced(total, STEP, per_second, || {
            let mut memory: Vec<u8> = Vec::new();
            let step = usize::try_from(STEP).unwrap_or(usize::MAX);
            let refused = memory.try_reserve_exact(step);
            refused.map_err(|_| io::Error::from(Errno::NOMEM))?;
            memory.resize(step, 1);
            self.memory.push(memory);
            Ok(())
        })
    }

    /// A file without a name in a folder: memory that no process maps, where that is tmpfs.
    fn written(&mut self, folder: &Path, total: u64, per_second: u64) -> io::Result<Ramped> {
        let mut file = tempfile::tempfile_in(folder)?;
        let step = vec![1; usize::try_from(STEP).unwrap_or(usize::MAX)];
        let ramped = paced(total, STEP, per_second, || file.write_all(&step));
        self.files.push(file);
        Ok(ramped)
    }
}

/// What a program that is well does: rounds of memory, files and arithmetic for so long. Returns how many there were, and
/// the longest one in microseconds.
pub fn rounds(time: Duration, bytes: usize) -> io::Result<(u64, u64)> {
    let began = Instant::now();
    let (mut rounds, mut longest) = (0, Duration::ZERO);
    let mut sum = 0_u64;
    while began.elapsed() < time {
        let round = Instant::now();
        let memory = std::hint::black_box(vec![1_u8; bytes]);
        drop(File::open("/dev/null")?);
        sum = memory
            .iter()
            .step_by(64)
            .fold(sum, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte));
        rounds += 1;
        longest = longest.max(round.elapsed());
    }
    std::hint::black_box(sum);
    Ok((rounds, u64::try_from(longest.as_micros()).unwrap_or(u64::MAX)))
}
