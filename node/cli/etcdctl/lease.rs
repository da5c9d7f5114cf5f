//! `etcdctl lease`.

use super::Call;
use super::failure::{BAD_CONNECTION, Failure, Outcome};
use super::flags::Flag;
use super::printer::{Form, Named};
use super::tree::{Command, Group};
use super::{go, printer, session};
use crate::client::{CallError, methods};
use keelstone_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest,
};

pub static COMMAND: Command = Command {
    line: "lease <subcommand>",
    short: "Leases, which end if nobody renews them. See `etcdctl lease --help`",
    long: "Leases, which end if nobody renews them",
    group: Group::Keys,
    children: &[&GRANT, &REVOKE, &TIME_TO_LIVE, &LIST, &KEEP_ALIVE],
    ..Command::PLAIN
};

static GRANT: Command = Command {
    line: "grant <ttl>",
    short: "Grants a lease of so many seconds",
    run: Some(|call| Box::pin(grant(call))),
    ..Command::PLAIN
};

static REVOKE: Command = Command {
    line: "revoke <leaseID>",
    short: "Ends a lease and deletes its keys",
    run: Some(|call| Box::pin(revoke(call))),
    ..Command::PLAIN
};

static TIME_TO_LIVE: Command = Command {
    line: "timetolive <leaseID> [options]",
    short: "Prints how long a lease has to live",
    flags: &[Flag::switch("keys", "and which keys belong to it")],
    run: Some(|call| Box::pin(time_to_live(call))),
    ..Command::PLAIN
};

static LIST: Command = Command {
    line: "list",
    short: "Prints all leases that live",
    run: Some(|call| Box::pin(list(call))),
    ..Command::PLAIN
};

static KEEP_ALIVE: Command = Command {
    line: "keep-alive [options] <leaseID>",
    short: "Renews a lease again and again",
    flags: &[Flag::switch("once", "renew it once and end")],
    run: Some(|call| Box::pin(keep_alive(call))),
    ..Command::PLAIN
};

fn id_of(word: &str) -> Result<i64, Failure> {
    go::parse_int(word, 16).map_err(|why| Failure::args(format_args!("bad lease ID arg ({why}), expecting ID in Hex")))
}

fn unreachable(error: CallError) -> Failure {
    Failure::new(BAD_CONNECTION, error)
}

async fn grant(call: &mut Call) -> Outcome {
    let [ttl] = call.words() else { return Err(Failure::args("lease grant command needs TTL argument")) };
    let ttl = go::parse_int(ttl, 10).map_err(|why| Failure::args(format_args!("bad TTL ({why})")))?;
    let (client, printer) = call.client().await?;
    let request = LeaseGrantRequest { ttl, ..LeaseGrantRequest::default() };
    let granted = client.call(methods::LEASE_GRANT, request, call.deadline()).await;
    printer.show(&granted.map_err(|error| Failure::error(format_args!("failed to grant lease ({error})")))?)
}

async fn revoke(call: &mut Call) -> Outcome {
    let [id] = call.words() else { return Err(Failure::args("lease revoke command needs 1 argument")) };
    let id = id_of(id)?;
    let (client, printer) = call.client().await?;
    let revoked = client.call(methods::LEASE_REVOKE, LeaseRevokeRequest { id }, call.deadline()).await;
    let revoked = revoked.map_err(|error| Failure::error(format_args!("failed to revoke lease ({error})")))?;
    let line = format!("lease {id:016x} revoked");
    printer.show(&Named { line, header: revoked.header.as_ref(), response: &revoked })
}

async fn time_to_live(call: &mut Call) -> Outcome {
    let [id] = call.words() else { return Err(Failure::args("lease timetolive command needs lease ID as argument")) };
    let id = id.clone();
    let (client, printer) = call.client().await?;
    let keys = call.values.switch("keys");
    let request = LeaseTimeToLiveRequest { id: id_of(&id)?, keys };
    let response = client.call(methods::LEASE_TIME_TO_LIVE, request, None).await.map_err(unreachable)?;
    printer.show(&(response, keys))
}

async fn list(call: &mut Call) -> Outcome {
    let (client, printer) = call.client().await?;
    printer.show(&client.call(methods::LEASES, LeaseLeasesRequest {}, None).await.map_err(unreachable)?)
}

async fn keep_alive(call: &mut Call) -> Outcome {
    let [id] = call.words() else { return Err(Failure::args("lease keep-alive command needs lease ID as argument")) };
    let id = id_of(id)?;
    let (client, printer) = call.client().await?;
    if call.values.switch("once") {
        let once = tokio_stream::once(LeaseKeepAliveRequest { id });
        let mut answers = client.stream(methods::LEASE_KEEP_ALIVE, once).await.map_err(unreachable)?;
        let answer = answers.message().await.map_err(|status| unreachable(CallError::from_status(status, None)))?;
        let answer = answer.filter(|answer| answer.ttl > 0);
        let answer = answer.ok_or_else(|| Failure::new(BAD_CONNECTION, "etcdserver: requested lease not found"))?;
        return printer.show(&answer);
    }
    session::renew(&client, id, session::FIRST_RENEWAL, |answer| printer.show(answer)).await?;
    if printer.form == Form::Simple {
        printer::print(format!("lease {id:016x} expired or revoked.\n").as_bytes())?;
    }
    Ok(())
}
