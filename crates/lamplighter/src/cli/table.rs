//! Rows in columns, as wide as they need to be.

/// The rows as lines; the last column is not padded. Width counts characters: names and glyphs are narrow here.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line.push_str(cell);
            let pad = widths[column] + 2 - cell.chars().count();
            line.push_str(&" ".repeat(pad));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_line_up() {
        let rows = [vec!["nas".into(), "up".into()], vec!["workstation".into(), "☾".into(), "x".into()]];
        assert_eq!(super::table(&rows), "nas          up\nworkstation  ☾   x\n");
    }
}
