//! How far something is, as a bar on stderr; only a terminal shows it.

use crate::types::OnProgress;
use indicatif::{ProgressBar, ProgressStyle};

pub fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} left");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Does the work with a bar, which is gone when it is done.
pub fn shown<R>(work: impl FnOnce(OnProgress<'_>) -> R) -> R {
    let bar = bar();
    let result = work(&mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    result
}
