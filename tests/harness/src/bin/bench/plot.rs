//! Latency of puts against the rate at which they are offered, for both servers, as a drawing.

use crate::args::Args;
use crate::report::{Figure, SERVERS, Sample};
use crate::subject::Subjects;
use crate::svg::{Chart, Line};
use crate::work::{Ground, Work};

/// Offered puts a second. A server's curve ends at the second rate that it does not keep up with.
const RATES: [u32; 16] = [
    1000, 2000, 4000, 6000, 8000, 10_000, 12_000, 14_000, 17_000, 20_000, 25_000, 30_000, 35_000, 40_000, 50_000,
    60_000,
];

/// What a server must do of what is offered.
const KEEPS_UP: f64 = 0.97;
const MOST_FAILURES: usize = 2;

pub async fn run(args: &Args, subjects: &Subjects) {
    let out = args.out.as_ref().expect("asked for with the mode");
    let mut lines = Vec::new();
    for &server in &args.servers {
        let name = SERVERS[server];
        let ground = Ground::prepare(subjects.start(server, 1).await, args.window).await;
        let points = sweep(&ground, name).await;
        for (figure, label, dashed) in [(Figure::P99, "p99", false), (Figure::P50, "p50", true)] {
            let points = points.iter().map(|(rate, sample)| (f64::from(*rate), of(sample, figure))).collect();
            lines.push(Line { label: format!("{name} {label}"), colour: server, dashed, points });
        }
    }
    let chart = Chart {
        title: "Latency of a put against the offered rate".to_owned(),
        note: subjects.describe(),
        x_axis: "puts a second, offered (open loop)".to_owned(),
        y_axis: "ms from the intended start".to_owned(),
        lines,
    };
    std::fs::write(out, chart.draw()).unwrap_or_else(|error| panic!("write {}: {error}", out.display()));
    println!("wrote {}", out.display());
}

async fn sweep(ground: &Ground, name: &str) -> Vec<(u32, Sample)> {
    let (mut points, mut failures) = (Vec::new(), 0);
    for per_sec in RATES {
        let sample = ground.measure(Work::PutAtRate { per_sec }).await;
        let [done, p50, p99] = [Figure::Rate, Figure::P50, Figure::P99].map(|figure| of(&sample, figure));
        println!("{name}: {per_sec}/s offered, {done:.0}/s done, p50 {p50:.2} ms, p99 {p99:.2} ms");
        points.push((per_sec, sample));
        failures += usize::from(done < f64::from(per_sec) * KEEPS_UP);
        if failures == MOST_FAILURES {
            break;
        }
    }
    points
}

fn of(sample: &Sample, wanted: Figure) -> f64 {
    let found = sample.iter().find(|(figure, _)| *figure == wanted);
    found.expect("a load has all figures").1
}
