//! `etcdctl alarm`.

use super::Call;
use super::failure::{Failure, Outcome};
use super::tree::{Command, Group};
use crate::client::methods;
use keelstone_proto::etcdserverpb::alarm_request::AlarmAction;
use keelstone_proto::etcdserverpb::{AlarmRequest, AlarmResponse};

pub static COMMAND: Command = Command {
    line: "alarm <subcommand>",
    short: "Alarms of members. See `etcdctl alarm --help`",
    long: "Alarms of members",
    group: Group::Cluster,
    children: &[&DISARM, &LIST],
    ..Command::PLAIN
};

static DISARM: Command =
    Command { line: "disarm", short: "Ends all alarms", run: Some(|call| Box::pin(disarm(call))), ..Command::PLAIN };

static LIST: Command =
    Command { line: "list", short: "Prints all alarms", run: Some(|call| Box::pin(list(call))), ..Command::PLAIN };

fn all() -> AlarmRequest {
    AlarmRequest { action: AlarmAction::Get.into(), ..AlarmRequest::default() }
}

async fn list(call: &mut Call) -> Outcome {
    if !call.words().is_empty() {
        return Err(Failure::args("alarm list command accepts no arguments"));
    }
    let (client, printer) = call.client().await?;
    printer.show(&client.call(methods::ALARM, all(), call.deadline()).await.map_err(Failure::error)?)
}

/// One by one, so that an alarm that comes meanwhile is not ended unseen.
async fn disarm(call: &mut Call) -> Outcome {
    if !call.words().is_empty() {
        return Err(Failure::args("alarm disarm command accepts no arguments"));
    }
    let (client, printer) = call.client().await?;
    let deadline = call.deadline();
    let mut ended = AlarmResponse::default();
    for alarm in client.call(methods::ALARM, all(), deadline).await.map_err(Failure::error)?.alarms {
        let request =
            AlarmRequest { action: AlarmAction::Deactivate.into(), member_id: alarm.member_id, alarm: alarm.alarm };
        ended.alarms.extend(client.call(methods::ALARM, request, deadline).await.map_err(Failure::error)?.alarms);
    }
    printer.show(&ended)
}
