//! `etcdctl txn`: comparisons, what to do if all hold and what if not, a line each, the parts ended by empty lines.

use super::failure::{Failure, INVALID_INPUT, Outcome};
use super::flags::{Flag, FlagSet, Values};
use super::tree::{Command, Group, HELP};
use super::{Call, del, get, go, printer, put, usage, words};
use crate::client::methods;
use keelstone_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelstone_proto::etcdserverpb::request_op::Request;
use keelstone_proto::etcdserverpb::{Compare, RequestOp, TxnRequest};
use std::io::BufRead;

pub static COMMAND: Command = Command {
    line: "txn [options]",
    short: "Does several things to keys at once, or others if a condition does not hold",
    long: "Reads a transaction from stdin and does it at once. It has three parts, each ended by an empty line:
conditions, what to do if all of them hold, what to do if one does not.

---
etcdctl txn -i
# compares:
mod(\"key1\") > \"0\"

# success requests (get, put, del):
put key1 \"changed\"

# failure requests (get, put, del):
put key1 \"created\"
put key2 \"as well\"

---

A condition compares create, mod, ver, val or lease of a key by =, !=, < or > with a value in quotes.",
    group: Group::Keys,
    flags: &[Flag::switch("interactive", "say what is to be entered").or_short('i')],
    run: Some(|call| Box::pin(run(call))),
    ..Command::PLAIN
};

async fn run(call: &mut Call) -> Outcome {
    if !call.words().is_empty() {
        return Err(Failure::args("txn command does not accept argument"));
    }
    let (client, printer) = call.client().await?;
    let prompt = |text: &str| {
        if call.values.switch("interactive") { printer::print(format!("{text}\n").as_bytes()) } else { Ok(()) }
    };
    prompt("compares:")?;
    let compare = part(compare)?;
    prompt("success requests (get, put, del):")?;
    let success = part(request)?;
    prompt("failure requests (get, put, del):")?;
    let failure = part(request)?;
    let response = client.call(methods::TXN, TxnRequest { compare, success, failure }, None).await;
    printer.show(&response.map_err(Failure::error)?)
}

/// Lines up to an empty one.
fn part<T>(parse: impl Fn(&str) -> Result<T, Failure>) -> Result<Vec<T>, Failure> {
    let mut parsed = Vec::new();
    loop {
        match next_line().map_err(|text| Failure::new(INVALID_INPUT, text))?.trim() {
            "" => return Ok(parsed),
            line => parsed.push(parse(line)?),
        }
    }
}

/// A line without its end; what is not ended is none.
///
/// # Errors
/// Why there is none, as Go says it.
pub fn next_line() -> Result<String, String> {
    let mut line = Vec::new();
    std::io::stdin().lock().read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
    if line.pop() != Some(b'\n') {
        return Err("EOF".to_owned());
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn invalid(text: String) -> Failure {
    Failure::new(INVALID_INPUT, text)
}

/// `mod("key") > "0"`
fn compare(line: &str) -> Result<Compare, Failure> {
    let Some((target, rest)) = line.split_once('(') else {
        return Err(invalid(format!("malformed comparison: {line}")));
    };
    // How far it was understood is part of the message.
    let (mut key, mut operator, mut value) = (Vec::new(), String::new(), Vec::new());
    let mut read = || -> Option<()> {
        let (found, rest) = go::unquote(rest.trim_start())?;
        key = found;
        let rest = rest.strip_prefix(')')?.trim_start();
        let (found, rest) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
        operator = Some(found).filter(|found| !found.is_empty())?.to_owned();
        value = go::unquote(rest.trim_start())?.0;
        Some(())
    };
    if read().is_none() {
        let (key, value) = (go::quote(&key), go::quote(&value));
        return Err(invalid(format!("malformed comparison: {line}; got {target}({key}) {operator} {value}")));
    }
    let text = String::from_utf8_lossy(&value);
    let number =
        |radix| go::parse_int(&text, radix).map_err(|_| invalid(format!("invalid txn compare request: {line}")));
    let (target, union) = match target {
        "ver" | "version" => (CompareTarget::Version, TargetUnion::Version(number(10)?)),
        "c" | "create" => (CompareTarget::Create, TargetUnion::CreateRevision(number(10)?)),
        "m" | "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number(10)?)),
        "val" | "value" => (CompareTarget::Value, TargetUnion::Value(value.clone().into())),
        // In hexadecimal, as everywhere on the command line; etcdctl 3.7 panics at it.
        "lease" => (CompareTarget::Lease, TargetUnion::Lease(number(16)?)),
        _ => return Err(invalid(format!("malformed comparison: {line} (unknown target {target})"))),
    };
    let result = match operator.as_str() {
        "=" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        ">" => CompareResult::Greater,
        "<" => CompareResult::Less,
        // Here too etcdctl 3.7 panics.
        _ => return Err(invalid(format!("malformed comparison: {line} (unknown operator {operator})"))),
    };
    let mut compare = Compare { key: key.into(), target_union: Some(union), ..Compare::default() };
    compare.set_target(target);
    compare.set_result(result);
    Ok(compare)
}

/// `get`, `put` or `del` with their flags.
fn request(line: &str) -> Result<RequestOp, Failure> {
    let words = words::split(line)?;
    if words.len() < 2 {
        return Err(invalid(format!("invalid txn compare request: {line}")));
    }
    let commands = [&get::COMMAND, &put::COMMAND, &del::COMMAND];
    let Some(at) = words.iter().position(|word| !word.starts_with('-')) else {
        return Err(invalid(format!("invalid txn request: {line}")));
    };
    let mut named = commands.iter().filter(|command| command.name().starts_with(&words[at]));
    let (Some(command), None) = (named.next(), named.next()) else {
        return Err(invalid(format!("invalid txn request: {line}")));
    };
    let mut flags = FlagSet::default();
    flags.add(command.flags);
    flags.add(HELP);
    let Some(values) = Values::parse(&flags, &words[at + 1..]).ok().filter(|values| !values.wants_help) else {
        eprintln!("{}", usage::of_line(command));
        return Err(invalid(format!("invalid txn request: {line}")));
    };
    let request = match command.name() {
        "get" => Request::RequestRange(get::request(&values, &values.words)?),
        "put" => Request::RequestPut(put::request(&values, &values.words)?),
        _ => Request::RequestDeleteRange(del::request(&values, &values.words)?),
    };
    Ok(RequestOp { request: Some(request) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_is_read_in_go_s_quotes() {
        let read = compare("mod(\"a b\") > \"3\"").unwrap();
        assert_eq!((read.key.as_ref(), &read.target_union), (&b"a b"[..], &Some(TargetUnion::ModRevision(3))));
        assert_eq!((read.target(), read.result()), (CompareTarget::Mod, CompareResult::Greater));
        let read = compare("lease(`k`) != \"1f\"").unwrap();
        assert_eq!(read.target_union, Some(TargetUnion::Lease(0x1f)));
    }

    /// Texts recorded from etcdctl 3.7.3.
    #[test]
    fn a_refused_line_is_shown() {
        for (line, said) in [
            ("x", "malformed comparison: x"),
            ("mod(\"foo\" > \"0\"", "malformed comparison: mod(\"foo\" > \"0\"; got mod(\"foo\")  \"\""),
            ("bogus(\"foo\") > \"0\"", "malformed comparison: bogus(\"foo\") > \"0\" (unknown target bogus)"),
            ("mod(\"foo\") > \"x\"", "invalid txn compare request: mod(\"foo\") > \"x\""),
        ] {
            assert_eq!(compare(line).unwrap_err(), invalid(said.to_owned()), "{line}");
        }
        for (line, said) in [
            ("put", "invalid txn compare request: put"),
            ("frob x y", "invalid txn request: frob x y"),
            ("put --bogus x", "invalid txn request: put --bogus x"),
        ] {
            assert_eq!(request(line).unwrap_err(), invalid(said.to_owned()), "{line}");
        }
    }
}
