//! A small writer of line charts as SVG: times on a logarithmic axis, readable on light and dark pages alike.

use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 70.0;
/// Room for the labels at the ends of lines.
const RIGHT: f64 = WIDTH - 130.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = HEIGHT - 56.0;
/// Between two labels at the ends of lines.
const LABEL_HEIGHT: f64 = 16.0;
const MOST_X_TICKS: f64 = 8.0;

const STYLE: &str = "\
text { font: 13px system-ui, sans-serif; fill: #24292f } .note { font-size: 10px; fill: #57606a } \
.title { font-size: 16px; font-weight: 600 } .page { fill: #ffffff } .grid { stroke: #d0d7de; stroke-width: 1 } \
path { fill: none; stroke-width: 2.5; stroke-linejoin: round } .dashed { stroke-dasharray: 6 5 } \
.c0 { stroke: #bc4c00 } .c1 { stroke: #0969da } .t0 { fill: #bc4c00 } .t1 { fill: #0969da } \
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .note { fill: #9198a1 } .page { fill: #0d1117 } \
.grid { stroke: #30363d } .c0 { stroke: #f0883e } .c1 { stroke: #58a6ff } .t0 { fill: #f0883e } .t1 { fill: #58a6ff } }";

#[derive(Debug)]
pub struct Chart {
    pub title: String,
    /// Small, below the title.
    pub note: String,
    pub x_axis: String,
    pub y_axis: String,
    pub lines: Vec<Line>,
}

#[derive(Debug)]
pub struct Line {
    pub label: String,
    /// 0 or 1.
    pub colour: usize,
    pub dashed: bool,
    /// By `x`; `y` is above 0.
    pub points: Vec<(f64, f64)>,
}

/// What the axes show.
struct Frame {
    most_x: f64,
    x_step: f64,
    /// Powers of ten.
    decades: std::ops::RangeInclusive<i32>,
}

impl Chart {
    pub fn draw(&self) -> String {
        let frame = Frame::around(self.lines.iter().flat_map(|line| &line.points));
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{title}\">\n<style>{STYLE}</style>\n<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n",
            title = escape(&self.title),
        );
        text(&mut svg, (LEFT, 26.0), "class=\"title\"", &self.title);
        text(&mut svg, (LEFT, 44.0), "class=\"note\"", &self.note);
        frame.draw_grid(&mut svg);
        text(&mut svg, ((LEFT + RIGHT) / 2.0, HEIGHT - 14.0), "text-anchor=\"middle\"", &self.x_axis);
        let middle = (TOP + BOTTOM) / 2.0;
        let turned = format!("text-anchor=\"middle\" transform=\"rotate(-90 18 {middle})\"");
        text(&mut svg, (18.0, middle), &turned, &self.y_axis);
        for line in &self.lines {
            frame.draw_line(&mut svg, line);
        }
        self.draw_labels(&frame, &mut svg);
        svg + "</svg>\n"
    }

    /// At the ends of the lines, moved apart where they would overlap.
    fn draw_labels(&self, frame: &Frame, svg: &mut String) {
        let end = |line: &Line| line.points.last().map(|&point| frame.place(point));
        let mut labels: Vec<_> = self.lines.iter().filter_map(|line| Some((end(line)?, line))).collect();
        labels.sort_by(|((_, a), _), ((_, b), _)| a.total_cmp(b));
        let mut lowest = f64::MIN;
        for ((x, y), line) in labels {
            let y = y.max(lowest + LABEL_HEIGHT);
            lowest = y;
            text(svg, (x + 8.0, y + 4.0), &format!("class=\"t{}\"", line.colour), &line.label);
        }
    }
}

impl Frame {
    fn around<'a>(points: impl Iterator<Item = &'a (f64, f64)>) -> Self {
        let (mut most_x, mut least, mut most) = (1.0_f64, f64::INFINITY, f64::NEG_INFINITY);
        for &(x, y) in points {
            (most_x, least, most) = (most_x.max(x), least.min(y.log10()), most.max(y.log10()));
        }
        let rough = most_x / MOST_X_TICKS;
        let power = 10_f64.powf(rough.log10().floor());
        let x_step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| *step >= rough);
        let decades = if least <= most { least.floor() as i32..=most.ceil() as i32 } else { 0..=1 };
        Self { most_x, x_step: x_step.unwrap_or(most_x), decades }
    }

    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let (low, high) = (f64::from(*self.decades.start()), f64::from(*self.decades.end()));
        let up = (y.log10() - low) / (high - low).max(1.0);
        (LEFT + (RIGHT - LEFT) * x / self.most_x, BOTTOM - (BOTTOM - TOP) * up)
    }

    fn draw_grid(&self, svg: &mut String) {
        for power in self.decades.clone() {
            let value = 10_f64.powi(power);
            let (_, y) = self.place((0.0, value));
            rule(svg, (LEFT, y), (RIGHT, y));
            text(svg, (LEFT - 8.0, y + 4.0), "text-anchor=\"end\"", &value.to_string());
        }
        let ticks = (self.most_x / self.x_step).floor() as u32;
        for value in (0..=ticks).map(|tick| f64::from(tick) * self.x_step) {
            let x = LEFT + (RIGHT - LEFT) * value / self.most_x;
            rule(svg, (x, BOTTOM), (x, BOTTOM + 5.0));
            text(svg, (x, BOTTOM + 20.0), "text-anchor=\"middle\"", &value.to_string());
        }
    }

    fn draw_line(&self, svg: &mut String, line: &Line) {
        let places = line.points.iter().map(|&point| self.place(point)).enumerate();
        let steps = places.map(|(at, (x, y))| format!("{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' }));
        let dashed = if line.dashed { " dashed" } else { "" };
        let steps = steps.collect::<Vec<_>>().join(" ");
        write(svg, format_args!("<path class=\"c{}{dashed}\" d=\"{steps}\"/>", line.colour));
    }
}

fn rule(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    write(svg, format_args!("<line class=\"grid\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"));
}

fn text(svg: &mut String, (x, y): (f64, f64), attributes: &str, text: &str) {
    write(svg, format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{}</text>", escape(text)));
}

fn write(svg: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(svg, "{line}").expect("a string takes all");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::{BOTTOM, Chart, LEFT, Line, RIGHT, TOP};

    #[test]
    fn lines_stay_within_the_axes_and_labels_apart() {
        let line = |label: &str, points: &[(f64, f64)]| Line {
            label: label.to_owned(),
            colour: 0,
            dashed: false,
            points: points.to_vec(),
        };
        let lines = vec![line("a<b", &[(1000.0, 0.2), (60_000.0, 900.0)]), line("c", &[(60_000.0, 890.0)])];
        let [title, note, x_axis, y_axis] = ["t", "n", "x", "y"].map(str::to_owned);
        let svg = Chart { title, note, x_axis, y_axis, lines }.draw();
        let path = svg.split("d=\"M").nth(1).and_then(|rest| rest.split('"').next()).expect("a path");
        let numbers: Vec<f64> = path.split([' ', 'L']).filter_map(|number| number.parse().ok()).collect();
        assert_eq!(numbers.len(), 4);
        for place in numbers.chunks(2) {
            assert!((LEFT..=RIGHT).contains(&place[0]) && (TOP..=BOTTOM).contains(&place[1]), "{place:?}");
        }
        let of = |label: &str| -> f64 {
            let line = svg.lines().find(|line| line.ends_with(&format!(">{label}</text>"))).expect("a label");
            line.split("y=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("y").parse().expect("a number")
        };
        assert!((of("a&lt;b") - of("c")).abs() >= 16.0);
    }
}
