//! Stands between two that talk by standard streams: `tee FOLDER COMMAND…` passes on what each says, and writes it down in
//! FOLDER/asked and FOLDER/answered. It changes nothing, and ends as the command ends.

use std::{
    env,
    fs::File,
    io::{self, Read, Write},
    os::{fd::AsFd as _, unix::process::ExitStatusExt as _},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    thread,
};

fn main() -> io::Result<ExitCode> {
    let mut words = env::args_os().skip(1);
    let (Some(folder), Some(program)) = (words.next().map(PathBuf::from), words.next()) else {
        eprintln!("tee FOLDER COMMAND…");
        return Ok(ExitCode::from(2));
    };
    let asked = File::create(folder.join("asked"))?;
    let answered = File::create(folder.join("answered"))?;
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (to, from) = (child.stdin.take(), child.stdout.take());
    thread::spawn(move || pass(io::stdin().lock(), asked, to));
    let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    if let Some(from) = from {
        pass(from, answered, Some(out))?;
    }
    let status = child.wait()?;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(ExitCode::from(
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
    ))
}

/// Until nothing more comes. What nobody takes was said all the same.
fn pass(mut from: impl Read, mut record: File, mut to: Option<impl Write>) -> io::Result<()> {
    let mut chunk = vec![0; 1 << 16];
    loop {
        let read = from.read(&mut chunk)?;
        let Some(said @ [_, ..]) = chunk.get(..read) else {
            return Ok(());
        };
        record.write_all(said)?;
        if to.as_mut().is_some_and(|to| to.write_all(said).is_err()) {
            to = None;
        }
    }
}
