//! `etcdctl del`.

use super::Call;
use super::failure::{Failure, Outcome};
use super::flags::{Flag, Values};
use super::tree::{Command, Group};
use super::{go, range};
use crate::client::{methods, text};
use keelstone_proto::etcdserverpb::DeleteRangeRequest;
use std::time::Duration;

/// For second thoughts.
const PAUSE: Duration = Duration::from_secs(2);

pub static COMMAND: Command = Command {
    line: "del [options] <key> [range_end]",
    short: "Deletes a key, or the keys from one up to another",
    group: Group::Keys,
    flags: &[
        Flag::switch("prefix", "all keys that begin so"),
        Flag::switch("prev-kv", "print the pairs that are deleted"),
        Flag::switch("from-key", "all keys from this one on, in the order of their bytes"),
        Flag::switch("range", "delete a range without waiting for second thoughts"),
    ],
    run: Some(|call| Box::pin(run(call))),
    ..Command::PLAIN
};

async fn run(call: &mut Call) -> Outcome {
    let request = request(&call.values, call.words())?;
    let (client, printer) = call.client().await?;
    let response = client.call(methods::DELETE, request, call.deadline()).await.map_err(Failure::error)?;
    printer.show(&response)
}

/// What the flags and words ask for; a line of `txn` too. Warns and waits before a range that `--range` does not confirm.
pub fn request(values: &Values, words: &[String]) -> Result<DeleteRangeRequest, Failure> {
    let (prefix, from_key) = (values.switch("prefix"), values.switch("from-key"));
    let (key, end) = match words {
        [key] => (key, None),
        [key, end] => (key, Some(end)),
        _ => return Err(Failure::args("del command needs one argument as key and an optional argument as range_end")),
    };
    if prefix && from_key {
        return Err(Failure::args("`--prefix` and `--from-key` cannot be set at the same time, choose one"));
    }
    if let Some(end) = end {
        if prefix || from_key {
            return Err(Failure::args(
                "too many arguments, only accept one argument when `--prefix` or `--from-key` is set",
            ));
        }
        if !values.switch("range") {
            let (key, end) = (go::quote(key.as_bytes()), go::quote(end.as_bytes()));
            eprintln!(
                "Warning: Keys between {key} and {end} will be deleted. Please interrupt the command within next 2 seconds to cancel. You can provide `--range` flag to avoid the delay."
            );
            std::thread::sleep(PAUSE);
        }
    }
    let mut request = DeleteRangeRequest {
        key: text(key),
        range_end: end.map(|end| text(end)).unwrap_or_default(),
        prev_kv: values.switch("prev-kv"),
    };
    if prefix || from_key {
        let (key, end) = if prefix { range::with_prefix(key) } else { range::from_key(key) };
        (request.key, request.range_end) = (key.into(), end.into());
    }
    Ok(request)
}
