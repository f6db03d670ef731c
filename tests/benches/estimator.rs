//! What the estimator costs and how it does: nanoseconds of CPU a sample and bytes a series over 4,000 series at once, and the
//! scores of docs/learning.md over the series in `tests/data/series`, or in the folder that `RESMGR_SERIES` names.
//! With `RESMGR_PRIORS=1`, the table of `adapt/priors.rs` as those series make it. Prints; judges nothing.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot measure has nothing to print")]
#![expect(clippy::cast_precision_loss, reason = "counts of rows and series are small")]

use std::{env, fs, hint::black_box, path::PathBuf};

use chrono::DateTime;
use resmgr::{
    adapt::{EXPERTS, Estimator, Quantity},
    model::{Timestamp, Tuning},
    pattern::season,
};
use rustix::time::{ClockId, clock_gettime};

/// How many series there are at once, and how many samples each gets.
const SERIES: usize = 4000;
const SAMPLES: u64 = 2000;
const SECOND: u64 = 1_000_000_000;
/// Rows before those that count.
const WARM_UP: usize = 12;

struct Series {
    name: String,
    quantity: Quantity,
    floor: f64,
    rows: Vec<f64>,
}

/// Shares of a need that are not used, of samples beyond it, of samples at which it changed.
type Rates = [f64; 3];

fn at(samples: u64) -> Timestamp {
    Timestamp {
        monotonic_ns: samples * SECOND,
        wall: DateTime::from_timestamp_nanos(i64::try_from(samples * SECOND).unwrap()),
    }
}

fn main() {
    let series = read();
    if env::var_os("RESMGR_PRIORS").is_some() {
        priors(&series);
        return;
    }
    cost(&series);
    season_cost();
    scores(&series);
}

/// The series, each with its floor: that of a manifest beside them, or a thousandth of the highest.
fn read() -> Vec<Series> {
    let folder = env::var_os("RESMGR_SERIES").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/data/series")),
        PathBuf::from,
    );
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "csv"));
    paths.sort();
    let manifest = fs::read_to_string(folder.join("../manifest.csv")).unwrap_or_default();
    let of_manifest = |name: &str| {
        let line = manifest.lines().find(|line| line.split(',').next() == Some(name))?;
        let fields: Vec<&str> = line.split(',').collect();
        // Those that somebody made up teach nothing.
        (fields[1] != "art").then(|| fields[6].parse().unwrap())
    };
    let mut series = Vec::new();
    for path in paths {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let rows: Vec<f64> = text
            .lines()
            .skip(1)
            .map(|line| line.split_once(',').unwrap().1.parse().unwrap())
            .collect();
        let highest = rows.iter().copied().fold(0.0, f64::max);
        let floor = match of_manifest(&name) {
            Some(floor) => floor,
            None if manifest.is_empty() => highest / 1000.0,
            None => continue,
        };
        let is_stock = ["memory", "memfrac", "fds", "tasks"]
            .iter()
            .any(|kind| name.ends_with(kind));
        let quantity = if is_stock { Quantity::Stock } else { Quantity::Flow };
        series.push(Series {
            name,
            quantity,
            floor,
            rows,
        });
    }
    series
}

/// This thread's, in seconds: what others do on a shared machine is not measured with it.
fn cpu_time() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// 4,000 series take a sample each in turn, as in an agent: none finds the last one's state in the nearest cache.
fn cost(series: &[Series]) {
    let mut all: Vec<Estimator> = (0..SERIES)
        .map(|at| {
            let of = &series[at % series.len()];
            Estimator::new(of.quantity, Tuning::Calm, of.floor, SECOND)
        })
        .collect();
    let started = cpu_time();
    for sample in 0..SAMPLES {
        let now = at(sample);
        for (place, estimator) in all.iter_mut().enumerate() {
            let rows = &series[place % series.len()].rows;
            let row = (usize::try_from(sample).unwrap() + place) % rows.len();
            black_box(estimator.observe(now, rows[row]));
        }
    }
    let each = 1e9 * (cpu_time() - started) / (SERIES as f64 * SAMPLES as f64);
    let bytes = size_of::<Estimator>();
    println!("{SERIES} series of {SAMPLES} samples   {each:6.1} ns a sample      aim 150");
    println!("state of a series                {bytes:6} bytes, none on the heap   aim 1536");
}

