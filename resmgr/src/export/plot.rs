//! Plots as SVG: lines over time, an area under one, a band, marks. Pure: values in, text out. Colours are the page's, by class.

use std::fmt::Write as _;

/// Size of a plot in its own units, and what of it is left for numbers and times.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 54.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 22.0;
/// Points of a line at most: more are not to be told apart.
const POINTS: usize = 360;
/// A line is broken where its next point is this many times as far away as usual.
const GAP: f64 = 6.0;

/// One line.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// What it is.
    pub name: &'static str,
    /// The class that gives its colour.
    pub class: &'static str,
    /// Times in seconds and values, in the order of time.
    pub points: Vec<(f64, f64)>,
    /// It holds its value until the next one.
    pub is_stepped: bool,
    /// What is under it is filled.
    pub is_filled: bool,
}

/// What is expected to come: times in seconds, and the interval and the middle of it.
#[derive(Clone, Copy, Debug)]
pub struct Ahead {
    /// When.
    pub at: f64,
    /// The lower end.
    pub low: f64,
    /// The most likely.
    pub point: f64,
    /// The upper end.
    pub high: f64,
}

/// A plot over time.
pub struct Plot<'a> {
    /// What it shows, for who cannot see it.
    pub label: String,
    /// The lines, the first one below the others.
    pub lines: Vec<Line>,
    /// What is expected after them.
    pub ahead: Vec<Ahead>,
    /// Moments, and what was done then.
    pub marks: Vec<(f64, String)>,
    /// A value in its unit.
    pub value: &'a dyn Fn(f64) -> String,
    /// A time as it is read.
    pub time: &'a dyn Fn(f64) -> String,
    /// Steps between round values go up by this: ten, or two to the tenth.
    pub round: Round,
}

/// Which values are round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// 1, 2 and 5 of each power of ten.
    Decimal,
    /// Powers of two.
    Binary,
}

/// Text as it stands in HTML and SVG.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// From values to places on the plot.
struct Scale {
    from: f64,
    span: f64,
    top: f64,
}

impl Scale {
    fn x(&self, at: f64) -> f64 {
        LEFT + (at - self.from) / self.span * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let share = (value / self.top).clamp(0.0, 1.0);
        TOP + (1.0 - share) * (HEIGHT - TOP - BOTTOM)
    }
}

impl Plot<'_> {
    /// The plot; `None` where there is nothing to be seen.
    pub fn svg(&self) -> Option<String> {
        let times = || {
            let of_lines = self.lines.iter().flat_map(|line| &line.points).map(|(at, _)| *at);
            of_lines.chain(self.ahead.iter().map(|ahead| ahead.at))
        };
        let (first, last) = (times().fold(f64::MAX, f64::min), times().fold(f64::MIN, f64::max));
        if first > last {
            return None;
        }
        let values = self.lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
        let most = values
            .chain(self.ahead.iter().map(|ahead| ahead.high))
            .fold(0.0, f64::max);
        let step = self.step(most.max(f64::MIN_POSITIVE) / 4.0);
        let top = (most / step).ceil().max(1.0) * step;
        let scale = Scale {
            from: first,
            span: (last - first).max(1.0),
            top,
        };
        let mut svg = format!(
            r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}">"#,
            escaped(&self.label)
        );
        self.axes(&mut svg, &scale, step);
        self.band(&mut svg, &scale);
        for line in &self.lines {
            drawn(&mut svg, line, &scale);
        }
        for (at, what) in self.marks.iter().filter(|(at, _)| (first..=last).contains(at)) {
            let x = scale.x(*at);
            let _ = write!(
                svg,
                r#"<path class="mark" d="M{x:.1} {TOP}l-4 -8h8z"><title>{}</title></path>"#,
                escaped(what)
            );
        }
        svg.push_str("</svg>");
        Some(svg)
    }

    fn step(&self, least: f64) -> f64 {
        match self.round {
            Round::Binary => least.log2().ceil().exp2().max(1.0),
            Round::Decimal => {
                let power = 10_f64.powf(least.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * power >= least);
                (step.unwrap_or(10.0) * power).max(1.0)
            }
        }
    }

    fn axes(&self, svg: &mut String, scale: &Scale, step: f64) {
        let mut value = 0.0;
        while value <= scale.top * 1.001 {
            let y = scale.y(value);
            let right = WIDTH - RIGHT;
            let _ = write!(
                svg,
                r#"<path class="grid" d="M{LEFT} {y:.1}H{right}"/><text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
                LEFT - 5.0,
                y + 3.5,
                escaped(&(self.value)(value)),
            );
            value += step;
        }
        for part in 0..=3_u8 {
            let at = scale.from + scale.span * f64::from(part) / 3.0;
            let anchor = ["start", "middle", "middle", "end"][usize::from(part)];
            let _ = write!(
                svg,
                r#"<text class="tick" x="{:.1}" y="{:.1}" text-anchor="{anchor}">{}</text>"#,
                scale.x(at),
                HEIGHT - 6.0,
                escaped(&(self.time)(at)),
            );
        }
    }

    fn band(&self, svg: &mut String, scale: &Scale) {
        if self.ahead.len() < 2 {
            return;
        }
        let point = |at: f64, value: f64| format!("{:.1} {:.1}", scale.x(at), scale.y(value));
        let high = self.ahead.iter().map(|ahead| point(ahead.at, ahead.high));
        let low = self.ahead.iter().rev().map(|ahead| point(ahead.at, ahead.low));
        let around: Vec<String> = high.chain(low).collect();
        let middle: Vec<String> = self.ahead.iter().map(|ahead| point(ahead.at, ahead.point)).collect();
        let _ = write!(
            svg,
            r#"<path class="band" d="M{}z"/><path class="ahead" d="M{}"/>"#,
            around.join("L"),
            middle.join("L")
        );
    }
}

