//! `etcdctl put`.

use super::Call;
use super::failure::{Failure, Outcome};
use super::flags::{Flag, Kind, Values};
use super::go;
use super::tree::{Command, Group};
use crate::client::{methods, text};
use keelstone_proto::etcdserverpb::PutRequest;
use std::io::Read;

pub static COMMAND: Command = Command {
    line: "put [options] <key> <value> (<value> can also be given from stdin)",
    short: "Sets a key to a value",
    long: "Sets a key to a value.

A value that is not on the command line is read from stdin, to its end:

$ cat file | etcdctl put <key>

What begins with a dash is taken for a flag, unless '--' stands before it:

$ etcdctl put <key> -- <value>
$ etcdctl put -- <key> <value>
",
    group: Group::Keys,
    flags: &[
        Flag::new("lease", Kind::Text, "0", "id (in hexadecimal) of the lease that the key shall belong to"),
        Flag::switch("prev-kv", "print the pair as it was before"),
        Flag::switch("ignore-value", "keep the value that it has"),
        Flag::switch("ignore-lease", "keep the lease that it has"),
    ],
    run: Some(|call| Box::pin(run(call))),
    ..Command::PLAIN
};

async fn run(call: &mut Call) -> Outcome {
    let request = request(&call.values, call.words())?;
    let (client, printer) = call.client().await?;
    let response = client.call(methods::PUT, request, call.deadline()).await.map_err(Failure::error)?;
    printer.show(&response)
}

/// What the flags and words ask for; a line of `txn` too.
pub fn request(values: &Values, words: &[String]) -> Result<PutRequest, Failure> {
    const USAGE: &str = "put command needs 1 argument and input from stdin or 2 arguments";
    let Some(key) = words.first() else { return Err(Failure::args(USAGE)) };
    let ignore_value = values.switch("ignore-value");
    if ignore_value && words.len() > 1 {
        return Err(Failure::args("put command needs only 1 argument when 'ignore-value' is set"));
    }
    let value = match words.get(1) {
        _ if ignore_value => Vec::new(),
        Some(value) => value.as_bytes().to_vec(),
        None => {
            let mut value = Vec::new();
            let read = std::io::stdin().lock().read_to_end(&mut value);
            if read.is_err() || value.is_empty() {
                return Err(Failure::args(USAGE));
            }
            value
        }
    };
    let lease = go::parse_int(values.text("lease"), 16)
        .map_err(|why| Failure::args(format_args!("bad lease ID ({why}), expecting ID in Hex")))?;
    Ok(PutRequest {
        key: text(key),
        value: value.into(),
        lease,
        prev_kv: values.switch("prev-kv"),
        ignore_value,
        ignore_lease: values.switch("ignore-lease"),
    })
}
