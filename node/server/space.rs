//! Room for the state: the quota that the operator sets, and the disk. What does not fit is refused by the member that
//! is asked (`api::Node`), and the alarm that it raises through the log makes all refuse. Apply never looks at sizes,
//! which differ from member to member; so here each member also looks at its own now and then, as etcd does when it
//! applies (`server/etcdserver/apply/quota.go`).
//!
//! A full disk is met before it happens (DESIGN D9): NOSPACE is raised while [`STATE_RESERVE_BYTES`] and a file of the
//! log still fit, so that deletes and compactions, which need the log too, go on.

use crate::alarm::{Alarm, AlarmType, Alarms};
use crate::config::Settings;
use crate::disk::Disk;
use crate::raft::Consensus;
use crate::storage::EMPTY_FILE_BYTES;
use crate::types::HumanBytes;
use arc_swap::ArcSwap;
use keelstone_proto::etcdserverpb::alarm_request::AlarmAction;
use keelstone_proto::etcdserverpb::{AlarmRequest, AlarmType as PbAlarmType, InternalRaftRequest};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// etcd's default quota, which holds when none was set.
const DEFAULT_QUOTA_BYTES: i64 = 2 << 30;
/// etcd advises against larger ones.
const ADVISED_QUOTA_BYTES: i64 = 8 << 30;

/// What the state may still need when clients can add nothing any more.
const STATE_RESERVE_BYTES: u64 = 64 << 20;
/// How often to look how much room the disk has: it must not be filled in between.
const DISK_INTERVAL: Duration = Duration::from_millis(250);
/// How often to see whether the alarm is to be raised or cleared.
const ALARM_INTERVAL: Duration = Duration::from_secs(1);

/// The quota in bytes that holds; negative is none.
pub fn quota_bytes(settings: &Settings) -> i64 {
    match settings.storage.quota_bytes {
        Some(0) => DEFAULT_QUOTA_BYTES,
        Some(bytes) => i64::try_from(bytes).unwrap_or(i64::MAX),
        None => -1,
    }
}

/// Says once which quota holds, in etcd's words (`server/storage/quota.go`, which names the first of its users).
pub fn log_quota(quota_bytes: i64) {
    let quota_name = "v3-applier";
    let size = |bytes: i64| HumanBytes(bytes.unsigned_abs());
    if quota_bytes < 0 {
        tracing::info!("quota-name" = quota_name, "quota-size-bytes" = quota_bytes, "disabled backend quota");
        return;
    }
    if quota_bytes > ADVISED_QUOTA_BYTES {
        tracing::warn!(
            "quota-name" = quota_name,
            "quota-size-bytes" = quota_bytes,
            "quota-size" = %size(quota_bytes),
            "quota-maximum-size-bytes" = ADVISED_QUOTA_BYTES,
            "quota-maximum-size" = %size(ADVISED_QUOTA_BYTES),
            "quota exceeds the maximum value"
        );
    }
    tracing::info!(
        "quota-name" = quota_name,
        "quota-size-bytes" = quota_bytes,
        "quota-size" = %size(quota_bytes),
        "enabled backend quota"
    );
}

/// The file systems of state and log.
#[derive(Clone, Debug)]
pub struct Room {
    disk: Arc<dyn Disk>,
    folders: Vec<PathBuf>,
    reserve_bytes: u64,
    is_low: Arc<AtomicBool>,
}

impl Room {
    /// `segment_bytes` is the length of a file of the log, of which the next must fit.
    pub fn new(disk: Arc<dyn Disk>, settings: &Settings, segment_bytes: u64) -> Self {
        let folders = vec![settings.member.member_dir(), settings.member.wal_dir()];
        let reserve_bytes = STATE_RESERVE_BYTES.saturating_add(segment_bytes);
        Self { disk, folders, reserve_bytes, is_low: Arc::default() }
    }

    /// True if the reserve was touched when last looked at.
    pub fn is_low(&self) -> bool {
        self.is_low.load(Ordering::Relaxed)
    }

    /// Looks again and again. It is over when the reserve is there again with a quarter more.
    async fn watch(&self) {
        let mut interval = tokio::time::interval(DISK_INTERVAL);
        let mut knows = true;
        loop {
            interval.tick().await;
            let looked: Result<Vec<u64>, _> = self.folders.iter().map(|dir| self.disk.available_bytes(dir)).collect();
            let available = match looked {
                Ok(available) => available.into_iter().min().unwrap_or(u64::MAX),
                Err(error) => {
                    if std::mem::replace(&mut knows, false) {
                        tracing::warn!(%error, "failed to see how much room the disk has");
                    }
                    continue;
                }
            };
            knows = true;
            let was_low = self.is_low();
            let is_low = is_low(available, self.reserve_bytes, was_low);
            self.is_low.store(is_low, Ordering::Relaxed);
            let (available, reserve) = (HumanBytes(available), HumanBytes(self.reserve_bytes));
            match (was_low, is_low) {
                (false, true) => {
                    tracing::warn!(%available, %reserve, "disk is nearly full; refusing what adds to the state")
                }
                (true, false) => tracing::info!(%available, %reserve, "disk has room again"),
                _ => {}
            }
        }
    }
}

fn is_low(available_bytes: u64, reserve_bytes: u64, was_low: bool) -> bool {
    available_bytes < if was_low { reserve_bytes.saturating_add(reserve_bytes / 4) } else { reserve_bytes }
}

