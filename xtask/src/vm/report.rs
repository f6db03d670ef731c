//! Reads what a virtual machine wrote to its serial line, and judges it. Starts nothing and reads no file.

use super::machine::Ended;

/// What begins the lines that init.sh writes.
const MARK: &str = "@vm ";
const SUMMARY: &str = "test result: ";
/// Lines shown of what failed.
const TAIL: usize = 60;

/// What a serial log tells.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The kernel, as it names itself.
    pub(super) release: Option<String>,
    /// Each test binary that was begun, in order.
    pub(super) runs: Vec<Run>,
    /// Test binaries that had a second turn, each with what failed in its first.
    pub(super) again: Vec<(String, Vec<String>)>,
    /// What the kernel reported of itself that no sound kernel does.
    complaints: Vec<String>,
    panicked: bool,
    done: bool,
    /// What no test wrote.
    rest: Vec<String>,
}

/// A test binary's run.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// The binary's name.
    pub(super) name: String,
    /// Its exit status, where it ended.
    status: Option<i32>,
    /// What it wrote.
    output: Vec<String>,
    /// Its own closing line.
    pub(super) summary: Option<String>,
}

impl Run {
    /// What it wrote.
    pub(super) fn output(&self) -> impl Iterator<Item = &str> {
        self.output.iter().map(String::as_str)
    }

    /// Whether it ended, and said that all is well.
    pub(super) fn has_ended_well(&self) -> bool {
        self.status == Some(0)
    }
}

impl Report {
    /// Reads a serial log, whole or cut short.
    pub(super) fn read(log: &str) -> Self {
        let mut report = Self::default();
        for line in log.lines().map(printable) {
            report.panicked |= line.contains("Kernel panic");
            match line.split_once(MARK) {
                Some((before, mark)) => report.mark(before, mark),
                None => report.line(line),
            }
        }
        report
    }

    fn mark(&mut self, before: &str, mark: &str) {
        // A test that was killed may have left a line without its end.
        if !before.is_empty() {
            self.line(before.to_owned());
        }
        let (word, rest) = mark.split_once(' ').unwrap_or((mark, ""));
        match word {
            "kernel" => self.release = Some(rest.to_owned()),
            "begin" => self.runs.push(Run {
                name: rest.to_owned(),
                ..Run::default()
            }),
            "again" => {
                if let Some(run) = self.runs.last_mut() {
                    let first = std::mem::take(run);
                    let failed = first.output().filter(|line| line.ends_with("... FAILED"));
                    self.again
                        .push((first.name.clone(), failed.map(str::to_owned).collect()));
                    run.name = first.name;
                }
            }
            "end" => {
                let status = rest.rsplit_once(' ').and_then(|(_, status)| status.parse().ok());
                if let Some(run) = self.runs.last_mut() {
                    run.status = status;
                }
            }
            "complaint" => self.complaints.push(rest.to_owned()),
            "done" => self.done = true,
            _ => {}
        }
    }

    fn line(&mut self, line: String) {
        match self.runs.last_mut().filter(|run| run.status.is_none()) {
            Some(run) => {
                if line.starts_with(SUMMARY) {
                    run.summary = Some(line.clone());
                }
                run.output.push(line);
            }
            None => self.rest.push(line),
        }
    }

    /// Whether any test was begun: before, the machine is to blame.
    pub(super) fn has_begun(&self) -> bool {
        !self.runs.is_empty()
    }

    /// Whether init came to its end.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Tests that passed, by the runners' own count.
    pub(super) fn passed(&self) -> u32 {
        self.count("passed")
    }

    /// Tests that failed, by the runners' own count.
    pub(super) fn failed(&self) -> u32 {
        self.count("failed")
    }

    fn count(&self, word: &str) -> u32 {
        let summaries = self.runs.iter().filter_map(|run| run.summary.as_deref());
        summaries.filter_map(|line| number_before(line, word)).sum()
    }