/// Of many points as many as can be told apart: of each column the highest.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let at_once = points.len().div_ceil(POINTS).max(1);
    let highest = |column: &[(f64, f64)]| column.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
    points.chunks(at_once).filter_map(highest).collect()
}

fn drawn(svg: &mut String, line: &Line, scale: &Scale) {
    let points = if line.is_stepped {
        // A value that stays is one point.
        let mut kept: Vec<(f64, f64)> = Vec::new();
        for (n, point) in line.points.iter().enumerate() {
            let is_last = n + 1 == line.points.len();
            if is_last || kept.last().is_none_or(|(_, value)| (*value - point.1).abs() > 0.0) {
                kept.push(*point);
            }
        }
        kept
    } else {
        thinned(&line.points)
    };
    let mut steps: Vec<f64> = points.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    steps.sort_unstable_by(f64::total_cmp);
    let usual = steps.get(steps.len() / 2).copied().unwrap_or(0.0);
    let mut pieces: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut before: Option<(f64, f64)> = None;
    for (at, value) in points {
        let (x, y) = (scale.x(at), scale.y(value));
        let is_far = !line.is_stepped && before.is_some_and(|(then, _)| at - then > GAP * usual);
        match (pieces.last_mut(), before) {
            (Some(piece), Some((_, was))) if !is_far => {
                if line.is_stepped {
                    piece.push((x, scale.y(was)));
                }
                piece.push((x, y));
            }
            _ => pieces.push(vec![(x, y)]),
        }
        before = Some((at, value));
    }
    for piece in pieces {
        let (Some(first), Some(last)) = (piece.first(), piece.last()) else {
            continue;
        };
        let path: Vec<String> = piece.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        let path = path.join("L");
        if line.is_filled {
            let bottom = HEIGHT - BOTTOM;
            let _ = write!(
                svg,
                r#"<path class="{} area" d="M{:.1} {bottom}L{path}L{:.1} {bottom}z"/>"#,
                line.class, first.0, last.0
            );
        }
        // A single point is a dot.
        let end = if piece.len() == 1 { "h0.1" } else { "" };
        let _ = write!(svg, r#"<path class="{} line" d="M{path}{end}"/>"#, line.class);
    }
}

#[cfg(test)]
mod tests {
    //! Plots of few points, whose places are worked out by hand.
    use super::*;

    fn plot(points: Vec<(f64, f64)>) -> Plot<'static> {
        Plot {
            label: "a <plot>".to_owned(),
            lines: vec![Line {
                name: "use",
                class: "use",
                points,
                ..Line::default()
            }],
            ahead: Vec::new(),
            marks: vec![(5.0, "done".to_owned()), (99.0, "too late".to_owned())],
            value: &|value| format!("{value}"),
            time: &|at| format!("{at}s"),
            round: Round::Decimal,
        }
    }

    #[test]
    fn a_line_goes_from_edge_to_edge_under_a_round_top() {
        let svg = plot(vec![(0.0, 0.0), (10.0, 17.0)]).svg().unwrap();
        // 17 / 4 is rounded up to 5, and 17 to 20: the line ends at 17/20 of the height.
        let end = TOP + (1.0 - 17.0 / 20.0) * (HEIGHT - TOP - BOTTOM);
        assert!(svg.contains(&format!("M54.0 198.0L410.0 {end:.1}")), "{svg}");
        assert!(svg.contains(">20</text>") && svg.contains(">15</text>"));
        assert!(svg.contains("a &lt;plot&gt;"));
        assert!(svg.contains("<title>done</title>") && !svg.contains("too late"));
    }

    #[test]
    fn a_gap_breaks_a_line_and_nothing_is_no_plot() {
        let mut points: Vec<(f64, f64)> = (0..10_u8).map(|n| (f64::from(n), 1.0)).collect();
        points.push((60.0, 1.0));
        let svg = plot(points).svg().unwrap();
        assert_eq!(svg.matches(r#"class="use line""#).count(), 2);
        assert!(plot(Vec::new()).svg().is_none());
        assert!(plot(vec![(3.0, 0.0)]).svg().is_some());
    }

    #[test]
    fn of_many_points_the_highest_stay() {
        let points: Vec<(f64, f64)> = (0..100_000_u32)
            .map(|n| (f64::from(n), f64::from(u8::from(n == 77_777))))
            .collect();
        let thin = thinned(&points);
        assert!(thin.len() <= POINTS);
        assert!(thin.contains(&(77_777.0, 1.0)));
    }

    #[test]
    fn what_stays_is_stepped() {
        let mut stepped = plot(vec![(0.0, 10.0), (5.0, 10.0), (6.0, 20.0), (10.0, 20.0)]);
        stepped.lines[0].is_stepped = true;
        let svg = stepped.svg().unwrap();
        assert!(
            svg.contains("M54.0 105.0L267.6 105.0L267.6 12.0L410.0 12.0L410.0 12.0"),
            "{svg}"
        );
    }
}
