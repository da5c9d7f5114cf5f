//! What `/health` says: alarms first, then the leader, then a read.

use super::node::Node;
use keelstone_proto::etcdserverpb::{AlarmMember, AlarmType};

/// Why this member is not healthy. `excluded` are names of alarms to overlook; a serializable answer looks at this
/// member alone.
pub async fn reason(node: &Node, excluded: &[&str], is_serializable: bool) -> Option<String> {
    if let Some(alarm) = alarm_reason(&node.alarms(), excluded) {
        return Some(alarm.to_owned());
    }
    if is_serializable {
        // A published view is in memory: there is nothing that can fail.
        return None;
    }
    if !node.has_leader() {
        return Some("RAFT NO LEADER".to_owned());
    }
    node.check_reads().await.err().map(|error| format!("RANGE ERROR:{error}"))
}

fn alarm_reason(alarms: &[AlarmMember], excluded: &[&str]) -> Option<&'static str> {
    let raised = alarms.iter().map(AlarmMember::alarm);
    let mut counted = raised.filter(|alarm| !excluded.contains(&alarm.as_str_name()));
    counted.next().map(|alarm| match alarm {
        AlarmType::Nospace => "ALARM NOSPACE",
        AlarmType::Corrupt => "ALARM CORRUPT",
        AlarmType::None => "ALARM UNKNOWN",
    })
}

/// The reasons are our own texts, which need no escaping in JSON.
pub fn body(reason: Option<&str>) -> String {
    format!(r#"{{"health":"{}","reason":"{}"}}"#, reason.is_none(), reason.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excluded_alarm_is_overlooked() {
        let alarm = |alarm: AlarmType| AlarmMember { member_id: 1, alarm: alarm.into() };
        let alarms = [alarm(AlarmType::Nospace), alarm(AlarmType::Corrupt)];
        assert_eq!(alarm_reason(&alarms, &[]), Some("ALARM NOSPACE"));
        assert_eq!(alarm_reason(&alarms, &["NOSPACE"]), Some("ALARM CORRUPT"));
        assert_eq!(alarm_reason(&alarms, &["NOSPACE", "CORRUPT"]), None);
    }

    #[test]
    fn bodies_equal_those_of_etcd() {
        assert_eq!(body(None), r#"{"health":"true","reason":""}"#);
        assert_eq!(body(Some("ALARM NOSPACE")), r#"{"health":"false","reason":"ALARM NOSPACE"}"#);
    }
}
