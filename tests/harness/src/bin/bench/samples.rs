//! Everything measured so far in a file, a line for each figure, so that a run that was cut off, or one of each server,
//! can be gone on with. Only what was measured under the same conditions belongs into one file.

use crate::report::{Figure, SERVERS};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

#[derive(Debug)]
pub struct Samples(File);

/// One figure of one row of one server in one round.
#[derive(Debug, PartialEq)]
pub struct Line {
    pub server: usize,
    pub row: String,
    pub figure: Figure,
    pub value: f64,
}

impl Samples {
    /// Opens or makes a file, and returns what it holds.
    ///
    /// # Panics
    /// If it cannot be read or holds something else.
    pub fn open(path: &Path) -> (Self, Vec<Line>) {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.unwrap_or_else(|error| panic!("open {}: {error}", path.display()));
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
        let parse = |line| parse(line).unwrap_or_else(|| panic!("{}: no sample: {line:?}", path.display()));
        (Self(file), text.lines().map(parse).collect())
    }

    pub fn append(&mut self, line: &Line) {
        let Line { server, row, figure, value } = line;
        let written = writeln!(self.0, "{}\t{row}\t{}\t{value}", SERVERS[*server], figure.heading());
        written.expect("append to the file of samples");
    }
}

fn parse(line: &str) -> Option<Line> {
    let [server, row, figure, value] = line.split('\t').collect::<Vec<_>>().try_into().ok()?;
    Some(Line {
        server: SERVERS.iter().position(|name| *name == server)?,
        row: row.to_owned(),
        figure: Figure::ALL.into_iter().find(|known| known.heading() == figure)?,
        value: value.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Line, Samples};
    use crate::report::Figure;

    #[test]
    fn what_was_appended_is_read_by_the_next_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("samples.tsv");
        let (mut samples, lines) = Samples::open(&path);
        assert!(lines.is_empty());
        for figure in Figure::ALL {
            samples.append(&Line { server: 1, row: "put, 1 client".to_owned(), figure, value: 0.1 });
        }
        let (_, lines) = Samples::open(&path);
        assert_eq!(lines.iter().map(|line| line.figure).collect::<Vec<_>>(), Figure::ALL);
        assert!(lines.iter().all(|line| line.server == 1 && line.row == "put, 1 client" && line.value == 0.1));
    }
}
