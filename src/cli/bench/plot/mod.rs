//! Latency against throughput as an SVG drawing: the curve that shows where a server is full.

mod scale;

use super::report::{Latency, Report, Step};
use scale::Scale;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 40.0;
const TOP: f64 = 76.0;
const BOTTOM: f64 = 64.0;

/// Light by itself; viewers that know of dark mode get dark. Both meet 4.5:1 against their ground.
const STYLE: &str = "\
    .ground{fill:#fff}.ink{fill:#24292f}.faint{fill:#57606a}.grid{stroke:#d0d7de}.axis{stroke:#57606a}\
    .p50{stroke:#0969da;fill:#0969da}.p99{stroke:#bc4c00;fill:#bc4c00}polyline{fill:none!important;stroke-width:2}\
    text{font-family:system-ui,sans-serif;font-size:13px}text.p50,text.p99{stroke:none}\
    .label{paint-order:stroke;stroke:#fff;stroke-width:4px}.title{font-size:16px;font-weight:600}\
    @media (prefers-color-scheme:dark){.ground{fill:#0d1117}.ink{fill:#e6edf3}.faint{fill:#9198a1}.grid{stroke:#30363d}\
    .axis{stroke:#9198a1}.p50{stroke:#58a6ff;fill:#58a6ff}.p99{stroke:#f0883e;fill:#f0883e}\
    .label{stroke:#0d1117}}";

/// A curve: its name and class, and which latency it draws.
type Curve = (&'static str, fn(&Latency) -> f64);

const CURVES: [Curve; 2] = [("p50", |latency| latency.p50), ("p99", |latency| latency.p99)];

/// A step with answers: throughput, latency, and what it is called.
struct Point {
    throughput: f64,
    latency: Latency,
    label: String,
}

/// The whole drawing.
pub(super) fn draw(report: &Report) -> String {
    let points: Vec<Point> = report.steps.iter().filter_map(point).collect();
    let millis = |curve: &Curve| points.iter().map(|point| curve.1(&point.latency) * 1e3).collect::<Vec<f64>>();
    let all: Vec<f64> = CURVES.iter().flat_map(millis).collect();
    let across = Scale::linear(points.iter().map(|point| point.throughput).fold(0.0, f64::max));
    // Below a microsecond nothing is measured.
    let lowest = all.iter().copied().reduce(f64::min).unwrap_or(1.0).max(1e-3);
    let up = Scale::log(lowest, all.into_iter().fold(lowest, f64::max));
    let frame = Frame { across, up };
    let mut parts = vec![
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" role=\"img\">"
        ),
        format!("<style>{STYLE}</style>"),
        format!("<rect class=\"ground\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>"),
        heading(report),
    ];
    parts.extend(frame.axes());
    parts.extend(CURVES.iter().flat_map(|curve| frame.curve(curve, &points)));
    parts.extend(points.iter().map(|point| frame.label(point)));
    parts.push("</svg>\n".to_owned());
    parts.join("\n")
}

fn point(step: &Step) -> Option<Point> {
    let latency = step.latency_seconds?;
    let label = match (&step.offered, step.concurrency) {
        (Some(offered), _) => format!("{}/s", offered.asked_per_second),
        (None, callers) => callers.unwrap_or(0).to_string(),
    };
    Some(Point { throughput: step.ok_per_second, latency, label })
}

fn heading(report: &Report) -> String {
    let setup = &report.setup;
    let title = escape(&format!("{} on {}: latency against throughput", setup.model, setup.address));
    let points = if setup.arrivals.is_some() { "requests a second" } else { "calls at once" };
    let about =
        format!("each point is {} s at so many {points}, {} connection(s)", setup.duration_seconds, setup.connections);
    let mut legend_x = WIDTH - RIGHT - 30.0;
    let legend = CURVES.iter().rev().map(|(name, _)| {
        let text = format!("<text class=\"{name}\" x=\"{legend_x}\" y=\"52\" text-anchor=\"middle\">● {name}</text>");
        legend_x -= 50.0;
        text
    });
    let texts = [
        format!("<text class=\"ink title\" x=\"{LEFT}\" y=\"30\">{title}</text>"),
        format!("<text class=\"faint\" x=\"{LEFT}\" y=\"52\">{}</text>", escape(&about)),
    ];
    texts.into_iter().chain(legend).collect::<Vec<_>>().join("\n")
}

/// The field between the axes.
struct Frame {
    across: Scale,
    up: Scale,
}

impl Frame {
    fn x(&self, throughput: f64) -> f64 {
        LEFT + self.across.place(throughput) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, millis: f64) -> f64 {
        HEIGHT - BOTTOM - self.up.place(millis) * (HEIGHT - TOP - BOTTOM)
    }

    fn axes(&self) -> Vec<String> {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let mut parts = Vec::new();
        for tick in &self.across.ticks {
            let (x, below) = (self.x(*tick), bottom + 20.0);
            parts.push(format!("<line class=\"grid\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>"));
            parts.push(format!(
                "<text class=\"faint\" x=\"{x:.1}\" y=\"{below}\" text-anchor=\"middle\">{}</text>",
                amount(*tick)
            ));
        }
        for tick in &self.up.ticks {
            let (y, beside) = (self.y(*tick), LEFT - 8.0);
            parts.push(format!("<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/>"));
            parts.push(format!(
                "<text class=\"faint\" x=\"{beside}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                y + 4.0,
                amount(*tick)
            ));
        }
        parts.push(format!("<line class=\"axis\" x1=\"{LEFT}\" y1=\"{bottom}\" x2=\"{right}\" y2=\"{bottom}\"/>"));
        parts.push(format!("<line class=\"axis\" x1=\"{LEFT}\" y1=\"{TOP}\" x2=\"{LEFT}\" y2=\"{bottom}\"/>"));
        let (middle, under) = (f64::midpoint(LEFT, right), HEIGHT - 18.0);
        parts.push(format!(
            "<text class=\"ink\" x=\"{middle}\" y=\"{under}\" text-anchor=\"middle\">ok answers per second</text>"
        ));
        let (beside, middle) = (22.0, f64::midpoint(TOP, bottom));
        parts.push(format!(
            "<text class=\"ink\" x=\"{beside}\" y=\"{middle}\" text-anchor=\"middle\" \
             transform=\"rotate(-90 {beside} {middle})\">latency in ms (logarithmic)</text>"
        ));
        parts
    }

    /// A line through the points in the order of the steps, so that a server that slows down past its best bends back.
    fn curve(&self, (class, latency): &Curve, points: &[Point]) -> Vec<String> {
        let place = |point: &Point| (self.x(point.throughput), self.y(latency(&point.latency) * 1e3));
        let places: Vec<(f64, f64)> = points.iter().map(place).collect();
        let line: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let mut parts = vec![format!("<polyline class=\"{class}\" points=\"{}\"/>", line.join(" "))];
        for ((x, y), point) in places.iter().zip(points) {
            let told = format!("{}: {class} {:.3} ms", point.label, latency(&point.latency) * 1e3);
            parts.push(format!(
                "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{}</title></circle>",
                escape(&told)
            ));
        }
        parts
    }

    /// What the step is called, over its highest point.
    fn label(&self, point: &Point) -> String {
        let (x, y) = (self.x(point.throughput), self.y(point.latency.p99 * 1e3) - 10.0);
        format!(
            "<text class=\"ink label\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{}</text>",
            escape(&point.label)
        )
    }
}

/// A tick's number, without the digits that are noise.
fn amount(value: f64) -> String {
    let rounded = format!("{value:.3}");
    let short = rounded.trim_end_matches('0').trim_end_matches('.');
    short.to_owned()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
