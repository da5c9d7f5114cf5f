//! `etcdctl role`.

use super::failure::{Failure, Outcome};
use super::flags::{Flag, Values};
use super::printer::json::Json;
use super::printer::{Named, Permitted, Printer};
use super::tree::{Command, Group};
use super::{Call, range};
use crate::client::{Method, methods};
use keelstone_proto::authpb::{Permission, permission::Type};
use keelstone_proto::etcdserverpb::*;
use prost::Message;

pub static COMMAND: Command = Command {
    line: "role <subcommand>",
    short: "Roles and what they permit. See `etcdctl role --help`",
    long: "Roles and what they permit",
    group: Group::Access,
    children: &[&ADD, &DELETE, &GET, &LIST, &GRANT, &REVOKE],
    ..Command::PLAIN
};

static ADD: Command =
    Command { line: "add <role name>", short: "Adds a role", run: Some(|call| Box::pin(add(call))), ..Command::PLAIN };

static DELETE: Command = Command {
    line: "delete <role name>",
    short: "Deletes a role",
    run: Some(|call| Box::pin(delete(call))),
    ..Command::PLAIN
};

static GET: Command = Command {
    line: "get <role name>",
    short: "Prints what a role permits",
    run: Some(|call| Box::pin(get(call))),
    ..Command::PLAIN
};

static LIST: Command =
    Command { line: "list", short: "Prints all roles", run: Some(|call| Box::pin(list(call))), ..Command::PLAIN };

/// For both that follow.
const KEYS: &[Flag] = &[
    Flag::switch("prefix", "all keys that begin so"),
    Flag::switch("from-key", "all keys from this one on, in the order of their bytes"),
];

static GRANT: Command = Command {
    line: "grant-permission [options] <role name> <permission type> <key> [endkey]",
    short: "Lets a role read, write or readwrite keys",
    flags: KEYS,
    run: Some(|call| Box::pin(grant(call))),
    ..Command::PLAIN
};

static REVOKE: Command = Command {
    line: "revoke-permission <role name> <key> [endkey]",
    short: "Takes the permission for these keys from a role",
    flags: KEYS,
    run: Some(|call| Box::pin(revoke(call))),
    ..Command::PLAIN
};

fn name_of(call: &Call, command: &str) -> Result<String, Failure> {
    match call.words() {
        [name] => Ok(name.clone()),
        _ => Err(Failure::args(format_args!("role {command} command requires role name as its argument"))),
    }
}

async fn ask<Q, A>(call: &mut Call, method: Method<Q, A>, request: Q) -> Result<(A, Printer), Failure>
where
    Q: Message + Clone + 'static,
    A: Message + Json + Default + 'static,
{
    let (client, printer) = call.client().await?;
    Ok((client.call(method, request, None).await.map_err(Failure::error)?, printer))
}

async fn add(call: &mut Call) -> Outcome {
    let name = name_of(call, "add")?;
    let line = format!("Role {name} created");
    let (response, printer) = ask(call, methods::ROLE_ADD, AuthRoleAddRequest { name }).await?;
    printer.show(&Named { line, header: response.header.as_ref(), response: &response })
}

async fn delete(call: &mut Call) -> Outcome {
    let role = name_of(call, "delete")?;
    let line = format!("Role {role} deleted");
    let (response, printer) = ask(call, methods::ROLE_DELETE, AuthRoleDeleteRequest { role }).await?;
    printer.show(&Named { line, header: response.header.as_ref(), response: &response })
}

async fn get(call: &mut Call) -> Outcome {
    let role = name_of(call, "get")?;
    let (response, printer) = ask(call, methods::ROLE_GET, AuthRoleGetRequest { role: role.clone() }).await?;
    printer.show(&Permitted(role, response))
}

async fn list(call: &mut Call) -> Outcome {
    if !call.words().is_empty() {
        return Err(Failure::args("role list command requires no arguments"));
    }
    let (response, printer) = ask(call, methods::ROLE_LIST, AuthRoleListRequest {}).await?;
    printer.show(&response)
}

async fn grant(call: &mut Call) -> Outcome {
    let [name, kind, keys @ ..] = call.words() else { return Err(grant_usage()) };
    if keys.is_empty() {
        return Err(grant_usage());
    }
    let kind_of = |kind: &str| match kind.to_uppercase().as_str() {
        "READ" => Some(Type::Read),
        "WRITE" => Some(Type::Write),
        "READWRITE" => Some(Type::Readwrite),
        _ => None,
    };
    let kind = kind_of(kind).ok_or_else(|| Failure::args(format_args!("invalid permission type: {kind}")))?;
    let name = name.clone();
    let (key, end) = keys_of(&call.values, keys)?;
    let line = format!("Role {name} updated");
    let perm = Permission { perm_type: kind.into(), key: key.into(), range_end: end.into() };
    let request = AuthRoleGrantPermissionRequest { name, perm: Some(perm) };
    let (response, printer) = ask(call, methods::ROLE_GRANT, request).await?;
    printer.show(&Named { line, header: response.header.as_ref(), response: &response })
}

fn grant_usage() -> Failure {
    Failure::args("role grant command requires role name, permission type, and key [endkey] as its argument")
}

async fn revoke(call: &mut Call) -> Outcome {
    const USAGE: &str = "role revoke-permission command requires role name and key [endkey] as its argument";
    let [role, keys @ ..] = call.words() else { return Err(Failure::args(USAGE)) };
    let Some(first) = keys.first() else { return Err(Failure::args(USAGE)) };
    let (key, end) = keys_of(&call.values, keys)?;
    let line = match end.as_slice() {
        [] => format!("Permission of key {first} is revoked from role {role}"),
        [0] => format!("Permission of range [{first}, <open ended> is revoked from role {role}"),
        end => {
            let end = String::from_utf8_lossy(end);
            format!("Permission of range [{first}, {end}) is revoked from role {role}")
        }
    };
    let request = AuthRoleRevokePermissionRequest { role: role.clone(), key: key.into(), range_end: end.into() };
    let (response, printer) = ask(call, methods::ROLE_REVOKE, request).await?;
    printer.show(&Named { line, header: response.header.as_ref(), response: &response })
}

/// Key and end of a permission. The empty key stands for the first there can be, `[0]`.
fn keys_of(values: &Values, words: &[String]) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    const BOTH: &str = "--from-key and --prefix flags are mutually exclusive";
    let (prefix, from_key) = (values.switch("prefix"), values.switch("from-key"));
    let key = words[0].as_bytes();
    if key.is_empty() {
        return match (prefix, from_key) {
            (true, true) => Err(Failure::args(BOTH)),
            (false, false) => Ok((vec![0], Vec::new())),
            _ => Ok((vec![0], vec![0])),
        };
    }
    let end = match (words.get(1), prefix, from_key) {
        (Some(_), true, _) => return Err(Failure::args("unexpected endkey argument with --prefix flag")),
        (Some(_), _, true) => return Err(Failure::args("unexpected endkey argument with --from-key flag")),
        (Some(end), false, false) => end.as_bytes().to_vec(),
        (None, true, true) => return Err(Failure::args(BOTH)),
        (None, true, false) => range::prefix_end(key),
        (None, false, true) => vec![0],
        (None, false, false) => Vec::new(),
    };
    Ok((key.to_vec(), end))
}
