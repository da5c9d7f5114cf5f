//! Access control over several members, and over restarts.

use super::{BAD_TOKEN, Controlled, EMPTY, Users, denied};
use crate::refused;
use keelstone_harness::proto::authpb::permission::Type;
use tonic::Code;

#[tokio::test]
async fn what_one_member_knows_of_users_all_do() {
    let mut controlled = Controlled::start(3, &[]).await;
    let user = controlled.user("u", &[(Type::Readwrite, "a", "")]).await;
    let token = Users(&controlled.anyone()).authenticate("u", "u").await.expect("login").token;
    for member in 0..3 {
        // At once, also where the entry that assigned it is not applied yet.
        let client = controlled.cluster[member].client().with_token(&token);
        client.put("a", "1").await.expect("may write");
        client.get("a").await.expect("may read");
        denied(client.put("b", "1").await);
        denied(client.get("b").await);
    }
    for member in 0..3 {
        let client = controlled.cluster[member].client().with_token(&token);
        controlled.users().permit("u", Type::Readwrite, "b", "").await.expect("grant");
        client.get("b").await.expect("given elsewhere just now");
        controlled.users().forbid("u", "b", "").await.expect("revoke");
        denied(client.get("b").await);
        denied(client.put("b", "1").await);
    }
    // A member that was down learns of it, and remembers it; of tokens it knows those that are assigned while it runs.
    controlled.cluster[2].kill();
    controlled.users().add("late", "late").await.expect("add");
    controlled.cluster.restart(2).await;
    let late = controlled.cluster[2].client();
    late.login("late", "late").await.expect("login");
    refused(late.get("a").await, Code::InvalidArgument, EMPTY);
    controlled.users().change("u", "x").await.expect("change");
    for member in 0..3 {
        let client = controlled.cluster[member].client().with_token(&token);
        refused(client.get("a").await, Code::Unauthenticated, BAD_TOKEN);
    }
    drop(user);
    controlled.cluster.assert_no_unexpected_errors();
}

#[tokio::test]
async fn a_restart_keeps_users_and_drops_tokens() {
    let mut controlled = Controlled::start(1, &[]).await;
    let user = controlled.user("u", &[(Type::Read, "a", "")]).await;
    user.get("a").await.expect("may read");
    let before = Users(&controlled.anyone()).revision().await;
    controlled.cluster[0].kill();
    controlled.cluster.restart(0).await;
    let anyone = controlled.anyone();
    let status = Users(&anyone).status().await.expect("status");
    assert_eq!((status.enabled, status.auth_revision), (true, before));
    let token = user.with_token("aaaaaaaaaaaaaaaa.1");
    refused(token.get("a").await, Code::Unauthenticated, BAD_TOKEN);
    let again = anyone.login("u", "u").await.expect("login");
    again.get("a").await.expect("may read");
    denied(again.get("b").await);
    controlled.cluster.assert_no_unexpected_errors();
}
