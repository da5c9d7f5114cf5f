//! openraft's network trait over the connections to peers.

use super::check::{self, Asked};
use super::client::{Client, PeerClients, Purpose};
use super::convert;
use super::snapshot::send_snapshot;
use crate::raft::snapshot::SnapshotSource;
use crate::raft::types::{Peer, TypeConfig, Vote};
use crate::types::MemberId;
use futures_util::{Stream, StreamExt};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tonic::{Request, Status};

impl RaftNetworkFactory<TypeConfig> for PeerClients {
    type Network = PeerNetwork;

    async fn new_client(&mut self, target: u64, node: &Peer) -> PeerNetwork {
        PeerNetwork::new(self.clone(), target, node, Purpose::Replication)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Peer) -> PeerNetwork {
        PeerNetwork::new(self.clone(), target, node, Purpose::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Peer) -> PeerNetwork {
        PeerNetwork::new(self.clone(), target, node, Purpose::Snapshot)
    }
}

/// openraft's way to one peer.
#[derive(Debug)]
pub struct PeerNetwork {
    clients: PeerClients,
    target: MemberId,
    urls: Vec<String>,
    purpose: Purpose,
}

impl PeerNetwork {
    fn new(clients: PeerClients, target: u64, node: &Peer, purpose: Purpose) -> Self {
        Self { clients, target: MemberId(target), urls: node.urls.clone(), purpose }
    }

    /// To where the peer is by now: openraft keeps what it made of the first address.
    fn client(&self) -> Result<Client, RPCError<TypeConfig>> {
        let cluster = self.clients.cluster();
        let urls = cluster.members.get(self.target).map_or(&self.urls, |member| &member.peer_urls);
        self.clients.client(self.target, urls, self.purpose).map_err(|status| unreachable(&status))
    }
}

/// The call did not arrive, as far as we know; openraft backs off.
fn unreachable(status: &Status) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::new(status))
}

fn failed(status: &Status) -> RPCError<TypeConfig> {
    match status.code() {
        tonic::Code::Unavailable | tonic::Code::DeadlineExceeded => unreachable(status),
        _ => RPCError::Network(NetworkError::new(status)),
    }
}

impl RaftNetworkV2<TypeConfig> for PeerNetwork {
    type SnapshotData = SnapshotSource;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let one = futures_util::stream::iter([rpc]);
        let mut answers = self.stream_append(one, option).await?;
        match answers.next().await {
            Some(answer) => Ok(answer?.into()),
            None => Err(unreachable(&Status::unavailable("no answer to an append"))),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>, RPCError<TypeConfig>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + openraft::OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let mut client = self.client()?;
            let asked = Arc::new(Mutex::new(VecDeque::new()));
            let asking = Arc::clone(&asked);
            let requests = input.map(move |request| {
                asking.lock().expect("no holder of this lock panics").push_back(Asked::by(&request));
                convert::append_to_proto(&request)
            });
            // The answer's headers come at once, so this bounds the set-up only; afterwards the pings of the
            // connection find a peer that has gone. openraft's limit is less than a heartbeat: over a slow link, or to
            // a busy machine, no stream would ever come about.
            let (patience, begun) = (self.clients.timing().election, Instant::now());
            let set_up = tokio::time::timeout(patience, client.append(requests)).await;
            let set_up = set_up.unwrap_or_else(|_| Err(Status::deadline_exceeded("append stream set-up")));
            self.clients.note(self.target, set_up.as_ref().err());
            let answers = match set_up {
                Ok(response) => response.into_inner(),
                Err(status) => {
                    // openraft tries again at once, twenty times over, before it asks for a pause.
                    tokio::time::sleep(self.clients.timing().heartbeat / 2).await;
                    return Err(failed(&status));
                }
            };
            let (clients, target) = (self.clients.clone(), self.target);
            let traffic = clients.traffic().clone();
            let round_trip = &traffic.metrics().round_trips;
            let round_trip = round_trip.with_label_values(&[&target.to_string()]);
            // A heartbeat is one message with one answer.
            let mut begun = (self.purpose == Purpose::Heartbeat).then_some(begun);
            let answers = answers.map(move |answer| {
                if let (Some(begun), Ok(_)) = (begun.take(), &answer) {
                    round_trip.observe(begun.elapsed().as_secs_f64());
                }
                let answer = answer.inspect_err(|_| traffic.sending_failed(target));
                let answer = answer.inspect(|said| clients.note_complaint(target, said.cannot_call_leader));
                let answer = answer.and_then(convert::append_result_from_proto).map_err(|status| failed(&status))?;
                // One for each request, in order.
                let asked = asked.lock().expect("no holder of this lock panics").pop_front();
                let asked = asked.ok_or_else(|| failed(&Status::internal("answer without an append")))?;
                check::append_answer(&answer, &asked).map_err(|status| failed(&status))?;
                Ok(answer)
            });
            Ok(Box::pin(answers) as BoxStream<'s, _>)
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_vote(&rpc, false, option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_vote(&rpc, true, option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotSource>,
        cancel: impl Future<Output = ReplicationClosed> + openraft::OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let client = self.client().map_err(|_| {
            StreamingError::Unreachable(Unreachable::new(&Status::unavailable("snapshot: peer has no usable URL")))
        })?;
        let traffic = self.clients.traffic();
        let transfer = traffic.metrics().snapshots_sent.begin(self.target);
        tokio::select! {
            sent = send_snapshot(self.clients.state_files(), client, vote, snapshot) => match sent {
                Ok(vote) => {
                    transfer.succeeded();
                    Ok(SnapshotResponse::new(vote))
                }
                Err(status) => {
                    traffic.sending_failed(self.target);
                    Err(StreamingError::Unreachable(Unreachable::new(&status)))
                }
            },
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self.client()?;
        let mut request = Request::new(convert::transfer_to_proto(&req));
        request.set_timeout(option.hard_ttl());
        client.transfer_leader(request).await.map_err(|status| failed(&status))?;
        Ok(Ok(()))
    }

    fn backoff(&self) -> Option<Backoff> {
        let delay = self.clients.timing().heartbeat;
        Some(Backoff::new(std::iter::repeat(delay)))
    }
}

impl PeerNetwork {
    async fn ask_vote(
        &self,
        rpc: &VoteRequest<TypeConfig>,
        pre_vote: bool,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self.client()?;
        let mut request = Request::new(convert::vote_request_to_proto(rpc, pre_vote));
        request.set_timeout(option.hard_ttl());
        let response = client.vote(request).await.inspect_err(|status| {
            self.clients.traffic().sending_failed(self.target);
            self.clients.heed(status);
        });
        let response = response.map_err(|status| failed(&status))?;
        let answer = convert::vote_response_from_proto(&response.into_inner()).map_err(|status| failed(&status))?;
        check::vote_answer(&answer, &rpc.vote).map_err(|status| failed(&status))?;
        Ok(answer)
    }
}
