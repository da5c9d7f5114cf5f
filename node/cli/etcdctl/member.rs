//! `etcdctl member`.

use super::Call;
use super::failure::{Failure, Outcome};
use super::flags::{Flag, Kind};
use super::printer::{Changed, Form};
use super::tree::{Command, Group};
use super::{get, go, printer};
use crate::client::methods;
use keelstone_proto::etcdserverpb::{
    MemberAddRequest, MemberAddResponse, MemberListRequest, MemberPromoteRequest, MemberRemoveRequest,
    MemberUpdateRequest,
};

pub static COMMAND: Command = Command {
    line: "member <subcommand>",
    short: "Members of the cluster. See `etcdctl member --help`",
    long: "Members of the cluster",
    group: Group::Cluster,
    children: &[&ADD, &REMOVE, &UPDATE, &LIST, &PROMOTE],
    ..Command::PLAIN
};

static ADD: Command = Command {
    line: "add <memberName> [options]",
    short: "Adds a member to the cluster",
    flags: &[
        Flag::text("peer-urls", "URLs at which it can be reached by the others, separated by commas"),
        Flag::switch("learner", "it shall not vote yet"),
    ],
    run: Some(|call| Box::pin(add(call))),
    ..Command::PLAIN
};

static REMOVE: Command = Command {
    line: "remove <memberID>",
    short: "Removes a member from the cluster",
    run: Some(|call| Box::pin(remove(call))),
    ..Command::PLAIN
};

static UPDATE: Command = Command {
    line: "update <memberID> [options]",
    short: "Changes the peer URLs of a member",
    flags: &[Flag::text("peer-urls", "URLs at which it can be reached by the others, separated by commas")],
    run: Some(|call| Box::pin(update(call))),
    ..Command::PLAIN
};

static LIST: Command = Command {
    line: "list",
    short: "Prints the members of the cluster",
    long: "Prints the members of the cluster. In the simple form a line is a member: id, status, name, peer URLs, client URLs,
and whether it is a learner.
",
    flags: &[Flag::new("consistency", Kind::Text, "l", "l: a linearizable read, s: a serializable one")],
    run: Some(|call| Box::pin(list(call))),
    ..Command::PLAIN
};

static PROMOTE: Command = Command {
    line: "promote <memberID>",
    short: "Makes a learner a voter",
    run: Some(|call| Box::pin(promote(call))),
    ..Command::PLAIN
};

/// The only word, as the id of a member.
fn id_of(words: &[String]) -> Result<u64, Failure> {
    let [id] = words else { return Err(Failure::args("member ID is not provided")) };
    go::parse_uint(id, 16).map_err(|why| Failure::args(format_args!("bad member ID arg ({why}), expecting ID in Hex")))
}

/// `--peer-urls`, without the blanks around them.
fn peer_urls(call: &Call) -> Result<Vec<String>, Failure> {
    if call.values.text("peer-urls").is_empty() {
        return Err(Failure::args("member peer urls not provided"));
    }
    Ok(call.values.list("peer-urls"))
}

async fn add(call: &mut Call) -> Outcome {
    let name = match call.words() {
        [] => return Err(Failure::args("member name not provided")),
        [name] => name.clone(),
        words => {
            let is_url = |word: &&String| word.to_lowercase().starts_with("http");
            let meant = words.iter().filter(is_url).map(|url| format!(", did you mean --peer-urls={url}"));
            return Err(Failure::args(format_args!("too many arguments{}", meant.collect::<String>())));
        }
    };
    let request = MemberAddRequest { peer_urls: peer_urls(call)?, is_learner: call.values.switch("learner") };
    let (client, printer) = call.client().await?;
    let response = client.call(methods::MEMBER_ADD, request, call.deadline()).await.map_err(Failure::error)?;
    printer.show(&response)?;
    if printer.form == Form::Simple {
        let settings = settings(&name, &response, call.values.text("peer-urls"));
        printer::print(settings.as_bytes())?;
    }
    Ok(())
}

/// What the new member is to be started with.
fn settings(name: &str, response: &MemberAddResponse, peer_urls: &str) -> String {
    let new = response.member.as_ref().map_or(0, |member| member.id);
    let of_member = |member: &keelstone_proto::etcdserverpb::Member| {
        let name = if member.id == new { name } else { &member.name };
        member.peer_urls.iter().map(|url| format!("{name}={url}")).collect::<Vec<_>>()
    };
    let cluster = response.members.iter().flat_map(of_member).collect::<Vec<_>>().join(",");
    let quote = |text: &str| go::quote(text.as_bytes());
    format!(
        "\nETCD_NAME={}\nETCD_INITIAL_CLUSTER={}\nETCD_INITIAL_ADVERTISE_PEER_URLS={}\nETCD_INITIAL_CLUSTER_STATE=\"existing\"\n",
        quote(name),
        quote(&cluster),
        quote(peer_urls),
    )
}

async fn remove(call: &mut Call) -> Outcome {
    let id = id_of(call.words())?;
    let (client, printer) = call.client().await?;
    let request = MemberRemoveRequest { id };
    let response = client.call(methods::MEMBER_REMOVE, request, call.deadline()).await.map_err(Failure::error)?;
    let (header, members) = (response.header.as_ref(), &response.members[..]);
    printer.show(&Changed { done: "removed from", member: id, header, members, response: &response })
}

async fn update(call: &mut Call) -> Outcome {
    let id = id_of(call.words())?;
    let request = MemberUpdateRequest { id, peer_urls: peer_urls(call)? };
    let (client, printer) = call.client().await?;
    let response = client.call(methods::MEMBER_UPDATE, request, call.deadline()).await.map_err(Failure::error)?;
    let (header, members) = (response.header.as_ref(), &response.members[..]);
    printer.show(&Changed { done: "updated in", member: id, header, members, response: &response })
}

async fn promote(call: &mut Call) -> Outcome {
    let id = id_of(call.words())?;
    let (client, printer) = call.client().await?;
    let request = MemberPromoteRequest { id };
    let response = client.call(methods::MEMBER_PROMOTE, request, call.deadline()).await.map_err(Failure::error)?;
    let (header, members) = (response.header.as_ref(), &response.members[..]);
    printer.show(&Changed { done: "promoted in", member: id, header, members, response: &response })
}

async fn list(call: &mut Call) -> Outcome {
    let linearizable = !get::is_serializable(call.values.text("consistency"))?;
    let (client, printer) = call.client().await?;
    let request = MemberListRequest { linearizable };
    printer.show(&client.call(methods::MEMBER_LIST, request, call.deadline()).await.map_err(Failure::error)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelstone_proto::etcdserverpb::Member;

    #[test]
    fn a_new_member_is_told_the_whole_cluster() {
        let member = |id, name: &str, url: &str| Member {
            id,
            name: name.to_owned(),
            peer_urls: vec![url.to_owned()],
            ..Member::default()
        };
        let members = vec![member(1, "", "http://b"), member(2, "a", "http://a")];
        let response = MemberAddResponse { member: Some(members[0].clone()), members, ..MemberAddResponse::default() };
        let expected = "\nETCD_NAME=\"b\"\nETCD_INITIAL_CLUSTER=\"b=http://b,a=http://a\"\n\
                        ETCD_INITIAL_ADVERTISE_PEER_URLS=\"http://b\"\nETCD_INITIAL_CLUSTER_STATE=\"existing\"\n";
        assert_eq!(settings("b", &response, "http://b"), expected);
    }
}
