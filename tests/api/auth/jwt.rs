//! Signed tokens.

use super::{BAD_TOKEN, Controlled, Users, denied};
use crate::{refused, suite};
use keelstone_harness::proto::authpb::permission::Type;
use keelstone_harness::{Cluster, ClusterSpec};
use std::path::PathBuf;
use tonic::Code;

const OLD: &str = "etcdserver: revision of auth store is old";

/// A pair of keys on the curve P-256, and `--auth-token` with them.
fn keys(name: &str) -> (PathBuf, PathBuf) {
    let folder = suite().make_folder(name);
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/node/auth/jwt/test-keys");
    let copy = |file: &str| {
        let to = folder.join(file);
        std::fs::copy(PathBuf::from(keys).join(file), &to).expect("copy a key");
        to
    };
    (copy("p256-alone.key"), copy("p256.crt"))
}

#[tokio::test]
async fn a_signed_token_names_user_and_revision_and_ends() {
    let (private, public) = keys("jwt");
    let flag = format!(
        "--auth-token=jwt,sign-method=ES256,priv-key={},pub-key={},ttl=1h",
        private.display(),
        public.display()
    );
    let controlled = Controlled::start(1, &[&flag]).await;
    let users = controlled.users();
    let again = || async { controlled.anyone().login("root", "root").await.expect("login") };
    users.add_with_role("u").await;
    // Root's token is of a revision that is past: as in etcd that is no hindrance to what is root's, but to keys.
    refused(controlled.root.get("a").await, Code::InvalidArgument, OLD);
    refused(controlled.root.put("a", "1").await, Code::InvalidArgument, OLD);
    let root = again().await;
    root.put("a", "1").await.expect("root may");
    Users(&root).permit("u", Type::Read, "a", "").await.expect("grant");
    let user = controlled.anyone().login("u", "u").await.expect("login");
    user.get("a").await.expect("may read");
    denied(user.put("a", "2").await);
    let mut altered = Users(&controlled.anyone()).authenticate("u", "u").await.expect("login").token;
    assert_eq!(altered.split('.').count(), 3);
    // It outlives a change of password, but its revision does not.
    Users(&again().await).change("u", "v").await.expect("change");
    refused(user.get("a").await, Code::InvalidArgument, OLD);
    altered.pop();
    refused(controlled.anyone().with_token(&altered).get("a").await, Code::Unauthenticated, BAD_TOKEN);
    refused(controlled.anyone().with_token("aaaaaaaaaaaaaaaa.1").get("a").await, Code::Unauthenticated, BAD_TOKEN);
    controlled.cluster.assert_no_unexpected_errors();
}

#[tokio::test]
async fn a_signed_token_outlives_a_restart_and_counts_where_only_the_public_key_is() {
    let (private, public) = keys("jwt-public");
    let signing = format!("--auth-token=jwt,sign-method=ES256,priv-key={},ttl=1h", private.display());
    let verifying = format!("--auth-token=jwt,sign-method=ES256,pub-key={}", public.display());
    let mut controlled = Controlled::start(1, &[&signing]).await;
    controlled.root.put("a", "1").await.expect("root may");
    controlled.cluster[0].kill();
    controlled.cluster.launch_with(0, &[&verifying]);
    controlled.cluster[0].ready().await;
    // A new connection to the same place.
    controlled.root.get("a").await.expect("root may");
    refused(
        Users(&controlled.anyone()).authenticate("root", "root").await,
        Code::Unknown,
        "auth: token signing attempted with verify-only key",
    );
}

#[tokio::test]
async fn keys_that_do_not_fit_keep_a_member_from_starting() {
    let (private, _) = keys("jwt-wrong");
    for options in [
        "jwt,sign-method=RS256".to_owned(),
        format!("jwt,sign-method=RS256,priv-key={}", private.display()),
        "jwt,sign-method=ES256,priv-key=/no/such/file".to_owned(),
        "jwt,sign-method=none".to_owned(),
        "jwt".to_owned(),
        "simpl".to_owned(),
    ] {
        let flag = format!("--auth-token={options}");
        let mut cluster = Cluster::prepare(suite(), &ClusterSpec::of(1).with_flags(&[&flag])).await;
        cluster.expect_errors("");
        cluster.launch(0);
        let exit = cluster[0].wait_for_exit().await;
        assert!(!exit.status.success(), "{options}");
    }
}
