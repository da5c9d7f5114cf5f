//! `etcdctl auth`.

use super::failure::{Failure, Outcome};
use super::tree::{Command, Group};
use super::{Call, printer};
use crate::client::methods;
use keelstone_proto::etcdserverpb::{
    AuthDisableRequest, AuthEnableRequest, AuthRoleAddRequest, AuthStatusRequest, AuthUserGrantRoleRequest,
};

pub static COMMAND: Command = Command {
    line: "auth <enable or disable>",
    short: "Authentication as a whole. See `etcdctl auth --help`",
    long: "Authentication as a whole",
    group: Group::Access,
    children: &[&ENABLE, &DISABLE, &STATUS],
    ..Command::PLAIN
};

static ENABLE: Command = Command {
    line: "enable",
    short: "From now on, asks who one is; needs a user root",
    run: Some(|call| Box::pin(enable(call))),
    ..Command::PLAIN
};

static DISABLE: Command = Command {
    line: "disable",
    short: "From now on, asks nobody who he is",
    run: Some(|call| Box::pin(disable(call))),
    ..Command::PLAIN
};

static STATUS: Command = Command {
    line: "status",
    short: "Prints whether authentication is on",
    run: Some(|call| Box::pin(status(call))),
    ..Command::PLAIN
};

fn no_words(call: &Call, name: &str) -> Outcome {
    if call.words().is_empty() {
        return Ok(());
    }
    Err(Failure::args(format_args!("auth {name} command does not accept any arguments")))
}

/// If the role root is what is missing, it is made and granted, and all is tried again.
async fn enable(call: &mut Call) -> Outcome {
    no_words(call, "enable")?;
    let (client, _) = call.client().await?;
    let deadline = call.deadline();
    while let Err(error) = client.call(methods::AUTH_ENABLE, AuthEnableRequest {}, deadline).await {
        if !error.is("etcdserver: root user does not have root role") {
            return Err(Failure::error(error));
        }
        let role = AuthRoleAddRequest { name: "root".to_owned() };
        client.call(methods::ROLE_ADD, role, deadline).await.map_err(Failure::error)?;
        let grant = AuthUserGrantRoleRequest { user: "root".to_owned(), role: "root".to_owned() };
        client.call(methods::USER_GRANT, grant, deadline).await.map_err(Failure::error)?;
    }
    printer::print(b"Authentication Enabled\n")
}

async fn disable(call: &mut Call) -> Outcome {
    no_words(call, "disable")?;
    let (client, _) = call.client().await?;
    let request = AuthDisableRequest {};
    client.call(methods::AUTH_DISABLE, request, call.deadline()).await.map_err(Failure::error)?;
    printer::print(b"Authentication Disabled\n")
}

async fn status(call: &mut Call) -> Outcome {
    no_words(call, "status")?;
    let (client, printer) = call.client().await?;
    printer
        .show(&client.call(methods::AUTH_STATUS, AuthStatusRequest {}, call.deadline()).await.map_err(Failure::error)?)
}
