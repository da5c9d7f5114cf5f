//! The logger's settings (etcd `setupLogging`): first of all checks, since it reports the others.

use super::settings::{AuditLog, Log, LogFormat, LogLevel, LogOutput, Rotation};
use super::values::Values;

/// Why no logger can be made; texts are etcd's and zap's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    #[error("--logger=capnslog is removed in v3.5")]
    Capnslog,
    #[error("unknown logger option {0:?}")]
    Logger(String),
    #[error("multi logoutput for \"default\" is not supported yet")]
    DefaultAmongOthers,
    /// etcd panics here, with exit code 2.
    #[error("panic: unrecognized level: {0:?}")]
    Level(String),
    #[error("unknown log format: {0}, supported values json, console")]
    Format(String),
    #[error("open sink {output:?}: no sink found for scheme {scheme:?}")]
    Scheme { output: String, scheme: String },
    #[error("open sink \"\": open : no such file or directory")]
    EmptyOutput,
    #[error("--log-outputs requires a single file path when --log-rotate-config-json is defined")]
    RotationWithoutOneFile,
    #[error("improperly formatted log rotation config: {0}")]
    RotationSyntax(String),
    #[error("invalid log rotation config: {0}")]
    Rotation(String),
    #[error("--audit-log-rotation-config-json: {0}")]
    Audit(String),
    #[error("--log-outputs systemd/journal is not built yet in Keelstone; systemd keeps what goes to stderr")]
    Journal,
}

pub fn read(values: &Values) -> Result<Log, LogError> {
    match values.text("logger") {
        "zap" => {}
        "capnslog" => return Err(LogError::Capnslog),
        other => return Err(LogError::Logger(other.to_owned())),
    }
    let outputs = read_outputs(values.words("log-outputs"))?;
    let level = read_level(values.text("log-level"))?;
    let format = match values.text("log-format") {
        "json" | "" => LogFormat::Json,
        "console" => LogFormat::Console,
        other => return Err(LogError::Format(other.to_owned())),
    };
    let rotation = if values.bool("enable-log-rotation") { Some(read_rotation(values)?) } else { None };
    Ok(Log { level, format, outputs, rotation, audit: read_audit(values)? })
}

fn read_rotation(values: &Values) -> Result<Rotation, LogError> {
    let words = values.words("log-outputs");
    let files = words.iter().filter(|word| !matches!(word.as_str(), "default" | "stderr" | "stdout")).count();
    if files > 1 || (files == 0 && words.len() == 1) {
        return Err(LogError::RotationWithoutOneFile);
    }
    rotation_rules(values.text("log-rotation-config-json"))
}

fn rotation_rules(json: &str) -> Result<Rotation, LogError> {
    serde_json::from_str(json).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => LogError::Rotation(error.to_string()),
        _ => LogError::RotationSyntax(error.to_string()),
    })
}

fn read_audit(values: &Values) -> Result<Option<AuditLog>, LogError> {
    let rotation = rotation_rules(values.text("audit-log-rotation-config-json"));
    let rotation = rotation.map_err(|error| LogError::Audit(error.to_string()))?;
    let path = values.text("audit-log-path");
    Ok((!path.is_empty()).then(|| AuditLog { path: path.into(), rotation }))
}

fn read_level(text: &str) -> Result<LogLevel, LogError> {
    match text.to_ascii_lowercase().as_str() {
        "debug" => Ok(LogLevel::Debug),
        "info" | "" => Ok(LogLevel::Info),
        "warn" | "warning" => Ok(LogLevel::Warn),
        "error" => Ok(LogLevel::Error),
        "dpanic" | "panic" | "fatal" => Ok(LogLevel::Fatal),
        _ => Err(LogError::Level(text.to_owned())),
    }
}

fn read_outputs(words: &[String]) -> Result<Vec<LogOutput>, LogError> {
    if words.len() > 1 && words.iter().any(|word| word == "default") {
        return Err(LogError::DefaultAmongOthers);
    }
    if words.iter().any(|word| word == "/dev/null") {
        return Ok(Vec::new());
    }
    let mut outputs = Vec::new();
    for word in words {
        outputs.push(match word.as_str() {
            "default" | "stderr" => LogOutput::Stderr,
            "stdout" => LogOutput::Stdout,
            "systemd/journal" => return Err(LogError::Journal),
            "" => return Err(LogError::EmptyOutput),
            path => LogOutput::File(read_path(path)?.into()),
        });
    }
    if outputs.is_empty() {
        outputs.push(LogOutput::Stderr);
    }
    outputs.sort();
    outputs.dedup();
    Ok(outputs)
}

