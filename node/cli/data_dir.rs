//! A look at the data directory before it is opened (etcd `identifyDataDirOrDie`): has a member lived there?

use std::io;
use std::path::Path;
use tracing::warn;

/// What a data directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirType {
    Empty,
    Member,
}

impl DirType {
    pub fn as_str(self) -> &'static str {
        match self {
            DirType::Empty => "empty",
            DirType::Member => "member",
        }
    }
}

/// Why the directory cannot be used; texts are etcd's.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    #[error("failed to list data directory")]
    List(#[source] io::Error),
    #[error("invalid datadir; both member and proxy directories exist")]
    MemberAndProxy,
    #[error("v2 http proxy has already been deprecated in 3.6")]
    Proxy,
}

/// Looks, and warns of files that do not belong there.
pub fn identify(dir: &Path) -> Result<DirType, DirError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(DirType::Empty),
        Err(error) => return Err(DirError::List(error)),
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<io::Result<Vec<_>>>().map_err(DirError::List)?;
    names.sort();
    for name in names.iter().filter(|name| !matches!(name.as_str(), "member" | "proxy")) {
        warn!(filename = name, "data-dir" = %dir.display(), "found invalid file under data directory");
    }
    match (names.iter().any(|name| name == "member"), names.iter().any(|name| name == "proxy")) {
        (true, true) => Err(DirError::MemberAndProxy),
        (false, true) => Err(DirError::Proxy),
        (true, false) => Ok(DirType::Member),
        (false, false) => Ok(DirType::Empty),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_known_by_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        assert_eq!(identify(&path.join("none")).unwrap(), DirType::Empty);
        std::fs::write(path.join("notes.txt"), "x").unwrap();
        assert_eq!(identify(path).unwrap(), DirType::Empty);
        std::fs::create_dir(path.join("member")).unwrap();
        assert_eq!(identify(path).unwrap(), DirType::Member);
        std::fs::create_dir(path.join("proxy")).unwrap();
        assert!(matches!(identify(path), Err(DirError::MemberAndProxy)));
        assert!(matches!(identify(&path.join("notes.txt")), Err(DirError::List(_))));
    }
}
