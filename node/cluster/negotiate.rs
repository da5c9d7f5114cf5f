//! Which version the cluster is to have, by what its members run and by a downgrade that was asked for: etcd's rules
//! (`server/etcdserver/version/monitor.go` and `downgrade.go`) on plain data.

use super::{ClusterState, ClusterVersion, Downgrade};
use crate::types::MemberId;

/// Why a downgrade is not begun, or is not one; the texts are etcd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DowngradeRefused {
    #[error("etcdserver: invalid downgrade target version")]
    InvalidTarget,
    #[error("etcdserver: cluster has a downgrade job in progress")]
    InProcess,
    #[error("etcdserver: no inflight downgrade job")]
    NotInProcess,
}

/// A downgrade that was asked for cannot be done: the target is not the version before `from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CannotDowngrade {
    FromCluster(ClusterVersion),
    /// The lowest that a member runs.
    FromMembers(ClusterVersion),
}

/// Whether a cluster at `version` may be told to go down to `target`.
///
/// # Errors
/// It may only go down by one minor version, and one downgrade at a time.
pub fn check_downgrade(
    version: ClusterVersion,
    downgrade: &Downgrade,
    target: ClusterVersion,
) -> Result<(), DowngradeRefused> {
    if version.one_below() != Some(target) {
        return Err(DowngradeRefused::InvalidTarget);
    }
    if downgrade.enabled { Err(DowngradeRefused::InProcess) } else { Ok(()) }
}

/// The lowest version that members run. None while that of one is unknown: it may be an older one.
pub fn lowest(members: &[(MemberId, Option<ClusterVersion>)]) -> Option<ClusterVersion> {
    members.iter().map(|(_, version)| *version).collect::<Option<Vec<_>>>()?.into_iter().min()
}

/// What the cluster's version is to become, major and minor alone. None: it stays.
///
/// # Errors
/// The downgrade that was asked for does not fit.
pub fn next_version(
    cluster: &ClusterState,
    lowest: Option<ClusterVersion>,
) -> Result<Option<ClusterVersion>, CannotDowngrade> {
    let Some(version) = cluster.version else {
        return Ok(Some(lowest.map_or(ClusterVersion::MIN, ClusterVersion::without_patch)));
    };
    let Some(lowest) = lowest else { return Ok(None) };
    if let Some(target) = cluster.downgrade.target() {
        if target == version {
            return Ok(None);
        }
        if version.one_below() != Some(target) {
            return Err(CannotDowngrade::FromCluster(version));
        }
        if lowest.one_below() != Some(target) {
            return Err(CannotDowngrade::FromMembers(lowest));
        }
        return Ok(Some(target));
    }
    let risen = lowest.without_patch();
    Ok((risen.major == version.major && risen > version.without_patch()).then_some(risen))
}

/// The first member, if any, that does not run `target` (of which the patch does not count).
pub fn first_other_than(
    members: &[(MemberId, Option<ClusterVersion>)],
    target: ClusterVersion,
) -> Option<(MemberId, Option<ClusterVersion>)> {
    let runs = |version: ClusterVersion| version.without_patch() == target.without_patch();
    members.iter().find(|(_, version)| !version.is_some_and(runs)).copied()
}

/// Why a member of one version cannot join a cluster; the texts are etcd's log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incompatible {
    #[error("cluster version of remote member is not compatible; too low")]
    TooLow { minimum: ClusterVersion },
    #[error("cluster version of remote member is not compatible; too high")]
    TooHigh { maximum: ClusterVersion },
}

