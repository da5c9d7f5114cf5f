//! `etcdctl user`.

use super::Call;
use super::connection::ask_password;
use super::failure::{Failure, Outcome};
use super::flags::{Flag, Kind};
use super::printer::json::Json;
use super::printer::{self, Named, Permitted};
use super::tree::{Command, Group};
use crate::client::{Client, Method, methods};
use keelstone_proto::authpb::UserAddOptions;
use keelstone_proto::etcdserverpb::*;
use prost::Message;

pub static COMMAND: Command = Command {
    line: "user <subcommand>",
    short: "Users. See `etcdctl user --help`",
    long: "Users",
    group: Group::Access,
    children: &[&ADD, &DELETE, &GET, &LIST, &PASSWORD, &GRANT, &REVOKE],
    ..Command::PLAIN
};

static ADD: Command = Command {
    line: "add <user name or user:password> [options]",
    short: "Adds a user",
    flags: &[
        Flag::new("interactive", Kind::Switch, "true", "ask for the password; with =false it is a line of stdin"),
        Flag::text("new-user-password", "the password"),
        Flag::switch("no-password", "the user has none and is known by a certificate alone"),
    ],
    run: Some(|call| Box::pin(add(call))),
    ..Command::PLAIN
};

static DELETE: Command = Command {
    line: "delete <user name>",
    short: "Deletes a user",
    run: Some(|call| Box::pin(delete(call))),
    ..Command::PLAIN
};

static GET: Command = Command {
    line: "get <user name> [options]",
    short: "Prints the roles of a user",
    flags: &[Flag::switch("detail", "and what they permit")],
    run: Some(|call| Box::pin(get(call))),
    ..Command::PLAIN
};

static LIST: Command =
    Command { line: "list", short: "Prints all users", run: Some(|call| Box::pin(list(call))), ..Command::PLAIN };

static PASSWORD: Command = Command {
    line: "passwd <user name> [options]",
    short: "Changes the password of a user",
    flags: &[Flag::new("interactive", Kind::Switch, "true", "ask for the password; with =false it is a line of stdin")],
    run: Some(|call| Box::pin(change_password(call))),
    ..Command::PLAIN
};

static GRANT: Command = Command {
    line: "grant-role <user name> <role name>",
    short: "Gives a user a role",
    run: Some(|call| Box::pin(grant(call))),
    ..Command::PLAIN
};

static REVOKE: Command = Command {
    line: "revoke-role <user name> <role name>",
    short: "Takes a role from a user",
    run: Some(|call| Box::pin(revoke(call))),
    ..Command::PLAIN
};

fn one(call: &Call, text: &str) -> Result<String, Failure> {
    match call.words() {
        [word] => Ok(word.clone()),
        _ => Err(Failure::args(text)),
    }
}

fn two(call: &Call, text: &str) -> Result<(String, String), Failure> {
    match call.words() {
        [first, second] => Ok((first.clone(), second.clone())),
        _ => Err(Failure::args(text)),
    }
}

async fn ask<Q, A>(client: &Client, method: Method<Q, A>, request: Q) -> Result<A, Failure>
where
    Q: Message + Clone + 'static,
    A: Message + Json + Default + 'static,
{
    client.call(method, request, None).await.map_err(Failure::error)
}

/// A line of stdin up to the first blank, or asked for twice.
fn password_of(call: &Call, name: &str) -> Result<String, Failure> {
    if !call.values.switch("interactive") {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        return Ok(line.split_whitespace().next().unwrap_or_default().to_owned());
    }
    let asked = |prompt: &str| {
        ask_password(prompt).map_err(|failure| {
            Failure::args(format_args!("failed to ask password: {}", failure.text.unwrap_or_default()))
        })
    };
    let password = asked(&format!("Password of {name}: "))?;
    if password.is_empty() {
        return Err(Failure::args("empty password"));
    }
    if asked(&format!("Type password of {name} again for confirmation: "))? != password {
        return Err(Failure::args("given passwords are different"));
    }
    Ok(password)
}

