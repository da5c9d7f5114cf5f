//! `etcdctl downgrade`.

use super::Call;
use super::failure::{Failure, Outcome};
use super::printer::Downgraded;
use super::tree::{Command, Group};
use crate::client::methods;
use keelstone_proto::etcdserverpb::DowngradeRequest;
use keelstone_proto::etcdserverpb::downgrade_request::DowngradeAction;

pub static COMMAND: Command = Command {
    line: "downgrade <TARGET_VERSION>",
    short: "The way back to an earlier version. See `etcdctl downgrade --help`",
    long: "The way back to an earlier version",
    group: Group::Cluster,
    children: &[&VALIDATE, &ENABLE, &CANCEL],
    ..Command::PLAIN
};

static VALIDATE: Command = Command {
    line: "validate <TARGET_VERSION>",
    short: "Tells whether the cluster could go back",
    run: Some(|call| Box::pin(to_version(call, DowngradeAction::Validate, "validate"))),
    ..Command::PLAIN
};

static ENABLE: Command = Command {
    line: "enable <TARGET_VERSION>",
    short: "Begins to go back",
    run: Some(|call| Box::pin(to_version(call, DowngradeAction::Enable, "enable"))),
    ..Command::PLAIN
};

static CANCEL: Command = Command {
    line: "cancel",
    short: "Stays at this version after all",
    run: Some(|call| Box::pin(ask(call, DowngradeAction::Cancel, String::new(), "cancel"))),
    ..Command::PLAIN
};

async fn to_version(call: &mut Call, action: DowngradeAction, name: &'static str) -> Outcome {
    let version = match call.words() {
        [] => return Err(Failure::args("TARGET_VERSION not provided")),
        [version] if version.is_empty() => return Err(Failure::args("target version not provided")),
        [version] => version.clone(),
        _ => return Err(Failure::args("too many arguments")),
    };
    ask(call, action, version, name).await
}

async fn ask(call: &mut Call, action: DowngradeAction, version: String, name: &'static str) -> Outcome {
    let (client, printer) = call.client().await?;
    let request = DowngradeRequest { action: action.into(), version };
    let response = client.call(methods::DOWNGRADE, request, call.deadline()).await.map_err(Failure::error)?;
    printer.show(&Downgraded(name, response))
}
