//! `etcdctl move-leader`.

use super::connection;
use super::failure::{Failure, Outcome};
use super::printer::Moved;
use super::tree::{Command, Group};
use super::{Call, go};
use crate::client::methods;
use keelstone_proto::etcdserverpb::{MoveLeaderRequest, StatusRequest};

pub static COMMAND: Command = Command {
    line: "move-leader <transferee-member-id>",
    short: "Hands leadership over to another member",
    group: Group::Cluster,
    run: Some(|call| Box::pin(run(call))),
    ..Command::PLAIN
};

/// Only the leader can be asked, so it is looked for among the endpoints.
async fn run(call: &mut Call) -> Outcome {
    let [target] = call.words() else { return Err(Failure::args("move-leader command needs 1 argument")) };
    let target_id = go::parse_uint(target, 16).map_err(Failure::args)?;
    let (settings, printer) = call.settings().await?;
    let deadline = call.deadline();
    for endpoint in settings.given() {
        let client = connection::open(settings.to_one(&endpoint)?).await?;
        let status = client.call(methods::STATUS, StatusRequest {}, deadline).await.map_err(Failure::error)?;
        if status.header.is_some_and(|header| header.member_id == status.leader) {
            let request = MoveLeaderRequest { target_id };
            let response = client.call(methods::MOVE_LEADER, request, deadline).await.map_err(Failure::error)?;
            return printer.show(&Moved { from: status.leader, to: target_id, response });
        }
    }
    Err(Failure::args(format_args!("no leader endpoint given at {}", go::list(&settings.given()))))
}