/// What an alarm is decided by.
#[derive(Clone, Copy, Debug)]
struct Reading {
    is_raised: bool,
    total_bytes: i64,
    /// Since the last look. An operator who clears the alarm of a full state is believed until more comes, as in etcd.
    has_grown: bool,
    quota_bytes: i64,
    disk_is_low: bool,
    /// Whether an alarm may be cleared without the operator.
    may_clear: bool,
}

/// None: let it be.
fn decide(reading: Reading) -> Option<AlarmAction> {
    let Reading { is_raised, total_bytes, has_grown, quota_bytes, disk_is_low, may_clear } = reading;
    // As where puts are refused (`api::Node`).
    let filled_bytes = total_bytes.saturating_sub(EMPTY_FILE_BYTES);
    let is_full = disk_is_low || (has_grown && quota_bytes >= 0 && filled_bytes >= quota_bytes);
    // Nine tenths, so that the next few puts do not raise it again.
    let is_well_below = quota_bytes < 0 || filled_bytes < quota_bytes / 10 * 9;
    match is_raised {
        false if is_full => Some(AlarmAction::Activate),
        true if may_clear && !disk_is_low && is_well_below => Some(AlarmAction::Deactivate),
        _ => None,
    }
}

/// Raises and clears NOSPACE for one member.
pub struct SpaceAlarm {
    pub consensus: Consensus,
    pub alarms: Arc<ArcSwap<Alarms>>,
    pub room: Room,
    pub total_bytes: Box<dyn Fn() -> i64 + Send + Sync>,
    pub quota_bytes: i64,
    pub may_clear: bool,
}

impl std::fmt::Debug for SpaceAlarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpaceAlarm").field("quota_bytes", &self.quota_bytes).finish_non_exhaustive()
    }
}

impl SpaceAlarm {
    /// Runs until it is dropped.
    pub async fn run(self) {
        tokio::join!(self.room.watch(), self.follow());
    }

    async fn follow(&self) {
        let mut interval = tokio::time::interval(ALARM_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut seen_bytes = None;
        loop {
            interval.tick().await;
            let total_bytes = (self.total_bytes)();
            let own = Alarm { kind: AlarmType::NoSpace, member: self.consensus.member_id() };
            let reading = Reading {
                is_raised: self.alarms.load().get(Some(own.kind)).any(|alarm| alarm == own),
                total_bytes,
                has_grown: seen_bytes.is_none_or(|seen| total_bytes > seen),
                quota_bytes: self.quota_bytes,
                disk_is_low: self.room.is_low(),
                may_clear: self.may_clear,
            };
            // One that failed is tried again at the next look.
            let is_done = match decide(reading) {
                Some(action) => self.propose(action, reading).await,
                None => true,
            };
            if is_done {
                seen_bytes = Some(total_bytes);
            }
        }
    }

    /// False if it has failed.
    async fn propose(&self, action: AlarmAction, reading: Reading) -> bool {
        let alarm = AlarmRequest {
            action: action.into(),
            member_id: self.consensus.member_id().0,
            alarm: PbAlarmType::Nospace.into(),
        };
        let entry = InternalRaftRequest { alarm: Some(alarm), ..Default::default() };
        let proposed = self.consensus.propose(entry).await;
        match &proposed {
            Ok(_) => tracing::warn!(
                action = action.as_str_name(),
                "current-db-size-bytes" = reading.total_bytes,
                "quota-size-bytes" = reading.quota_bytes,
                "disk-is-low" = reading.disk_is_low,
                "changed the space alarm of this member"
            ),
            Err(error) => tracing::warn!(%error, action = action.as_str_name(), "failed to change the space alarm"),
        }
        proposed.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Reading = Reading {
        is_raised: false,
        total_bytes: file(10),
        has_grown: true,
        quota_bytes: 100,
        disk_is_low: false,
        may_clear: true,
    };

    const fn file(bytes: i64) -> i64 {
        EMPTY_FILE_BYTES + bytes
    }

    #[test]
    fn the_alarm_is_raised_when_quota_or_disk_are_used_up() {
        assert_eq!(decide(FINE), None);
        assert_eq!(decide(Reading { total_bytes: file(100), ..FINE }), Some(AlarmAction::Activate));
        assert_eq!(decide(Reading { disk_is_low: true, ..FINE }), Some(AlarmAction::Activate));
        assert_eq!(decide(Reading { total_bytes: file(100), has_grown: false, ..FINE }), None, "it was cleared");
        assert_eq!(decide(Reading { quota_bytes: -1, total_bytes: i64::MAX, ..FINE }), None);
    }

    #[test]
    fn it_is_cleared_below_nine_tenths_if_the_operator_wants_it() {
        let raised = Reading { is_raised: true, ..FINE };
        assert_eq!(decide(Reading { total_bytes: file(89), ..raised }), Some(AlarmAction::Deactivate));
        assert_eq!(decide(Reading { total_bytes: file(90), ..raised }), None);
        assert_eq!(decide(Reading { disk_is_low: true, ..raised }), None);
        assert_eq!(decide(Reading { may_clear: false, ..raised }), None);
        assert_eq!(decide(Reading { quota_bytes: -1, ..raised }), Some(AlarmAction::Deactivate));
    }

    #[test]
    fn a_disk_that_wavers_about_the_reserve_stays_low() {
        assert!(is_low(99, 100, false) && !is_low(100, 100, false));
        assert!(is_low(124, 100, true) && !is_low(125, 100, true));
    }
}
