//! Tables and paragraphs that fit a terminal of 80 columns.

/// What everything must fit.
pub const WIDTH: usize = 80;
const GAP: &str = "  ";

/// Rows under a heading; each column as wide as its widest cell.
///
/// A first cell that is wider than `widest_name` stands on a line of its own, above the rest of its row, so that one
/// long name does not push every row over the edge. Nothing is ever cut.
pub fn render(heading: &[&str], rows: &[Vec<String>], widest_name: usize) -> String {
    let fits = |column: usize, cell: &str| column != 0 || width(cell) <= widest_name;
    let widths: Vec<usize> = (0..heading.len())
        .map(|column| {
            let cells = rows.iter().map(|row| row.get(column).map_or("", String::as_str));
            cells
                .filter(|cell| fits(column, cell))
                .map(width)
                .fold(width(heading[column]), usize::max)
        })
        .collect();
    let mut out = line(heading, &widths);
    for row in rows {
        let mut cells: Vec<&str> = row.iter().map(String::as_str).collect();
        if !cells.first().is_none_or(|cell| fits(0, cell)) {
            out += &format!("{}\n", cells[0]);
            cells[0] = "";
        }
        out += &line(&cells, &widths);
    }
    out
}

fn line(cells: &[&str], widths: &[usize]) -> String {
    let padded: Vec<String> = cells
        .iter()
        .zip(widths)
        .map(|(cell, columns)| format!("{cell}{}", " ".repeat(columns.saturating_sub(width(cell)))))
        .collect();
    format!("{}\n", padded.join(GAP).trim_end())
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

/// `name: value` lines with the values under one another; without those that are empty.
pub fn fields(fields: &[(&str, String)]) -> String {
    let widest = fields.iter().map(|(name, _)| width(name)).max().unwrap_or(0) + 1;
    let shown = fields.iter().filter(|(_, value)| !value.is_empty());
    shown
        .map(|(name, value)| format!("{:widest$}  {value}\n", format!("{name}:")))
        .collect()
}

/// Breaks a sentence into lines of at most [`WIDTH`]; every line but the first starts with `indent` blanks.
pub fn wrap(text: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        if column > 0 && column + 1 + width(word) > WIDTH {
            out += &format!("\n{}", " ".repeat(indent));
            column = indent;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out += word;
        column += width(word);
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn a_long_name_stands_above_its_row() {
        let table = render(
            &["NAME", "STATE"],
            &[
                row(&["a", "active"]),
                row(&["a-very-long-name", "pending"]),
                row(&["bcd", ""]),
            ],
            8,
        );
        assert_eq!(
            table,
            "NAME  STATE\na     active\na-very-long-name\n      pending\nbcd\n"
        );
    }

    #[test]
    fn fields_line_up_and_empty_ones_are_left_out() {
        let text = fields(&[
            ("name", "web".into()),
            ("tags", String::new()),
            ("addresses", "10.0.0.1".into()),
        ]);
        assert_eq!(text, "name:       web\naddresses:  10.0.0.1\n");
    }

    #[test]
    fn sentences_wrap() {
        let text = wrap(&"word ".repeat(40), 4);
        assert!(text.lines().all(|line| line.len() <= WIDTH));
        assert!(text.lines().skip(1).all(|line| line.starts_with("    word")));
        let long = wrap(&"x".repeat(100), 2);
        assert_eq!(long, format!("{}\n", "x".repeat(100)));
    }
}
