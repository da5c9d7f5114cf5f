//! What a member is told about backups that it makes by itself.

mod retention;
mod schedule;

pub use retention::{Retention, RetentionError};
pub use schedule::{Schedule, ScheduleError};

use super::values::Values;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Backups of a member that has a place for them.
#[derive(Clone, Debug)]
pub struct Backup {
    pub directory: BackupUrl,
    /// None: only when asked.
    pub schedule: Option<Schedule>,
    pub retention: Retention,
    /// How much of the log a segment between two full backups spans. None: there are none.
    pub delta_interval: Option<Duration>,
}

/// Why the flags of backups are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    #[error("--backup-dir: {0}")]
    Dir(#[from] UrlError),
    #[error("--backup-schedule: {0}")]
    Schedule(#[from] ScheduleError),
    #[error("--backup-schedule needs a --backup-dir")]
    Nowhere,
    #[error("--backup-delta-interval must be at least 1s, or 0 for none (set to {0})")]
    DeltaInterval(String),
    #[error("--backup-retention: {0}")]
    Retention(#[from] RetentionError),
}

/// What the flags of backups say together. None without a place for them.
pub(super) fn read(values: &Values) -> Result<Option<Backup>, BackupError> {
    let schedule = Some(values.text("backup-schedule")).filter(|text| !text.trim().is_empty());
    let schedule = schedule.map(Schedule::parse).transpose()?;
    let retention = Retention::parse(values.text("backup-retention"))?;
    let interval = values.duration("backup-delta-interval");
    if interval.0 != 0 && interval.or_zero() < Duration::from_secs(1) {
        return Err(BackupError::DeltaInterval(interval.to_string()));
    }
    match values.text("backup-dir") {
        "" if schedule.is_some() => Err(BackupError::Nowhere),
        "" => Ok(None),
        url => Ok(Some(Backup {
            directory: BackupUrl::parse(url)?,
            // Without scheduled full backups nobody would need segments, nor ever drop them.
            delta_interval: schedule.is_some().then_some(interval.or_zero()).filter(|interval| !interval.is_zero()),
            schedule,
            retention,
        })),
    }
}

/// A destination: `file:///an/absolute/path` is the only kind so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupUrl {
    path: PathBuf,
}

/// Why a text names no destination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("{url:?} has no scheme; a local directory is file:///path")]
    NoScheme { url: String },
    #[error("{url:?} has the scheme {scheme:?}; there is only file so far")]
    Scheme { url: String, scheme: String },
    #[error("{url:?} must name an absolute path without host, as in file:///var/backups")]
    Path { url: String },
}

impl BackupUrl {
    /// # Errors
    /// What is wrong with it.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(UrlError::NoScheme { url: url.to_owned() });
        };
        if scheme != "file" {
            return Err(UrlError::Scheme { url: url.to_owned(), scheme: scheme.to_owned() });
        }
        let path = percent_encoding::percent_decode_str(rest).decode_utf8();
        let path = path.ok().filter(|path| path.starts_with('/') && !path.contains('\0'));
        let path = path.ok_or_else(|| UrlError::Path { url: url.to_owned() })?;
        Ok(Self { path: PathBuf::from(path.as_ref()) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for BackupUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file://{}", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn a_url_names_an_absolute_path() {
        assert_eq!(BackupUrl::parse("file:///var/a%20b").unwrap().to_string(), "file:///var/a b");
        for url in ["/var", "s3://bucket/x", "file://host/var", "file://var"] {
            BackupUrl::parse(url).expect_err(url);
        }
    }

    fn refused(args: &[&str]) -> String {
        Settings::from_args(args).expect_err("refused").to_string()
    }

    #[test]
    fn backups_need_a_place_and_a_rhythm_that_comes() {
        for (args, said) in [
            (&["--backup-schedule=@daily"][..], "--backup-schedule needs a --backup-dir"),
            (&["--backup-dir=/var/x"], "--backup-dir: \"/var/x\" has no scheme; a local directory is file:///path"),
            (
                &["--backup-dir=file:///x", "--backup-schedule=0 25 * * *"],
                "--backup-schedule: \"0 25 * * *\": \"25\" is no hour, which is 0-23",
            ),
            (
                &["--backup-delta-interval=10ms"],
                "--backup-delta-interval must be at least 1s, or 0 for none (set to 10ms)",
            ),
            (&["--backup-retention=count=0"], "--backup-retention: \"count=0\": the number must be above zero"),
        ] {
            assert_eq!(refused(args), said, "{args:?}");
        }
        let of = |args: &[&str]| Settings::from_args(args).expect("good flags").backup.expect("a place");
        let backup = of(&["--backup-dir=file:///x", "--backup-schedule=@every 1s"]);
        assert_eq!(backup.delta_interval, Some(Duration::from_secs(300)));
        assert_eq!(of(&["--backup-dir=file:///x"]).delta_interval, None, "without full ones");
    }
}
