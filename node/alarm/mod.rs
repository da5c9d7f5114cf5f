//! Raised alarms: a set of (member, type), the same on every member.
//!
//! Row (`alarm` table, etcd's): the key is protobuf `AlarmMember {1: member, 2: type}`, the value empty.
//! Whether an alarm refuses a request is decided where the request is, in apply and in admission.

mod metrics;

pub use metrics::Metrics;

use crate::types::MemberId;
use prost::Message;
use std::collections::BTreeSet;

/// What is wrong, with etcd's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmType {
    /// The space quota is used up.
    NoSpace = 1,
    /// Members hold different data.
    Corrupt = 2,
}

impl AlarmType {
    /// etcd's name, as it stands in metrics and status texts.
    pub fn name(self) -> &'static str {
        match self {
            AlarmType::NoSpace => "NOSPACE",
            AlarmType::Corrupt => "CORRUPT",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alarm {
    pub kind: AlarmType,
    pub member: MemberId,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Row {
    #[prost(uint64, tag = "1")]
    member: u64,
    #[prost(int32, tag = "2")]
    kind: i32,
}

/// A row of the table `alarm` that etcd does not write.
#[derive(Debug, thiserror::Error)]
pub enum AlarmRowError {
    #[error("read alarm row")]
    Decode(#[from] prost::DecodeError),
    #[error("alarm type {0} is unknown")]
    Type(i32),
    #[error("alarm row {0:02x?} is not written as etcd writes it")]
    Form(Vec<u8>),
}

impl Alarm {
    /// The row's key.
    pub fn to_row(self) -> Vec<u8> {
        Row { member: self.member.0, kind: self.kind as i32 }.encode_to_vec()
    }

    pub fn from_row(key: &[u8]) -> Result<Self, AlarmRowError> {
        let row = Row::decode(key)?;
        let kind = match row.kind {
            1 => AlarmType::NoSpace,
            2 => AlarmType::Corrupt,
            other => return Err(AlarmRowError::Type(other)),
        };
        let alarm = Self { kind, member: MemberId(row.member) };
        // Otherwise the alarm would be cleared and its row stay.
        if alarm.to_row() == key { Ok(alarm) } else { Err(AlarmRowError::Form(key.to_vec())) }
    }
}

/// The raised alarms, ordered by type, then member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarms(BTreeSet<Alarm>);

impl Alarms {
    /// False if it was raised already.
    pub fn activate(&mut self, alarm: Alarm) -> bool {
        self.0.insert(alarm)
    }

    /// False if it was not raised.
    pub fn deactivate(&mut self, alarm: Alarm) -> bool {
        self.0.remove(&alarm)
    }

    /// Those of one type, or all.
    pub fn get(&self, kind: Option<AlarmType>) -> impl Iterator<Item = Alarm> {
        self.0.iter().copied().filter(move |alarm| kind.is_none_or(|kind| alarm.kind == kind))
    }

    pub fn is_raised(&self, kind: AlarmType) -> bool {
        self.get(Some(kind)).next().is_some()
    }
}

impl FromIterator<Alarm> for Alarms {
    fn from_iter<I: IntoIterator<Item = Alarm>>(alarms: I) -> Self {
        Self(alarms.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_is_that_of_etcd() {
        let alarm = Alarm { kind: AlarmType::NoSpace, member: MemberId(300) };
        assert_eq!(alarm.to_row(), [0x08, 0xac, 0x02, 0x10, 0x01]);
        assert_eq!(Alarm::from_row(&alarm.to_row()).expect("own row"), alarm);
        assert!(matches!(Alarm::from_row(&[0x10, 9]), Err(AlarmRowError::Type(9))));
        let swapped = [0x10, 0x01, 0x08, 0xac, 0x02];
        assert!(matches!(Alarm::from_row(&swapped), Err(AlarmRowError::Form(_))));
    }

    #[test]
    fn an_alarm_is_raised_once_per_member() {
        let mut alarms = Alarms::default();
        let first = Alarm { kind: AlarmType::NoSpace, member: MemberId(1) };
        let second = Alarm { member: MemberId(2), ..first };
        assert!(alarms.activate(first) && !alarms.activate(first) && alarms.activate(second));
        assert!(alarms.deactivate(first) && alarms.is_raised(AlarmType::NoSpace));
        assert!(!alarms.is_raised(AlarmType::Corrupt));
        assert_eq!(alarms.get(None).collect::<Vec<_>>(), [second]);
    }
}
