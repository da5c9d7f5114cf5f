//! Going down to the version before: what is refused and in which order, and what every member says then.

use crate::{check_alone, refused, since, suite};
use keelstone_harness::proto::etcdserverpb::downgrade_request::DowngradeAction;
use keelstone_harness::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use keelstone_harness::proto::etcdserverpb::{DowngradeRequest, DowngradeResponse, SnapshotRequest, StatusResponse};
use keelstone_harness::{Client, Cluster, ClusterSpec, http, tools, wait};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tonic::{Code, Status};

const LIMIT: Duration = Duration::from_secs(30);
const INVALID: &str = "etcdserver: invalid downgrade target version";
const IN_PROCESS: &str = "etcdserver: cluster has a downgrade job in progress";

async fn ask(client: &Client, action: i32, version: &str) -> Result<DowngradeResponse, Status> {
    let request = client.request(DowngradeRequest { action, version: version.to_owned() });
    Ok(MaintenanceClient::new(client.channel()).downgrade(request).await?.into_inner())
}

async fn validate(client: &Client, version: &str) -> Result<DowngradeResponse, Status> {
    ask(client, DowngradeAction::Validate.into(), version).await
}

async fn enable(client: &Client, version: &str) -> Result<DowngradeResponse, Status> {
    ask(client, DowngradeAction::Enable.into(), version).await
}

async fn cancel(client: &Client) -> DowngradeResponse {
    ask(client, DowngradeAction::Cancel.into(), "").await.expect("cancel never fails")
}

/// Target, and whether it is on.
fn downgrade(status: &StatusResponse) -> (String, bool) {
    let info = status.downgrade_info.clone().expect("downgrade info");
    (info.target_version, info.enabled)
}

async fn wait_for_storage_version(client: &Client, version: &str) {
    wait::until(&format!("the storage version {version}"), LIMIT, || async {
        let status = client.status().await.expect("status");
        (status.storage_version == version).then_some(())
    })
    .await;
}

#[tokio::test]
async fn only_the_version_before_may_be_gone_down_to() {
    if !since(3, 7) {
        return;
    }
    check_alone(&[], async |case| {
        let client = &case.client;
        for version in ["", "3", "v3.6", "3.6.0.0", "3.6-rc", "x", " 3.6"] {
            let text = "etcdserver: wrong downgrade target version format";
            refused(validate(client, version).await, Code::InvalidArgument, text);
            refused(enable(client, version).await, Code::InvalidArgument, text);
        }
        for version in ["3.7", "3.5", "3.8", "2.6", "4.6", "3.7.3"] {
            refused(validate(client, version).await, Code::InvalidArgument, INVALID);
            refused(enable(client, version).await, Code::InvalidArgument, INVALID);
        }
        for version in ["3.6", "3.6.0", "3.6.9", "03.06", "3.6.1-rc.0+git"] {
            let answer = validate(client, version).await.expect("validate");
            assert_eq!(answer.version, "3.7");
            assert_eq!(answer.header.expect("a header").revision, 1);
        }
        refused(ask(client, 7, "3.6").await, Code::Unknown, "etcdserver: unknown method");
        // Nothing was begun, and calling off nothing is no error.
        let answer = cancel(client).await;
        assert_eq!((answer.version.as_str(), answer.header.is_some()), ("3.7", true));
        assert_eq!(downgrade(&client.status().await.expect("status")), (String::new(), false));
    })
    .await;
}

#[tokio::test]
async fn a_downgrade_lowers_the_version_and_calling_it_off_raises_it_again() {
    if !since(3, 7) {
        return;
    }
    check_alone(&["--downgrade-check-time=100ms"], async |case| {
        let client = &case.client;
        case.put("k", "v").await;
        let answer = enable(client, "3.6.4").await.expect("enable");
        // It is not lowered by then.
        assert_eq!((answer.version.as_str(), answer.header.expect("a header").revision), ("3.7", 2));
        let status = client.status().await.expect("status");
        assert_eq!((downgrade(&status), status.storage_version.as_str()), (("3.6.0".to_owned(), true), "3.7.0"));
        refused(validate(client, "3.6").await, Code::FailedPrecondition, IN_PROCESS);
        refused(enable(client, "3.6").await, Code::FailedPrecondition, IN_PROCESS);
        // What may never be is said first.
        refused(validate(client, "3.5").await, Code::InvalidArgument, INVALID);

        wait_for_storage_version(client, "3.6.0").await;
        let page = http::get(case.port, "/version").await.expect("version").body;
        assert_eq!(page, r#"{"etcdserver":"3.7.3","etcdcluster":"3.6.0","storage":"3.6.0"}"#);
        refused(validate(client, "3.6").await, Code::InvalidArgument, INVALID);
        refused(validate(client, "3.5").await, Code::FailedPrecondition, IN_PROCESS);
        case.put("k", "w").await;

        assert_eq!(cancel(client).await.version, "3.6");
        assert_eq!(downgrade(&client.status().await.expect("status")), (String::new(), false));
        wait_for_storage_version(client, "3.7.0").await;
        assert_eq!(case.get("k").await.expect("the key").value, "w");
    })
    .await;
}

/// What etcd's own tests of a downgrade wait for in the logs, on each member; and the file for the version before.
#[tokio::test]
async fn all_members_get_ready_whoever_was_asked() {
    if !since(3, 7) {
        return;
    }
    let cluster = Cluster::start(suite(), &ClusterSpec::of(3).with_flags(&["--downgrade-check-time=100ms"])).await;
    let leader = cluster.leader().await;
    let asked = cluster[(leader + 1) % 3].client();
    wait_for_storage_version(&asked, "3.7.0").await;
    enable(&asked, "3.6").await.expect("enable through a follower");
    let is_said = |text: &str| cluster.iter().filter(|member| !member.log_lines(text).is_empty()).count();
    wait::until_true("all members to be ready", LIMIT, || is_said("The server is ready to downgrade") == 3).await;
    wait::until_true("the leader to look", LIMIT, || is_said("remotes server has mismatching etcd version") > 0).await;
    for member in cluster.iter() {
        assert_eq!(downgrade(&member.client().status().await.expect("status")), ("3.6.0".to_owned(), true));
    }
    // Nobody runs 3.6.
    assert_eq!(is_said("the cluster has been downgraded"), 0);
    if let Some(etcdutl) = tools::etcdutl(7, "all_members_get_ready_whoever_was_asked") {
        let file = cluster.folder().join("backup.db");
        save(&asked, &file).await;
        let output = Command::new(etcdutl).args(["snapshot", "status", "-w", "json"]).arg(&file).output();
        let text = String::from_utf8(output.expect("run etcdutl").stdout).expect("JSON");
        assert!(text.contains(r#""version":"3.6.0""#), "{text}");
    }
    cluster.assert_no_unexpected_errors();
}

/// As `etcdctl snapshot save`: the database, and its digest at the end.
async fn save(client: &Client, file: &Path) {
    let mut bytes = Vec::new();
    let stream = MaintenanceClient::new(client.channel()).snapshot(SnapshotRequest {}).await.expect("snapshot");
    let mut stream = stream.into_inner();
    while let Some(part) = stream.message().await.expect("a part") {
        bytes.extend_from_slice(&part.blob);
    }
    std::fs::write(file, bytes).expect("write the file");
}
