//! `etcdctl defrag`.

use super::connection;
use super::failure::{self, Failure, Outcome};
use super::tree::{Command, Group};
use super::{Call, endpoint, printer};
use crate::client::methods;
use crate::config::value::GoDuration;
use keelstone_proto::etcdserverpb::DefragmentRequest;
use std::time::Instant;

pub static COMMAND: Command = Command {
    line: "defrag",
    short: "Gives space of the store that is not used back to the file system, on each endpoint",
    group: Group::Cluster,
    persistent: endpoint::CLUSTER,
    run: Some(|call| Box::pin(run(call))),
    ..Command::PLAIN
};

async fn run(call: &mut Call) -> Outcome {
    let (settings, _) = call.settings().await?;
    let mut has_failed = false;
    for endpoint in endpoint::endpoints(call, &settings).await? {
        let client = connection::open(settings.to_one(&endpoint)?).await?;
        let begun = Instant::now();
        let done = client.call(methods::DEFRAGMENT, DefragmentRequest {}, call.deadline()).await;
        let took = GoDuration::from(begun.elapsed());
        match done {
            Ok(_) => {
                let line = format!("Finished defragmenting etcd member[{endpoint}]. took {took}\n");
                printer::print(line.as_bytes())?;
            }
            Err(error) => {
                has_failed = true;
                eprintln!("Failed to defragment etcd member[{endpoint}]. took {took}. ({error})");
            }
        }
    }
    if has_failed { Err(Failure::silent(failure::ERROR)) } else { Ok(()) }
}
