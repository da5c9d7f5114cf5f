//! From `tracing` events to lines.

use super::FATAL_TARGET;
use super::format::{self, Fields, Head};
use super::sampling::Sampler;
use super::writer::Logger;
use crate::config::LogFormat;
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// Writes each event, with the fields of the spans around it behind its own.
#[derive(Debug)]
pub struct JsonLayer {
    format: LogFormat,
    logger: Logger,
    sampler: Sampler,
}

impl JsonLayer {
    pub fn new(format: LogFormat, logger: Logger) -> JsonLayer {
        JsonLayer { format, logger, sampler: Sampler::new() }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JsonLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::new(self.format);
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let level = level_name(metadata);
        let mut fields = Fields::new(self.format);
        event.record(&mut fields);
        let time = SystemTime::now();
        let second = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if level != "fatal" && !self.sampler.admits(level, &fields.message, second) {
            return;
        }
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(around) = span.extensions().get::<Fields>() {
                fields.members.push_str(&around.members);
            }
        }
        let (file, line) = (metadata.file().unwrap_or_default(), metadata.line().unwrap_or_default());
        let head = Head { level, time, file, line };
        self.logger.write(format::line(self.format, &head, &fields));
        if level == "fatal" {
            self.logger.flush();
        }
    }
}

fn level_name(metadata: &Metadata<'_>) -> &'static str {
    let own = metadata.target().starts_with("keelstone");
    match *metadata.level() {
        _ if metadata.target() == FATAL_TARGET => "fatal",
        Level::ERROR if own => "error",
        Level::ERROR | Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    }
}
