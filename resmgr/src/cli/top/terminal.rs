//! The terminal: taken over, drawn to, listened to, and always given back as it was. Knows nothing of what is shown.

use std::{
    future::poll_fn,
    io::{self, Write as _},
    panic,
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use crossterm::{
    cursor,
    event::{self, Event, KeyEvent, KeyEventKind},
    execute, terminal,
};
use rustix::process::{Signal, getpid, kill_process};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::{
    screen::{Frame, Look},
    state::Top,
    view,
};
use crate::cli::output;

/// What the terminal, or whoever sends signals, tells.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told {
    /// A key was pressed.
    Key(KeyEvent),
    /// It has another size, or something else was drawn there.
    Resized,
    /// It is to be given back for a while.
    Suspend,
    /// It is to be given back for ever.
    Quit,
}

/// Signals that end a program unless it asks for them, but for those that nobody can ask for and those of its own mistakes.
const ENDING: [Signal; 11] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::PIPE,
    Signal::ALARM,
    Signal::VTALARM,
    Signal::PROF,
    Signal::USR1,
    Signal::USR2,
    Signal::XCPU,
];

/// Whether the terminal is ours now: it is given back once.
static IS_OURS: AtomicBool = AtomicBool::new(false);

/// A terminal that is ours until it is dropped, or something panics.
pub(super) struct Terminal {
    look: Look,
    /// What is there now; `None` where that is not known.
    drawn: Option<Frame>,
}

impl Terminal {
    /// Takes it over.
    pub(super) fn enter() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let told = panic::take_hook();
            panic::set_hook(Box::new(move |panic| {
                // What is said of the panic is to be seen afterwards.
                give_back();
                told(panic);
            }));
        });
        take_over()?;
        Ok(Self {
            look: Look {
                has_colours: output::colours_are_wanted(),
                has_utf8: output::has_utf8(),
            },
            drawn: None,
        })
    }

    /// Draws what has changed.
    pub(super) fn draw(&mut self, top: &mut Top) -> io::Result<()> {
        let (columns, rows) = terminal::size()?;
        let (frame, scrolled) = view::draw(top, usize::from(columns), usize::from(rows));
        top.scrolled = scrolled;
        let written = frame.written(self.drawn.as_ref(), self.look);
        self.drawn = Some(frame);
        let mut stdout = io::stdout().lock();
        stdout.write_all(written.as_bytes())?;
        stdout.flush()
    }

    /// All of it is drawn next time.
    pub(super) fn forget(&mut self) {
        self.drawn = None;
    }

    /// Gives it back, stops, and takes it over again once it is told to go on.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        give_back();
        kill_process(getpid(), Signal::STOP)?;
        self.forget();
        take_over()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

fn take_over() -> io::Result<()> {
    IS_OURS.store(true, Ordering::SeqCst);
    let taken =
        terminal::enable_raw_mode().and_then(|()| execute!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide));
    if taken.is_err() {
        give_back();
    }
    taken
}

/// As far as that is possible: the terminal may have gone.
fn give_back() {
    if IS_OURS.swap(false, Ordering::SeqCst) {
        let _ = execute!(io::stdout(), cursor::Show, terminal::LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

/// Tells of keys, sizes and signals from now on.
pub(super) fn listen(told: mpsc::Sender<Told>) -> io::Result<()> {
    let listen = |kinds: &[Signal]| -> io::Result<Vec<_>> {
        let kinds = kinds.iter().map(|kind| SignalKind::from_raw(kind.as_raw()));
        kinds.map(signal).collect()
    };
    for (kinds, what) in [
        (&ENDING[..], Told::Quit),
        (&[Signal::TSTP][..], Told::Suspend),
        // Whoever was stopped by a signal that nobody can ask for finds the terminal as others have left it.
        (&[Signal::CONT][..], Told::Resized),
    ] {
        let mut signals = listen(kinds)?;
        let told = told.clone();
        tokio::spawn(async move {
            loop {
                poll_fn(|context| {
                    let has_come = signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
                    if has_come { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                if told.send(what).await.is_err() {
                    return;
                }
            }
        });
    }
    // It waits in a read, and ends with the process.
    std::thread::spawn(move || {
        loop {
            let what = match event::read() {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => Told::Key(key),
                Ok(Event::Resize(..)) => Told::Resized,
                Ok(_) => continue,
                Err(_) => Told::Quit,
            };
            if told.blocking_send(what).is_err() || matches!(what, Told::Quit) {
                return;
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    //! A terminal of the kernel's, with this test's own program on it.
    use std::{
        fs::{File, OpenOptions},
        io::Read as _,
        process::Command,
    };

    use rustix::{
        pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
        termios::{LocalModes, tcgetattr},
    };

    use super::*;

    /// Said by the panic.
    const SAID: &str = "a panic on purpose";
    /// Set for the program on the terminal, which is this test again.
    const ON_TERMINAL: &str = "RESMGR_TEST_ON_TERMINAL";

    #[test]
    fn a_panic_gives_the_terminal_back_before_it_is_told_of() {
        if std::env::var_os(ON_TERMINAL).is_some() {
            let _terminal = Terminal::enter().unwrap();
            panic!("{SAID}");
        }
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let open = || OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let terminal = open();
        let before = tcgetattr(&terminal).unwrap();
        assert!(before.local_modes.contains(LocalModes::ECHO | LocalModes::ICANON));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--nocapture", "a_panic_gives_the_terminal_back"])
            .env(ON_TERMINAL, "1")
            .stdin(open())
            .stdout(open())
            .stderr(open())
            .spawn()
            .unwrap();
        let mut written = String::new();
        let mut master = File::from(master);
        let mut part = [0; 4096];
        while !written.contains(SAID) || !written.contains("test result") {
            let read = master.read(&mut part).unwrap();
            written.push_str(&String::from_utf8_lossy(&part[..read]));
        }
        assert!(!child.wait().unwrap().success());
        let at = |what: &str| {
            written
                .find(what)
                .unwrap_or_else(|| panic!("{what:?} is not in {written:?}"))
        };
        assert!(at("\x1b[?1049h") < at("\x1b[?1049l"), "{written:?}");
        assert!(
            at("\x1b[?25h") < at(SAID) && at("\x1b[?1049l") < at(SAID),
            "{written:?}"
        );
        assert_eq!(written.matches("\x1b[?1049l").count(), 1, "{written:?}");
        let after = tcgetattr(&terminal).unwrap();
        assert_eq!(after.local_modes, before.local_modes);
    }
}
