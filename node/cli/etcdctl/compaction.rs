//! `etcdctl compaction`.

use super::failure::{Failure, Outcome};
use super::flags::Flag;
use super::tree::{Command, Group};
use super::{Call, go, printer};
use crate::client::methods;
use keelstone_proto::etcdserverpb::CompactionRequest;

pub static COMMAND: Command = Command {
    line: "compaction [options] <revision>",
    short: "Drops what keys were before a revision",
    group: Group::Keys,
    flags: &[Flag::switch("physical", "wait until the old revisions are gone from the store")],
    run: Some(|call| Box::pin(run(call))),
    ..Command::PLAIN
};

async fn run(call: &mut Call) -> Outcome {
    let [revision] = call.words() else { return Err(Failure::args("compaction command needs 1 argument")) };
    let revision = go::parse_int(revision, 10).map_err(Failure::error)?;
    let request = CompactionRequest { revision, physical: call.values.switch("physical") };
    let (client, _) = call.client().await?;
    client.call(methods::COMPACT, request, call.deadline()).await.map_err(Failure::error)?;
    printer::print(format!("compacted revision {revision}\n").as_bytes())
}