/// Whether a member that runs `own` may join a cluster at `version`. While the cluster is to go down nobody may who runs
/// what it comes from: it would only have to be replaced (etcd `allowedVersionRange`).
///
/// # Errors
/// Which way the cluster is out of reach.
pub fn check_join(own: ClusterVersion, version: ClusterVersion, is_downgrading: bool) -> Result<(), Incompatible> {
    let own = own.without_patch();
    let one_above = ClusterVersion { minor: own.minor.saturating_add(1), ..own };
    let (minimum, maximum) = if is_downgrading { (one_above, one_above) } else { (ClusterVersion::MIN, own) };
    if version < minimum {
        return Err(Incompatible::TooLow { minimum });
    }
    if version > maximum { Err(Incompatible::TooHigh { maximum }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> ClusterVersion {
        ClusterVersion::parse(text).expect(text)
    }

    fn cluster(version: &str, target: Option<&str>) -> ClusterState {
        let target_version = target.unwrap_or_default().to_owned();
        let downgrade = Downgrade { target_version, enabled: target.is_some() };
        ClusterState { version: Some(v(version)), downgrade, ..ClusterState::default() }
    }

    fn running(versions: &[Option<&str>]) -> Vec<(MemberId, Option<ClusterVersion>)> {
        versions.iter().zip(1..).map(|(version, id)| (MemberId(id), version.map(v))).collect()
    }

    #[test]
    fn the_lowest_version_is_unknown_while_one_member_is_silent() {
        assert_eq!(lowest(&running(&[Some("3.7.3"), Some("3.6.12")])), Some(v("3.6.12")));
        assert_eq!(lowest(&running(&[Some("3.7.3"), None])), None);
    }

    /// Rows of etcd's own test of its monitor, for 3.7.
    #[test]
    fn the_version_begins_at_the_least_rises_with_the_members_and_falls_by_a_downgrade() {
        let none = ClusterState::default();
        assert_eq!(next_version(&none, None), Ok(Some(v("3.0.0"))));
        assert_eq!(next_version(&none, Some(v("3.7.3"))), Ok(Some(v("3.7.0"))));
        for (version, target, lowest, next) in [
            ("3.0.0", None, None, Ok(None)),
            ("3.0.0", None, Some("3.7.3"), Ok(Some("3.7.0"))),
            ("3.7.0", None, Some("3.7.9"), Ok(None)),
            ("3.7.0", None, Some("3.6.9"), Ok(None)),
            ("3.7.0", None, Some("4.0.0"), Ok(None)),
            ("3.7.0", Some("3.6.0"), None, Ok(None)),
            ("3.7.0", Some("3.6.0"), Some("3.7.3"), Ok(Some("3.6.0"))),
            ("3.6.0", Some("3.6.0"), Some("3.7.3"), Ok(None)),
            ("3.6.0", Some("3.6.0"), Some("3.6.3"), Ok(None)),
            ("3.7.0", Some("3.5.0"), Some("3.7.3"), Err(CannotDowngrade::FromCluster(v("3.7.0")))),
            ("3.6.0", Some("3.5.0"), Some("3.7.3"), Err(CannotDowngrade::FromMembers(v("3.7.3")))),
        ] {
            let state = cluster(version, target);
            assert_eq!(next_version(&state, lowest.map(v)), next.map(|next| next.map(v)), "{version} {target:?}");
        }
    }

    #[test]
    fn a_downgrade_goes_one_minor_version_down_and_only_one_at_a_time() {
        let off = Downgrade::default();
        assert_eq!(check_downgrade(v("3.7.0"), &off, v("3.6.0")), Ok(()));
        for target in ["3.7.0", "3.5.0", "3.8.0", "2.6.0", "4.6.0"] {
            assert_eq!(check_downgrade(v("3.7.0"), &off, v(target)), Err(DowngradeRefused::InvalidTarget), "{target}");
        }
        assert_eq!(check_downgrade(v("4.0.0"), &off, v("3.9.0")), Err(DowngradeRefused::InvalidTarget));
        let on = Downgrade { target_version: "3.6.0".into(), enabled: true };
        assert_eq!(check_downgrade(v("3.7.0"), &on, v("3.6.0")), Err(DowngradeRefused::InProcess));
        assert_eq!(check_downgrade(v("3.6.0"), &on, v("3.6.0")), Err(DowngradeRefused::InvalidTarget));
    }

    #[test]
    fn a_downgrade_is_done_when_every_member_is_known_to_run_the_target() {
        let of = |versions: &[Option<&str>]| first_other_than(&running(versions), v("3.6.0")).map(|(id, _)| id.0);
        assert_eq!(of(&[Some("3.6.1"), Some("3.6.2")]), None);
        assert_eq!(of(&[Some("3.6.1"), Some("3.7.3")]), Some(2));
        assert_eq!(of(&[None, Some("3.6.2")]), Some(1));
    }

    #[test]
    fn who_joins_runs_at_least_the_clusters_version_and_none_joins_during_a_downgrade() {
        assert_eq!(check_join(v("3.7.3"), v("3.7.0"), false), Ok(()));
        assert_eq!(check_join(v("3.7.3"), v("3.0.0"), false), Ok(()));
        assert_eq!(check_join(v("3.7.3"), v("3.8.0"), false), Err(Incompatible::TooHigh { maximum: v("3.7.0") }));
        assert_eq!(check_join(v("3.7.3"), v("2.9.0"), false), Err(Incompatible::TooLow { minimum: v("3.0.0") }));
        assert_eq!(check_join(v("3.7.3"), v("3.6.0"), true), Err(Incompatible::TooLow { minimum: v("3.8.0") }));
        assert_eq!(check_join(v("3.6.3"), v("3.7.0"), true), Ok(()));
    }
}
