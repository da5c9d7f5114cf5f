//! Tables with drawn lines: titles in capitals in the middle, cells at the right.

/// A table of texts.
#[derive(Debug)]
pub struct Table {
    pub titles: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// With a line end behind each line.
    pub fn draw(&self) -> String {
        let titles: Vec<String> = self.titles.iter().map(|title| title.replace('_', " ").to_uppercase()).collect();
        let width_of = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([titles[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..titles.len()).map(width_of).collect();
        let rule = |left: char, cross: char, right: char| {
            let parts: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
            format!("{left}{}{right}\n", parts.join(&cross.to_string()))
        };
        let line = |cells: Vec<String>| format!("│ {} │\n", cells.join(" │ "));
        let centred = |(title, width): (&String, &usize)| format!("{title:^width$}");
        let mut out = rule('┌', '┬', '┐');
        out.push_str(&line(titles.iter().zip(&widths).map(centred).collect()));
        if !self.rows.is_empty() {
            out.push_str(&rule('├', '┼', '┤'));
        }
        for row in &self.rows {
            out.push_str(&line(row.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect()));
        }
        out.push_str(&rule('└', '┴', '┘'));
        out
    }

    /// The rows alone, a line each.
    pub fn lines(&self) -> String {
        self.rows.iter().map(|row| format!("{}\n", row.join(", "))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_stand_in_the_middle_and_cells_at_the_right() {
        let table = Table { titles: vec!["ID", "hash_revision"], rows: vec![vec!["abc".to_owned(), "2".to_owned()]] };
        let expected = "┌─────┬───────────────┐\n│ ID  │ HASH REVISION │\n├─────┼───────────────┤\n│ abc │             2 │\n└─────┴───────────────┘\n";
        assert_eq!(table.draw(), expected);
        assert_eq!(table.lines(), "abc, 2\n");
    }
}
