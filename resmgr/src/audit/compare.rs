//! Judges: each number that was shown, between the truth before and the truth after.
//!
//! A number that changes may have been anything in between: 3 before, 150 when the agent looked, 3 after. So what lies
//! outside is looked at again, and judged by all that was ever seen of it. A number at rest stays wrong at every look; one
//! that moves is soon seen where the agent saw it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use super::{Audit, Beyond, Guarded, Quantity, Truth, Truths};

/// Whose number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The process with this pid.
    Process(u32),
    /// The tool of this instance.
    Tool(u64),
}

/// What the agent showed of a process, or of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Who it is.
    pub subject: Subject,
    /// Who it is, for a person.
    pub name: String,
    /// The processes: one, or a tool's.
    pub pids: Vec<u32>,
    /// The numbers.
    pub values: BTreeMap<Quantity, u64>,
}

/// What the agent showed, with the truth before and after.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    /// What it showed.
    pub shown: &'a [Shown],
    /// The truth before.
    pub before: &'a Truths,
    /// The truth after.
    pub after: &'a Truths,
    /// What cgroups of tools were charged with before and after, in bytes, by instance; those that tell.
    pub charged: &'a BTreeMap<u64, (u64, u64)>,
    /// Whether two threads share a descriptor table.
    pub share_descriptors: fn(u32, u32) -> io::Result<bool>,
}

/// A subject as a look found it: name and first pid, the numbers shown, the truth before and after.
struct Met {
    name: String,
    pid: u32,
    values: BTreeMap<Quantity, u64>,
    truth: Option<(Truth, Truth)>,
}

impl Look<'_> {
    /// Every subject; without a truth where it came or went in between.
    fn subjects(&self) -> BTreeMap<Subject, Met> {
        let mut met: BTreeMap<Subject, Met> = self.shown.iter().map(|shown| self.meet(shown)).collect();
        // Processes that were there all the time, and are not shown.
        for (&pid, before) in self.before {
            if let Some(after) = self.after.get(&pid).filter(|after| after.started == before.started) {
                met.entry(Subject::Process(pid)).or_insert_with(|| Met {
                    name: before.comm.clone(),
                    pid,
                    values: BTreeMap::from([(Quantity::Processes, 0)]),
                    truth: Some((before.clone(), after.clone())),
                });
            }
        }
        for guarded in self.guarded() {
            met.remove(&Subject::Process(guarded.pid));
        }
        met
    }

    /// The processes that nobody may look into: there is nothing to compare with.
    fn guarded(&self) -> Vec<Guarded> {
        let guarded = self.before.iter().filter(|(_, truth)| truth.is_guarded);
        let is_shown = |pid| self.shown.iter().any(|shown| shown.subject == Subject::Process(pid));
        let report = |(&pid, truth): (&u32, &Truth)| Guarded {
            pid,
            name: truth.comm.clone(),
            shown: is_shown(pid),
        };
        guarded.map(report).collect()
    }

    fn meet(&self, shown: &Shown) -> (Subject, Met) {
        let mut met = Met {
            name: shown.name.clone(),
            pid: shown.pids.first().copied().unwrap_or(0),
            values: shown.values.clone(),
            truth: None,
        };
        let both = (self.together(self.before, shown), self.together(self.after, shown));
        met.truth = match (shown.subject, both) {
            (Subject::Tool(instance), (Some(mut before), Some(mut after))) => {
                let charged = self.charged.get(&instance).copied().unzip();
                (before.charged_bytes, after.charged_bytes) = charged;
                Some((before, after))
            }
            (_, (Some(before), Some(after))) if before.started == after.started => Some((before, after)),
            (Subject::Process(_), (None, None)) => {
                // Born and gone in between, or shown although it is not there.
                met.values.retain(|&quantity, _| quantity == Quantity::Processes);
                Some(Default::default())
            }
            _ => None,
        };
        (shown.subject, met)
    }

    /// A process's truth, or sums over a tool's processes: each table and connection once.
    fn together(&self, truths: &Truths, shown: &Shown) -> Option<Truth> {
        if let (Subject::Process(_), [pid]) = (shown.subject, &shown.pids[..]) {
            return truths.get(pid).cloned();
        }
        let mut sum = Truth {
            cpu_ns: Some(0),
            anon_bytes: Some(0),
            ..Truth::default()
        };
        for pid in &shown.pids {
            let truth = truths.get(pid)?;
            sum.threads += truth.threads;
            sum.cpu_ns = sum.cpu_ns.zip(truth.cpu_ns).map(|(a, b)| a + b);
            sum.anon_bytes = sum.anon_bytes.zip(truth.anon_bytes).map(|(a, b)| a + b);
            sum.connections.extend(&truth.connections);
            for &(thread, fds) in &truth.tables {
                let shares = |&(other, _): &(u32, u64)| (self.share_descriptors)(thread, other).unwrap_or(false);
                if !sum.tables.iter().any(shares) {
                    sum.tables.push((thread, fds));
                }
            }
        }
        Some(sum)
    }
}

/// A number, and all that was seen of it.
#[derive(Clone, Debug)]
struct Number {
    name: String,
    pid: u32,
    before: u64,
    shown: u64,
    after: u64,
    /// The least and the most that the truth was seen to be.
    low: u64,
    high: u64,
    threads: u64,
    looks: u32,
}

