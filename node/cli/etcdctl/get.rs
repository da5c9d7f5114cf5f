//! `etcdctl get`.

use super::Call;
use super::failure::{BAD_FEATURE, Failure, Outcome};
use super::flags::{Flag, Kind, Values};
use super::printer::Form;
use super::range;
use super::tree::{Command, Group};
use crate::client::{CallError, Client, Deadline, methods, text};
use keelstone_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use keelstone_proto::etcdserverpb::{RangeRequest, RangeResponse};

pub static COMMAND: Command = Command {
    line: "get [options] <key> [range_end]",
    short: "Prints a key or a range of keys with their values",
    group: Group::Keys,
    flags: &[
        Flag::new("consistency", Kind::Text, "l", "l: a linearizable read, s: a serializable one"),
        Flag::text("order", "ASCEND or DESCEND, by --sort-by"),
        Flag::text("sort-by", "CREATE, KEY, MODIFY, VALUE or VERSION"),
        Flag::int("limit", "at most so many keys (0: all)"),
        Flag::switch("prefix", "all keys that begin so"),
        Flag::switch("from-key", "all keys from this one on, in the order of their bytes"),
        Flag::int("rev", "as of this revision (0: now)"),
        Flag::switch("keys-only", "without the values"),
        Flag::switch("count-only", "their number alone (with --write-out=fields)"),
        Flag::switch("print-value-only", "without the keys (with --write-out=simple)"),
        Flag::int("min-create-rev", "not those created before this revision"),
        Flag::int("max-create-rev", "not those created after this revision"),
        Flag::int("min-mod-rev", "not those last changed before this revision"),
        Flag::int("max-mod-rev", "not those last changed after this revision"),
        Flag::switch("stream", "receive them in parts"),
    ],
    run: Some(|call| Box::pin(run(call))),
    ..Command::PLAIN
};

async fn run(call: &mut Call) -> Outcome {
    let request = request(&call.values, call.words())?;
    let (client, mut printer) = call.client().await?;
    let deadline = call.deadline();
    let response = if call.values.switch("stream") {
        streamed(&client, request, deadline).await
    } else {
        client.call(methods::RANGE, request, deadline).await
    };
    let response = response.map_err(Failure::error)?;
    if call.values.switch("count-only") && printer.form != Form::Fields {
        return Err(Failure::args("--count-only is only for `--write-out=fields`"));
    }
    if call.values.switch("print-value-only") {
        if printer.form != Form::Simple {
            return Err(Failure::args("print-value-only is only for `--write-out=simple`"));
        }
        printer.values_only = true;
    }
    printer.show(&response)
}

/// Puts the parts together.
async fn streamed(client: &Client, request: RangeRequest, deadline: Deadline) -> Result<RangeResponse, CallError> {
    let mut stream = client.server_stream(methods::RANGE_STREAM, request, deadline).await?;
    let mut whole = RangeResponse::default();
    while let Some(part) = stream.message().await.map_err(|status| CallError::from_status(status, deadline))? {
        let part = part.range_response.unwrap_or_default();
        whole.header = part.header.or(whole.header);
        whole.kvs.extend(part.kvs);
        whole.more = part.more;
        whole.count = part.count;
    }
    Ok(whole)
}

/// `l` or `s`.
pub fn is_serializable(consistency: &str) -> Result<bool, Failure> {
    match consistency {
        "s" => Ok(true),
        "l" => Ok(false),
        other => Err(Failure::new(BAD_FEATURE, format_args!("unknown consistency flag {other:?}"))),
    }
}

/// What the flags and words ask for; a line of `txn` too.
pub fn request(values: &Values, words: &[String]) -> Result<RangeRequest, Failure> {
    let (prefix, from_key) = (values.switch("prefix"), values.switch("from-key"));
    let Some(key) = words.first() else {
        return Err(Failure::args("get command needs one argument as key and an optional argument as range_end"));
    };
    if prefix && from_key {
        return Err(Failure::args("`--prefix` and `--from-key` cannot be set at the same time, choose one"));
    }
    if values.switch("keys-only") && values.switch("count-only") {
        return Err(Failure::args("`--keys-only` and `--count-only` cannot be set at the same time, choose one"));
    }
    let serializable = is_serializable(values.text("consistency"))?;
    if words.len() > 1 && (prefix || from_key) {
        return Err(Failure::args(
            "too many arguments, only accept one argument when `--prefix` or `--from-key` is set",
        ));
    }
    let order = order(values.text("order"))?;
    let target = target(values.text("sort-by"))?;
    let mut request = RangeRequest {
        key: text(key),
        range_end: words.get(1).map(|end| text(end)).unwrap_or_default(),
        limit: values.int("limit"),
        revision: values.int("rev").max(0),
        serializable,
        keys_only: values.switch("keys-only"),
        count_only: values.switch("count-only"),
        min_create_revision: values.int("min-create-rev").max(0),
        max_create_revision: values.int("max-create-rev").max(0),
        min_mod_revision: values.int("min-mod-rev").max(0),
        max_mod_revision: values.int("max-mod-rev").max(0),
        ..RangeRequest::default()
    };
    sort(&mut request, target, order);
    if prefix || from_key {
        let (key, end) = if prefix { range::with_prefix(key) } else { range::from_key(key) };
        (request.key, request.range_end) = (key.into(), end.into());
    }
    for (what, min, max) in [
        ("Create", request.min_create_revision, request.max_create_revision),
        ("Mod", request.min_mod_revision, request.max_mod_revision),
    ] {
        if max > 0 && min > max {
            let text = format!("getMin{what}Rev(={min}) > getMax{what}Rev(={max})");
            return Err(Failure::new(BAD_FEATURE, text));
        }
    }
    Ok(request)
}

/// Keys come in their own order anyway; asking for it would only cost the server.
fn sort(request: &mut RangeRequest, target: SortTarget, order: SortOrder) {
    let by_key = target == SortTarget::Key;
    let order = if by_key && order == SortOrder::Ascend { SortOrder::None } else { order };
    request.set_sort_target(target);
    request.set_sort_order(order);
}

fn order(name: &str) -> Result<SortOrder, Failure> {
    Ok(match name.to_uppercase().as_str() {
        "ASCEND" => SortOrder::Ascend,
        "DESCEND" => SortOrder::Descend,
        "" => SortOrder::None,
        _ => return Err(Failure::new(BAD_FEATURE, format_args!("bad sort order {name}"))),
    })
}

fn target(name: &str) -> Result<SortTarget, Failure> {
    Ok(match name.to_uppercase().as_str() {
        "CREATE" => SortTarget::Create,
        "MODIFY" => SortTarget::Mod,
        "VALUE" => SortTarget::Value,
        "VERSION" => SortTarget::Version,
        "KEY" | "" => SortTarget::Key,
        _ => return Err(Failure::new(BAD_FEATURE, format_args!("bad sort target {name}"))),
    })
}