/// A path, or a `file:` URL of one.
fn read_path(text: &str) -> Result<String, LogError> {
    match text.split_once(':') {
        Some(("file", rest)) => {
            let rest = rest.strip_prefix("//").unwrap_or(rest);
            Ok(rest.strip_prefix("localhost").unwrap_or(rest).to_owned())
        }
        Some((scheme, _)) if !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            Err(LogError::Scheme { output: text.to_owned(), scheme: scheme.to_owned() })
        }
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Flag;
    use super::*;

    fn log(settings: &[(&str, &str)]) -> Result<Log, String> {
        let mut values = Values::defaults();
        for (name, value) in settings {
            values.set(Flag::find(name).unwrap(), value).unwrap();
        }
        read(&values).map_err(|error| error.to_string())
    }

    #[test]
    fn outputs_are_merged_and_dev_null_discards_all() {
        assert_eq!(log(&[]).unwrap().outputs, [LogOutput::Stderr]);
        let outputs = log(&[("log-outputs", "stdout,stderr,a.log,stdout,file:///b")]).unwrap().outputs;
        let files = [LogOutput::File("/b".into()), LogOutput::File("a.log".into())];
        assert_eq!(outputs, [&[LogOutput::Stderr, LogOutput::Stdout][..], &files].concat());
        assert_eq!(log(&[("log-outputs", "stdout,/dev/null")]).unwrap().outputs, []);
    }

    #[test]
    fn rotation_takes_one_file_and_its_rules() {
        let with = |outputs, json| {
            let rotation = ("enable-log-rotation", "true");
            log(&[("log-outputs", outputs), ("log-rotation-config-json", json), rotation]).map(|log| log.rotation)
        };
        let rules =
            with("stderr,a.log", r#"{"maxsize": 1, "maxage": 2, "maxbackups": 3, "compress": true, "other": 1}"#);
        let expected =
            Rotation { max_megabytes: 1, max_age_days: 2, max_backups: 3, local_time: false, compress: true };
        assert_eq!(rules, Ok(Some(expected)));
        assert_eq!(with("a.log", "{}").map(|rules| rules.map(|rules| rules.max_bytes())), Ok(Some(100 << 20)));
        for (outputs, json, said) in [
            ("a,b", "{}", "--log-outputs requires a single file path"),
            ("stdout", "{}", "--log-outputs requires a single file path"),
            ("a", "{", "improperly formatted log rotation config: "),
            ("a", r#"{"maxsize": true}"#, "invalid log rotation config: "),
        ] {
            let refused = with(outputs, json).unwrap_err();
            assert!(refused.starts_with(said), "{refused}");
        }
    }

    #[test]
    fn levels_are_zaps() {
        for (text, level) in [("", LogLevel::Info), ("WARNING", LogLevel::Warn), ("dpanic", LogLevel::Fatal)] {
            assert_eq!(log(&[("log-level", text)]).unwrap().level, level);
        }
    }

    /// Texts recorded from etcd 3.7.3.
    #[test]
    fn refusals_use_etcds_words() {
        for (setting, said) in [
            (("logger", "capnslog"), "--logger=capnslog is removed in v3.5"),
            (("logger", "foo"), "unknown logger option \"foo\""),
            (("log-outputs", "default,stderr"), "multi logoutput for \"default\" is not supported yet"),
            (("log-outputs", "foo://x"), "open sink \"foo://x\": no sink found for scheme \"foo\""),
            (("log-outputs", ""), "open sink \"\": open : no such file or directory"),
            (("log-level", "foo"), "panic: unrecognized level: \"foo\""),
            (
                ("enable-log-rotation", "true"),
                "--log-outputs requires a single file path when --log-rotate-config-json is defined",
            ),
            (("log-format", "foo"), "unknown log format: foo, supported values json, console"),
        ] {
            assert_eq!(log(&[setting]).unwrap_err(), said);
        }
    }
}