    /// What is wrong, in a few words; nothing, where all passed.
    pub(super) fn failure(&self, ended: Ended) -> Option<String> {
        let failed: Vec<&str> = self
            .runs
            .iter()
            .filter(|run| run.status.is_some() && !run.has_passed())
            .map(|run| run.name.as_str())
            .collect();
        if !self.done {
            let at = match self.runs.iter().find(|run| run.status.is_none()) {
                Some(run) => format!("while {} ran", run.name),
                None if self.has_begun() => "between two tests".to_owned(),
                None => "before any test ran".to_owned(),
            };
            return Some(match ended {
                _ if self.panicked => format!("the kernel panicked {at}"),
                Ended::Off => format!("the machine went off {at}"),
                Ended::Silent(limit) => format!("nothing was written for {} s {at}", limit.as_secs()),
                Ended::TooLong(limit) => format!("{} s were over {at}", limit.as_secs()),
            });
        }
        if self.runs.is_empty() {
            return Some("there was no test to run".to_owned());
        }
        if !failed.is_empty() {
            return Some(format!("failed: {}", failed.join(", ")));
        }
        if self.passed() == 0 {
            return Some("no test has that in its name".to_owned());
        }
        let complaint = self.complaints.first()?;
        Some(format!("the kernel complains: {complaint}"))
    }

    /// The last lines of what failed; of the whole, where no test did.
    pub(super) fn evidence(&self) -> Vec<&str> {
        let of_runs = self.runs.iter().filter(|run| !run.has_passed());
        let mut lines: Vec<&str> = of_runs.flat_map(|run| tail(&run.output)).collect();
        if lines.is_empty() {
            lines = tail(&self.rest).collect();
        }
        lines.extend(self.complaints.iter().map(String::as_str));
        lines
    }
}

impl Run {
    /// An exit status alone does not tell: a binary may end with 0 before its runner has closed.
    fn has_passed(&self) -> bool {
        self.status == Some(0) && self.summary.as_deref().is_some_and(|line| line.contains(": ok."))
    }
}

fn tail(lines: &[String]) -> impl Iterator<Item = &str> {
    lines[lines.len().saturating_sub(TAIL)..].iter().map(String::as_str)
}

/// `9` of `test result: ok. 9 passed; 0 failed`, before `passed`.
fn number_before(line: &str, word: &str) -> Option<u32> {
    let (before, _) = line.split_once(&format!(" {word}"))?;
    before.rsplit(' ').next()?.parse().ok()
}

