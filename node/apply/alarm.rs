//! Alarms are raised, cleared and listed. etcd `server/etcdserver/apply/backend.go`.

use super::Reply;
use super::scope::{Applied, Scope};
use crate::alarm::{Alarm, AlarmType};
use crate::storage::Table;
use crate::types::MemberId;
use keelstone_proto::etcdserverpb::alarm_request::AlarmAction;
use keelstone_proto::etcdserverpb::{self as pb, AlarmMember, AlarmRequest, AlarmResponse};

pub(super) fn apply(scope: &mut Scope<'_, '_>, request: AlarmRequest) -> Applied {
    let kind = match pb::AlarmType::try_from(request.alarm) {
        Ok(pb::AlarmType::Nospace) => Some(AlarmType::NoSpace),
        Ok(pb::AlarmType::Corrupt) => Some(AlarmType::Corrupt),
        Ok(pb::AlarmType::None) | Err(_) => None,
    };
    let named = kind.map(|kind| Alarm { kind, member: MemberId(request.member_id) });
    let alarms = match (AlarmAction::try_from(request.action), named) {
        (Ok(AlarmAction::Get), _) => scope.alarms.get(kind).collect(),
        (Ok(AlarmAction::Activate), Some(alarm)) => {
            if scope.alarms.activate(alarm) {
                scope.batch.storage().put(Table::Alarm, &alarm.to_row(), b"");
            }
            vec![alarm]
        }
        (Ok(AlarmAction::Deactivate), Some(alarm)) if scope.alarms.deactivate(alarm) => {
            scope.batch.storage().remove(Table::Alarm, &alarm.to_row());
            vec![alarm]
        }
        // No such alarm, no type named, or an action of a later version: nothing happens, as in etcd.
        (Ok(AlarmAction::Activate | AlarmAction::Deactivate) | Err(_), _) => Vec::new(),
    };
    let alarms = alarms.into_iter().map(message).collect();
    Ok(Reply::Alarm(AlarmResponse { header: scope.header(), alarms }))
}

fn message(alarm: Alarm) -> AlarmMember {
    let kind = match alarm.kind {
        AlarmType::NoSpace => pb::AlarmType::Nospace,
        AlarmType::Corrupt => pb::AlarmType::Corrupt,
    };
    AlarmMember { member_id: alarm.member.0, alarm: kind as i32 }
}
