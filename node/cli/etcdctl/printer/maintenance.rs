//! Answers about alarms, leadership and downgrades.

use super::fields::Fields;
use super::{Answer, Text, Wire};
use keelstone_proto::etcdserverpb::{AlarmResponse, AlarmType, DowngradeResponse, MoveLeaderResponse};

impl Answer for AlarmResponse {
    fn simple(&self, out: &mut Text) {
        for alarm in &self.alarms {
            // Protobuf's text form, which leaves zeros out. Go puts one blank or two between the fields, by a hash of its
            // binary, so that nobody relies on it.
            let member = Some(alarm.member_id).filter(|&id| id != 0).map(|id| format!("memberID:{id}"));
            let kind = Some(alarm_name(alarm.alarm)).filter(|name| name != "NONE").map(|name| format!("alarm:{name}"));
            out.line(member.into_iter().chain(kind).collect::<Vec<_>>().join(" "));
        }
    }

    fn message(&self) -> Option<&dyn Wire> {
        Some(self)
    }

    fn fields(&self, out: &mut Fields) -> bool {
        out.header(self.header.as_ref());
        for alarm in &self.alarms {
            out.id("MemberID", alarm.member_id);
            out.plain("AlarmType", alarm_name(alarm.alarm));
            out.blank();
        }
        true
    }
}

fn alarm_name(alarm: i32) -> String {
    AlarmType::try_from(alarm).map_or_else(|_| alarm.to_string(), |kind| kind.as_str_name().to_owned())
}

/// Leadership went from one member to another.
#[derive(Debug)]
pub struct Moved {
    pub from: u64,
    pub to: u64,
    pub response: MoveLeaderResponse,
}

impl Answer for Moved {
    fn simple(&self, out: &mut Text) {
        out.line(format!("Leadership transferred from {:x} to {:x}", self.from, self.to));
    }

    fn message(&self) -> Option<&dyn Wire> {
        Some(&self.response)
    }
}

/// What was asked about a downgrade (`validate`), and the answer.
#[derive(Debug)]
pub struct Downgraded(pub &'static str, pub DowngradeResponse);

impl Answer for Downgraded {
    fn simple(&self, out: &mut Text) {
        out.line(format!("Downgrade {} success, cluster version {}", self.0, self.1.version));
    }

    fn message(&self) -> Option<&dyn Wire> {
        Some(&self.1)
    }
}
