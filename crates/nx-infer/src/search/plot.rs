//! A drawing of the candidates: time against drop, size by area.

use std::fmt::Write as _;

use super::{Report, Row};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 60.0;

/// A direction of the drawing: from values to its pixels.
struct Axis {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.fold(f64::NEG_INFINITY, f64::max);
        let (least, most) = if least.is_finite() && most.is_finite() { (least, most) } else { (0.0, 1.0) };
        let room = ((most - least) * 0.08).max(most.abs().max(1e-6) * 0.02);
        Self { least: least - room, most: most + room, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        self.from + (value - self.least) / (self.most - self.least) * (self.to - self.from)
    }

    /// Five values between the ends.
    fn ticks(&self) -> impl Iterator<Item = f64> {
        (0..5).map(|at| self.least + (self.most - self.least) * (f64::from(at) + 0.5) / 5.0)
    }
}

/// Draws the candidates that were timed on the engine that was searched for.
pub(super) fn draw(report: &Report) -> String {
    let engine = report.engines.first().map_or("", String::as_str);
    let timed: Vec<(&Row, f64)> =
        report.candidates.iter().filter_map(|row| Some((row, row.latency.get(engine)?.p50_us))).collect();
    let x = Axis::of(timed.iter().map(|(_, time)| *time), LEFT, WIDTH - RIGHT);
    let drops = timed.iter().map(|(row, _)| row.drop).chain([0.0, report.options.max_drop]);
    let y = Axis::of(drops.collect::<Vec<_>>().into_iter(), HEIGHT - BOTTOM, TOP);
    let largest = timed.iter().map(|(row, _)| row.bytes).max().unwrap_or(1) as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"11\"><title>Candidates</title><rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    let _infallible = write!(
        svg,
        "<text x=\"{LEFT}\" y=\"20\" font-size=\"13\">drop of the mean score and time; area: bytes; filled: Pareto front</text>\n\
         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">p50, µs, {}</text>\n",
        WIDTH / 2.0,
        HEIGHT - 15.0,
        escape(engine)
    );
    for tick in x.ticks() {
        let at = x.at(tick);
        let _infallible = writeln!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{0}\" stroke=\"#eee\"/><text x=\"{at:.1}\" y=\"{1}\" \
             text-anchor=\"middle\">{tick:.1}</text>",
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 16.0
        );
    }
    for tick in y.ticks() {
        let at = y.at(tick);
        let _infallible = writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{0}\" y2=\"{at:.1}\" stroke=\"#eee\"/><text x=\"{1}\" y=\"{at:.1}\" \
             text-anchor=\"end\">{2:.3} %</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            tick * 100.0
        );
    }
    let budget = y.at(report.options.max_drop);
    let _infallible = writeln!(
        svg,
        "<line x1=\"{LEFT}\" y1=\"{budget:.1}\" x2=\"{0}\" y2=\"{budget:.1}\" stroke=\"#b00\" stroke-dasharray=\"4 3\"/>\
         <text x=\"{0}\" y=\"{1:.1}\" text-anchor=\"end\" fill=\"#b00\">budget</text>",
        WIDTH - RIGHT,
        budget - 4.0
    );
    for (row, time) in timed {
        let (cx, cy) = (x.at(time), y.at(row.drop));
        let radius = 3.0 + 9.0 * (row.bytes as f64 / largest.max(1.0)).sqrt();
        let released = row.recipe == report.released.recipe;
        let stroke = if released { "#060" } else { "#245" };
        let fill = if row.front { stroke } else { "none" };
        let _infallible = writeln!(
            svg,
            "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"{radius:.1}\" fill=\"{fill}\" fill-opacity=\"0.5\" stroke=\"{stroke}\">\
             <title>{0}: {time:.1} µs, {1} bytes</title></circle>",
            escape(&row.name),
            row.bytes
        );
        if row.front || released || row.name == "original" {
            let _infallible = writeln!(
                svg,
                "<text x=\"{0:.1}\" y=\"{1:.1}\" text-anchor=\"middle\">{2}</text>",
                cx.clamp(LEFT + 40.0, WIDTH - RIGHT - 40.0),
                cy - radius - 3.0,
                escape(&row.name)
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}
