//! Curves over a count that grows tenfold, as one SVG page.

use bulak::base::chart::{BOTTOM, HEIGHT, LEFT, Plane, TOP, WIDTH, float, whole};
use std::fmt::Write;

/// Room for a title.
const TITLE: f64 = 28.0;
/// The plane counts in whole steps: so many for a power of ten.
const STEPS: f64 = 100.0;
/// How curves are told apart, not by colour alone: strokes and gaps.
const DASHES: [&str; 2] = ["none", "6 4"];

/// Length of a stroke beside its name.
const SAMPLE: f64 = 36.0;

/// Where the names of curves begin, as shares of the width.
const KEYS: [f64; 2] = [0.4, 0.7];

/// One line.
pub(crate) struct Curve {
    pub(crate) name: &'static str,
    /// Count and value, in order.
    pub(crate) points: Vec<(f64, f64)>,
}

/// Curves of one unit.
pub(crate) struct Drawing {
    pub(crate) title: &'static str,
    pub(crate) curves: Vec<Curve>,
}

/// All drawings, one below the other.
pub(crate) fn page(drawings: &[Drawing]) -> String {
    let each = HEIGHT + TITLE;
    let height = each * float(i64::try_from(drawings.len()).expect("few"));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\">\n\
         <style>text {{ font: 12px sans-serif }} path {{ fill: none; stroke: #ccc }} .curve {{ stroke: #1b6a8a; stroke-width: 2 }}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let mut top = 0.0;
    for drawing in drawings {
        writeln!(svg, "<g transform=\"translate(0 {top:.0})\">{}</g>", plane(drawing)).expect("memory");
        top += each;
    }
    svg + "</svg>\n"
}

fn plane(drawing: &Drawing) -> String {
    let points = || drawing.curves.iter().flat_map(|curve| &curve.points);
    let step = |count: f64| count.log10() * STEPS;
    let (least, largest) = points().fold((f64::MAX, 1.0_f64), |(least, largest), point| (least.min(point.0), largest.max(point.0)));
    let most = above(points().fold(0.0, |most: f64, point| most.max(point.1)));
    let edge = |count: f64| i32::try_from(whole(step(count))).expect("a small number");
    let plane = Plane { from: edge(least), to: edge(largest), most };
    let mut svg = String::new();
    let mut say = |x: f64, y: f64, anchor: &str, text: &str| {
        write!(svg, "<text x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"{anchor}\">{text}</text>").expect("memory");
    };
    say(LEFT, TITLE - TOP, "start", &format!("<tspan font-weight=\"bold\">{}</tspan>", drawing.title));
    for (at, _) in drawing.curves.first().into_iter().flat_map(|curve| &curve.points) {
        let anchor = if *at < largest { "middle" } else { "end" };
        say(plane.x(step(*at)), TITLE + HEIGHT - TOP, anchor, &format!("{at}"));
    }
    for part in [0.0, 0.5, 1.0] {
        say(LEFT - TOP, TITLE + plane.y(part * most) + BOTTOM / 6.0, "end", &format!("{:.0}", part * most));
    }
    for part in [0.0, 0.5, 1.0] {
        write!(svg, "<path d=\"M{LEFT} {:.1}H{WIDTH}\"/>", TITLE + plane.y(part * most)).expect("memory");
    }
    for (at, (curve, dash)) in drawing.curves.iter().zip(DASHES.iter().cycle()).enumerate() {
        if drawing.curves.len() > 1 {
            let (x, y) = (WIDTH * KEYS[at % KEYS.len()], TITLE - TOP);
            let stroke = format!("<path class=\"curve\" stroke-dasharray=\"{dash}\" d=\"M{x:.0} {:.0}h{SAMPLE}\"/>", y - TOP / 2.0);
            write!(svg, "{stroke}<text x=\"{:.0}\" y=\"{y:.0}\">{}</text>", x + SAMPLE + TOP, curve.name).expect("memory");
        }
        let mut line = String::new();
        for (at, value) in &curve.points {
            let (x, y) = (plane.x(step(*at)), TITLE + plane.y(*value));
            write!(line, "{}{x:.1} {y:.1}", if line.is_empty() { 'M' } else { 'L' }).expect("memory");
        }
        write!(svg, "<path class=\"curve\" stroke-dasharray=\"{dash}\" d=\"{line}\"/>").expect("memory");
    }
    svg
}

/// The next round number: 1, 2 or 5 and noughts.
fn above(value: f64) -> f64 {
    let power = 10.0_f64.powf(value.max(1.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|round| *round >= value).unwrap_or(value)
}
