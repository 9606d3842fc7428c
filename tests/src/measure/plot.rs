//! The figures as a drawing: a panel for each of some figures, a bar for each way, its spread as a line.

use std::fmt::Write as _;

use super::spread::{Spread, short};

const WIDTH: f64 = 760.0;
const LABELS: f64 = 250.0;
const BARS: f64 = 400.0;
const ROW: f64 = 22.0;
const TITLE: f64 = 34.0;

/// One panel: what it shows, and a bar for each way, with its name.
pub struct Panel {
    /// The figure and its unit.
    pub title: String,
    /// In the order of the table.
    pub bars: Vec<(String, Spread)>,
}

/// The SVG document.
pub fn draw(panels: &[Panel]) -> String {
    let height: f64 = panels
        .iter()
        .map(|panel| TITLE + ROW * panel.bars.len() as f64)
        .sum::<f64>()
        + 16.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let mut top = 0.0;
    for panel in panels {
        panel.draw(top, &mut svg);
        top += TITLE + ROW * panel.bars.len() as f64;
    }
    svg.push_str("</svg>\n");
    svg
}

impl Panel {
    fn draw(&self, top: f64, svg: &mut String) {
        let most = self
            .bars
            .iter()
            .map(|(_, spread)| spread.most)
            .fold(f64::MIN_POSITIVE, f64::max);
        let at = |value: f64| value / most * BARS;
        let _ = writeln!(
            svg,
            "<text x=\"12\" y=\"{:.0}\" font-weight=\"bold\" fill=\"#111\">{}</text>",
            top + 24.0,
            self.title
        );
        for (number, (name, spread)) in self.bars.iter().enumerate() {
            let y = top + TITLE + ROW * number as f64;
            let colour = if name.starts_with("mesh") {
                "#2563a8"
            } else {
                "#a0a7b0"
            };
            let _ = writeln!(
                svg,
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\" fill=\"#111\">{name}</text>\
                 <rect x=\"{LABELS}\" y=\"{y:.0}\" width=\"{:.1}\" height=\"14\" fill=\"{colour}\"/>\
                 <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{:.0}\" y2=\"{:.0}\" stroke=\"#111\"/>\
                 <text x=\"{:.1}\" y=\"{:.0}\" fill=\"#111\">{}</text>",
                LABELS - 8.0,
                y + 11.0,
                at(spread.median),
                LABELS + at(spread.least),
                LABELS + at(spread.most),
                y + 7.0,
                y + 7.0,
                LABELS + at(spread.most) + 8.0,
                y + 11.0,
                if spread.most > 0.0 {
                    short(spread.median)
                } else {
                    "-".to_owned()
                },
            );
        }
    }
}