/// A line without what moves a terminal's cursor: the firmware clears the screen.
fn printable(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, escape)) = rest.split_once('\x1b') {
        text.push_str(before);
        let sequence = escape.strip_prefix('[').unwrap_or(escape);
        let end = sequence.find(|c: char| c.is_ascii_alphabetic());
        rest = end.map_or("", |end| &sequence[end + 1..]);
    }
    text.push_str(rest);
    text.retain(|c| !c.is_control() || c == '\t');
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BOOT: &str = "\x1bc\x1b[?7l\x1b[2JSeaBIOS\r\n@vm kernel 6.1.0-50-cloud-amd64\r\n";

    fn run(name: &str, passed: u32, failed: u32, status: i32) -> String {
        let word = if failed == 0 { "ok" } else { "FAILED" };
        format!(
            "@vm begin {name}\r\n\r\nrunning {} tests\r\ntest result: {word}. {passed} passed; {failed} failed; 1 ignored; \
             0 measured; 0 filtered out; finished in 1.00s\r\n\r\n@vm end {name} {status}\r\n",
            passed + failed
        )
    }

    fn log(parts: &[&str]) -> Report {
        Report::read(&format!("{BOOT}{}", parts.concat()))
    }

    #[test]
    fn a_log_of_tests_that_passed_has_no_failure() {
        let report = log(&[&run("numbers", 9, 0, 0), &run("trouble", 25, 0, 0), "@vm done\r\n"]);
        assert_eq!(report.release.as_deref(), Some("6.1.0-50-cloud-amd64"));
        assert_eq!((report.passed(), report.failed()), (34, 0));
        assert_eq!(report.failure(Ended::Off), None);
        let summary = report.runs[0].summary.as_deref().unwrap();
        assert!(summary.starts_with("test result: ok. 9 passed") && summary.ends_with("1.00s"));
        assert!(report.evidence().contains(&"SeaBIOS"));
    }

    #[test]
    fn a_second_turn_counts_in_place_of_the_first_which_is_told() {
        let first = "@vm begin luck\r\ntest one_that_waited ... FAILED\r\n@vm end luck 101\r\n@vm again luck\r\n";
        let second = run("luck", 7, 0, 0).replacen("@vm begin luck\r\n", "", 1);
        let report = log(&[&run("numbers", 9, 0, 0), first, &second, "@vm done\r\n"]);
        assert_eq!(
            (report.passed(), report.failed(), report.failure(Ended::Off)),
            (16, 0, None)
        );
        assert_eq!(
            report.again,
            [("luck".to_owned(), vec!["test one_that_waited ... FAILED".to_owned()])]
        );
        let second = run("luck", 6, 1, 101).replacen("@vm begin luck\r\n", "", 1);
        let report = log(&[first, &second, "@vm done\r\n"]);
        assert!(report.failure(Ended::Off).is_some(), "twice is enough");
    }

    #[test]
    fn a_test_that_failed_is_named_and_shown() {
        let report = log(&[&run("numbers", 8, 1, 101), &run("trouble", 25, 0, 0), "@vm done\r\n"]);
        assert_eq!(report.failure(Ended::Off).as_deref(), Some("failed: numbers"));
        assert_eq!((report.passed(), report.failed()), (33, 1));
        let evidence = report.evidence();
        assert!(evidence.contains(&"running 9 tests") && !evidence.contains(&"running 25 tests"));
    }

    #[test]
    fn a_binary_that_ends_without_a_result_has_failed() {
        let report = log(&["@vm begin numbers\r\nhalf a line@vm end numbers 0\r\n@vm done\r\n"]);
        assert_eq!(report.failure(Ended::Off).as_deref(), Some("failed: numbers"));
        assert_eq!(report.evidence(), ["half a line"]);
    }

    #[test]
    fn an_end_that_is_none_says_where_it_came() {
        let before = Report::read("\x1b[2JSeaBIOS\r\n[ 1.2] Kernel panic - not syncing\r\n");
        let said = before.failure(Ended::Off);
        assert_eq!(said.as_deref(), Some("the kernel panicked before any test ran"));
        assert!(!before.has_begun());

        let amid = log(&[&run("numbers", 9, 0, 0), "@vm begin trouble\r\nrunning 25 tests\r\n"]);
        let said = amid.failure(Ended::Silent(Duration::from_secs(90)));
        assert_eq!(said.as_deref(), Some("nothing was written for 90 s while trouble ran"));
        assert_eq!(amid.evidence(), ["running 25 tests"]);
        assert_eq!(amid.passed(), 9);

        let off = log(&[&run("numbers", 9, 0, 0)]);
        let said = off.failure(Ended::Off);
        assert_eq!(said.as_deref(), Some("the machine went off between two tests"));
    }

    #[test]
    fn no_tests_and_a_kernel_that_complains_are_failures() {
        assert!(log(&["@vm done\r\n"]).failure(Ended::Off).is_some());
        let none = log(&[&run("numbers", 0, 0, 0), "@vm done\r\n"]);
        let said = none.failure(Ended::Off);
        assert_eq!(said.as_deref(), Some("no test has that in its name"));
        let report = log(&[
            &run("numbers", 9, 0, 0),
            "@vm complaint [ 9.1] WARNING: CPU: 1 PID: 7\r\n@vm done\r\n",
        ]);
        let said = report.failure(Ended::Off).unwrap();
        assert!(said.contains("WARNING: CPU: 1"), "{said}");
    }
}