fn season_cost() {
    let history: Vec<f32> = (0..season::LONGEST).map(|at| (at % 288) as f32).collect();
    let started = cpu_time();
    for _ in 0..20 {
        black_box(season::find(black_box(&history)));
    }
    let each = 1e6 * (cpu_time() - started) / 20.0;
    println!(
        "a look for a season in {} samples  {each:6.0} µs, in the background",
        season::LONGEST
    );
}

fn scores(series: &[Series]) {
    println!(
        "\n{:<44} slack %  breaches  changes /1000 at calm, balanced, safe",
        "series"
    );
    let mut sums = [[0.0; 3]; 3];
    for one in series {
        print!("{:<44}", one.name);
        for (tuning, sums) in [Tuning::Calm, Tuning::Balanced, Tuning::Safe]
            .into_iter()
            .zip(&mut sums)
        {
            let scored = score(one, tuning);
            print!("  {:5.1} {:5.2} {:5.2}", scored[0], scored[1], scored[2]);
            for (sum, scored) in sums.iter_mut().zip(scored) {
                *sum += scored / series.len() as f64;
            }
        }
        println!();
    }
    print!("{:<44}", "mean");
    for [slack, beyond, changes] in sums {
        print!("  {slack:5.1} {beyond:5.2} {changes:5.2}");
    }
    println!();
}

/// Slack in percent, and breaches and changes in a thousand rows.
fn score(series: &Series, tuning: Tuning) -> Rates {
    let mut estimator = Estimator::new(series.quantity, tuning, series.floor, SECOND);
    let warm_up = WARM_UP.min(series.rows.len() / 10);
    let (mut idle, mut reserved, mut beyond, mut changes, mut before) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (row, used) in series.rows.iter().enumerate() {
        let need = estimator.need().value;
        if row >= warm_up {
            idle += (need - used).max(0.0);
            reserved += need;
            beyond += f64::from(u8::from(*used > need));
            changes += f64::from(u8::from((need - before).abs() > 1e-6 * before));
        }
        before = need;
        estimator.observe(at(u64::try_from(row).unwrap()), *used);
    }
    let rows = (series.rows.len() - warm_up) as f64;
    [100.0 * idle / reserved, 1000.0 * beyond / rows, 1000.0 * changes / rows]
}

/// What each expert costs, by what the series are of.
fn priors(series: &[Series]) {
    for quantity in [Quantity::Stock, Quantity::Flow] {
        let of: Vec<&Series> = series.iter().filter(|one| one.quantity == quantity).collect();
        let mut rates = [[0.0; 3]; EXPERTS];
        for one in &of {
            let mut estimator = Estimator::new(one.quantity, Tuning::Calm, one.floor, SECOND);
            let share = 1.0 / ((one.rows.len() - WARM_UP) as f64 * of.len() as f64);
            let mut before = [0.0; EXPERTS];
            for (row, used) in one.rows.iter().enumerate() {
                let each = estimator.each().map(f64::from);
                for ((rates, need), before) in rates.iter_mut().zip(each).zip(before) {
                    if row >= WARM_UP {
                        rates[0] += share * (1.0 - used / need).max(0.0);
                        rates[1] += share * f64::from(u8::from(*used > need));
                        rates[2] += share * f64::from(u8::from((need - before).abs() > 1e-6 * need));
                    }
                }
                before = each;
                estimator.observe(at(u64::try_from(row).unwrap()), *used);
            }
        }
        println!("// {quantity:?}, of {} series", of.len());
        for [idle, beyond, changed] in rates {
            println!("    [{idle:.3}, {beyond:.4}, {changed:.4}],");
        }
    }
}