async fn add(call: &mut Call) -> Outcome {
    let given = one(call, "user add command requires user name as its argument")?;
    let no_password = call.values.switch("no-password");
    let from_flag = call.values.text("new-user-password");
    let (name, password) = if no_password {
        (given, String::new())
    } else if !from_flag.is_empty() {
        (given, from_flag.to_owned())
    } else if let Some((name, password)) = given.split_once(':') {
        if name.is_empty() {
            return Err(Failure::args("empty user name is not allowed"));
        }
        (name.to_owned(), password.to_owned())
    } else {
        let password = password_of(call, &given)?;
        (given, password)
    };
    let (client, printer) = call.client().await?;
    let line = format!("User {name} created");
    let options = Some(UserAddOptions { no_password });
    let request = AuthUserAddRequest { name, password, options, ..AuthUserAddRequest::default() };
    let response = ask(&client, methods::USER_ADD, request).await?;
    printer.show(&Named { line, header: response.header.as_ref(), response: &response })
}

async fn delete(call: &mut Call) -> Outcome {
    let name = one(call, "user delete command requires user name as its argument")?;
    let (client, printer) = call.client().await?;
    let line = format!("User {name} deleted");
    let response = ask(&client, methods::USER_DELETE, AuthUserDeleteRequest { name }).await?;
    printer.show(&Named { line, header: response.header.as_ref(), response: &response })
}

async fn get(call: &mut Call) -> Outcome {
    let name = one(call, "user get command requires user name as its argument")?;
    let (client, printer) = call.client().await?;
    let response = ask(&client, methods::USER_GET, AuthUserGetRequest { name: name.clone() }).await?;
    if !call.values.switch("detail") {
        return printer.show(&(name.as_str(), response));
    }
    printer::print(format!("User: {name}\n").as_bytes())?;
    for role in response.roles {
        printer::print(b"\n")?;
        let response = ask(&client, methods::ROLE_GET, AuthRoleGetRequest { role: role.clone() }).await?;
        printer.show(&Permitted(role, response))?;
    }
    Ok(())
}

async fn list(call: &mut Call) -> Outcome {
    if !call.words().is_empty() {
        return Err(Failure::args("user list command requires no arguments"));
    }
    let (client, printer) = call.client().await?;
    printer.show(&ask(&client, methods::USER_LIST, AuthUserListRequest {}).await?)
}

async fn change_password(call: &mut Call) -> Outcome {
    let name = one(call, "user passwd command requires user name as its argument")?;
    let password = password_of(call, &name)?;
    let (client, printer) = call.client().await?;
    let request = AuthUserChangePasswordRequest { name, password, ..AuthUserChangePasswordRequest::default() };
    let response = ask(&client, methods::USER_PASSWORD, request).await?;
    let line = "Password updated".to_owned();
    printer.show(&Named { line, header: response.header.as_ref(), response: &response })
}

async fn grant(call: &mut Call) -> Outcome {
    let (user, role) = two(call, "user grant command requires user name and role name as its argument")?;
    let (client, printer) = call.client().await?;
    let line = format!("Role {role} is granted to user {user}");
    let response = ask(&client, methods::USER_GRANT, AuthUserGrantRoleRequest { user, role }).await?;
    printer.show(&Named { line, header: response.header.as_ref(), response: &response })
}

async fn revoke(call: &mut Call) -> Outcome {
    let (name, role) = two(call, "user revoke-role requires user name and role name as its argument")?;
    let (client, printer) = call.client().await?;
    let line = format!("Role {role} is revoked from user {name}");
    let response = ask(&client, methods::USER_REVOKE, AuthUserRevokeRoleRequest { name, role }).await?;
    printer.show(&Named { line, header: response.header.as_ref(), response: &response })
}
