//! What the client tells on stderr beside results: lines as etcd's client logs them, JSON by zap.

use super::printer::json;
use crate::client::{FailedAttempt, Report};
use crate::clock::timestamp;
use std::time::SystemTime;

/// Who speaks.
#[derive(Clone, Copy, Debug)]
pub struct Logger(Option<&'static str>);

impl Logger {
    pub const fn unnamed() -> Self {
        Self(None)
    }

    pub const fn named(name: &'static str) -> Self {
        Self(Some(name))
    }

    /// One line with fields, all of them texts.
    pub fn line(self, level: &str, message: &str, fields: &[(&str, &str)]) {
        self.line_with(level, message, |object| {
            for (name, value) in fields {
                object.always_text(name, value);
            }
        });
    }

    /// One line with what `fields` adds to it.
    pub fn line_with(self, level: &str, message: &str, fields: impl FnOnce(&mut json::Object)) {
        let mut object = json::Object::default();
        let time = timestamp(SystemTime::now());
        object.text("level", level).text("ts", &time).text("logger", self.0.unwrap_or_default());
        object.text("msg", message);
        fields(&mut object);
        eprintln!("{}", object.end());
    }
}

impl Report for Logger {
    fn attempt_failed(&self, attempt: FailedAttempt<'_>) {
        self.line_with("warn", "retrying of unary invoker failed", |fields| {
            fields.text("target", attempt.target).text("method", attempt.method);
            fields.always("attempt", &attempt.attempt.to_string()).text("error", attempt.error);
        });
    }
}
