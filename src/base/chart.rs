//! The plane that charts are drawn on: days to the right, values upwards, with its grid and marks, as SVG. Pure.
//!
//! No script and no colour alone. What lies on the plane is drawn by whoever has something to show; classes get their colours from the
//! page's style.

use crate::base::calendar;
use std::fmt::Write;

/// Width of the drawing.
pub const WIDTH: f64 = 720.0;
/// Its height.
pub const HEIGHT: f64 = 200.0;
/// Room for the marks of values.
pub const LEFT: f64 = 64.0;
/// Room for the dates.
pub const BOTTOM: f64 = 24.0;
/// Room above.
pub const TOP: f64 = 8.0;

/// Where a value lies.
#[derive(Clone, Copy, Debug)]
pub struct Plane {
    /// The first day, by its number.
    pub from: i32,
    /// The last one.
    pub to: i32,
    /// The value at the upper edge; above 0.
    pub most: f64,
}

impl Plane {
    /// Where a day begins; with a fraction, where it is so far on.
    pub fn x(&self, day: f64) -> f64 {
        let days = f64::from(self.to - self.from + 1);
        LEFT + (WIDTH - LEFT) * (day - f64::from(self.from)) / days
    }

    /// Where a value lies; what is above the edge lies on it.
    pub fn y(&self, value: f64) -> f64 {
        let height = HEIGHT - TOP - BOTTOM;
        TOP + height - height * (value / self.most).clamp(0.0, 1.0)
    }

    /// Begins the drawing: grid, marks of values, dates. The caller draws on, and ends it with `</svg>`.
    pub fn open(&self, label: &str, mark: impl Fn(f64) -> String) -> String {
        let mut svg = format!("<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{label}\">");
        for part in [0.0, 0.5, 1.0] {
            let y = self.y(part * self.most);
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{WIDTH}\"/><text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                mark(part * self.most)
            );
        }
        let step = ((self.to - self.from) / 6).max(1);
        let mut day = self.from;
        while day <= self.to {
            let x = self.x(f64::from(day));
            let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{:.0}\">{}</text>", HEIGHT - 6.0, &calendar::plain(day)[..5]);
            day += step;
        }
        svg
    }
}

/// For drawing.
#[expect(clippy::cast_precision_loss, reason = "pixels")]
pub fn float(value: i64) -> f64 {
    value as f64
}

/// Back from it.
#[expect(clippy::cast_possible_truncation, reason = "a rate that was a whole number; `as` saturates")]
pub fn whole(value: f64) -> i64 {
    value.round() as i64
}