impl Number {
    fn of(quantity: Quantity, shown: u64, met: &Met) -> Option<Self> {
        let (before, after) = met.truth.as_ref()?;
        let threads = before.threads.max(after.threads);
        let (before, after) = (quantity.of(before)?, quantity.of(after)?);
        Some(Self {
            name: met.name.clone(),
            pid: met.pid,
            before,
            shown,
            after,
            low: before.min(after),
            high: before.max(after),
            threads,
            looks: 1,
        })
    }

    fn is_quiet(&self) -> bool {
        self.low == self.high
    }

    /// How far outside of what was seen it is.
    fn outside(&self, quantity: Quantity) -> u64 {
        let above = if quantity.may_exceed() {
            0
        } else {
            self.shown.saturating_sub(self.high)
        };
        above.max(self.low.saturating_sub(self.shown))
    }

    fn is_beyond(&self, quantity: Quantity) -> bool {
        let outside = self.outside(quantity);
        if self.is_quiet() || self.shown > self.high {
            outside > 0
        } else {
            // A tick for each thread that may run.
            outside > quantity.slack() * self.threads.max(1)
        }
    }
}

/// One comparison of everything, with second looks at what was outside.
pub struct Round {
    numbers: BTreeMap<(Subject, Quantity), Number>,
    /// What was outside at first.
    doubted: BTreeSet<(Subject, Quantity)>,
    /// The processes of each subject, as they were last shown.
    pids: BTreeMap<Subject, Vec<u32>>,
    left_out: u64,
    guarded: Vec<Guarded>,
}

impl Round {
    /// Compares everything.
    pub fn begin(look: Look<'_>) -> Self {
        let mut round = Self {
            numbers: BTreeMap::new(),
            doubted: BTreeSet::new(),
            pids: BTreeMap::new(),
            left_out: 0,
            guarded: look.guarded(),
        };
        for (subject, met) in look.subjects() {
            round.left_out += u64::from(met.truth.is_none());
            for (&quantity, &shown) in &met.values {
                if let Some(number) = Number::of(quantity, shown, &met) {
                    if number.is_beyond(quantity) {
                        round.doubted.insert((subject, quantity));
                    }
                    round.numbers.insert((subject, quantity), number);
                }
            }
        }
        round.note_pids(look.shown);
        round
    }

    fn note_pids(&mut self, shown: &[Shown]) {
        self.pids
            .extend(shown.iter().map(|shown| (shown.subject, shown.pids.clone())));
    }

    /// The processes that are to be looked at again.
    pub fn doubted_pids(&self) -> BTreeSet<u32> {
        let mut pids = BTreeSet::new();
        for (subject, _) in self.still_beyond() {
            if let Subject::Process(pid) = subject {
                pids.insert(pid);
            }
            pids.extend(self.pids.get(&subject).into_iter().flatten());
        }
        pids
    }

    fn still_beyond(&self) -> impl Iterator<Item = (Subject, Quantity)> + '_ {
        let is_beyond = |&(subject, quantity): &(Subject, Quantity)| {
            let number = self.numbers.get(&(subject, quantity));
            number.is_some_and(|number| number.is_beyond(quantity))
        };
        self.doubted.iter().copied().filter(is_beyond)
    }

    /// Judges again what is still beyond its bound.
    pub fn look_again(&mut self, look: Look<'_>) {
        let met = look.subjects();
        for key in self.still_beyond().collect::<Vec<_>>() {
            let (subject, quantity) = key;
            let again = met.get(&subject).and_then(|met| {
                let shown = met.values.get(&quantity).copied()?;
                Number::of(quantity, shown, met)
            });
            let (Some(number), Some(mut again)) = (self.numbers.get_mut(&key), again) else {
                continue;
            };
            again.looks = number.looks + 1;
            if !quantity.is_cpu_time() {
                again.low = again.low.min(number.low);
                again.high = again.high.max(number.high);
            }
            *number = again;
        }
        self.note_pids(look.shown);
    }

    /// Adds what this round came to.
    pub fn finish(self, audit: &mut Audit) {
        let subjects: BTreeSet<Subject> = self.numbers.keys().map(|&(subject, _)| subject).collect();
        let tools = subjects.iter().filter(|subject| matches!(subject, Subject::Tool(_)));
        let tools = tools.count() as u64;
        audit.rounds += 1;
        audit.tools += tools;
        audit.processes += subjects.len() as u64 - tools;
        audit.left_out += self.left_out;
        for guarded in self.guarded {
            if !audit.guarded.iter().any(|known| known.pid == guarded.pid) {
                audit.guarded.push(guarded);
            }
        }
        for ((subject, quantity), number) in self.numbers {
            let Some(compared) = audit.quantities.iter_mut().find(|c| c.quantity == quantity) else {
                continue;
            };
            let is_doubted = self.doubted.contains(&(subject, quantity));
            let is_beyond = number.is_beyond(quantity);
            if is_beyond && number.looks == 1 {
                compared.unconfirmed += 1;
                audit.left_out += u64::from(quantity == Quantity::Processes);
                continue;
            }
            compared.compared += 1;
            compared.settled += u64::from(is_doubted && !is_beyond);
            let outside = number.outside(quantity);
            if number.is_quiet() {
                compared.add_quiet(outside);
            } else {
                compared.largest_changing = compared.largest_changing.max(outside);
            }
            if is_beyond {
                audit.ok = false;
                compared.beyond.push(Beyond {
                    pid: number.pid,
                    name: number.name,
                    before: number.before,
                    shown: number.shown,
                    after: number.after,
                    looks: number.looks,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
