//! Runs an operation on both servers and compares what comes back.

use crate::difference::{Answer, Difference, Reply, answer, same};
use crate::operation::{Operation, Step};
use crate::run::Run;
use crate::ties;
use crate::wire::{self, Path};
use crate::world::Whose;
use bytes::Bytes;
use keelstone_harness::proto::etcdserverpb::*;
use keelstone_harness::proto::health::{HealthCheckRequest, HealthCheckResponse};
use keelstone_harness::proto::mvccpb::KeyValue;
use prost::Message;
use tonic::Code;

const RANGE: Path = "/etcdserverpb.KV/Range";
const PUT: Path = "/etcdserverpb.KV/Put";
const COMPACT: Path = "/etcdserverpb.KV/Compact";
const ALARM: Path = "/etcdserverpb.Maintenance/Alarm";
const HEALTH: Path = "/grpc.health.v1.Health/Check";

impl Run {
    /// # Errors
    /// The servers differ.
    pub async fn perform(&mut self, step: &Step) -> Result<(), Difference> {
        match &step.operation {
            Operation::Range(request) => self.range(step, request).await,
            Operation::RangeStream(request) => self.range_stream(step, request).await,
            Operation::Put(request) => self.ask::<_, PutResponse>(step, PUT, request).await.map(drop),
            Operation::DeleteRange(request) => {
                self.ask::<_, DeleteRangeResponse>(step, "/etcdserverpb.KV/DeleteRange", request).await.map(drop)
            }
            Operation::Txn(request) => self.txn(step, request).await,
            Operation::Compact(request) => self.compact(step, request).await,
            Operation::HashKv(request) => self.hash_kv(step, request).await,
            Operation::Grant(_)
            | Operation::GrantAndRevoke(_)
            | Operation::Revoke(_)
            | Operation::TimeToLive(_)
            | Operation::KeepAlive { .. }
            | Operation::Leases
            | Operation::Expire { .. } => self.perform_on_leases(step).await,
            Operation::Watch { .. }
            | Operation::CancelWatch { .. }
            | Operation::Settle { .. }
            | Operation::EmptyWatchRequest { .. }
            | Operation::ReopenStream { .. } => self.perform_on_streams(&step.operation).await,
            Operation::Alarm { action, member, alarm } => self.alarm(step, *action, *member, *alarm).await,
            Operation::Status => {
                let path = "/etcdserverpb.Maintenance/Status";
                self.ask::<_, StatusResponse>(step, path, &StatusRequest {}).await.map(drop)
            }
            Operation::MemberList(request) => {
                self.ask::<_, MemberListResponse>(step, "/etcdserverpb.Cluster/MemberList", request).await.map(drop)
            }
            Operation::AuthStatus => {
                let path = "/etcdserverpb.Auth/AuthStatus";
                self.ask::<_, AuthStatusResponse>(step, path, &AuthStatusRequest {}).await.map(drop)
            }
            Operation::Health { service } => {
                let request = HealthCheckRequest { service: service.clone() };
                self.ask::<_, HealthCheckResponse>(step, HEALTH, &request).await.map(drop)
            }
            Operation::Raw { path, message } => self.raw(step, path, message).await,
            Operation::Restart => self.restart(step).await,
        }
    }

    /// Asks both; the answer of both tells of the newest revision.
    pub async fn ask<Q, A>(&mut self, step: &Step, path: Path, request: &Q) -> Result<Answer<A>, Difference>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + Reply + 'static,
    {
        let answers = self.pair.answers(path, request, step.metadata).await;
        self.agree(step, answers)
    }

    /// As [`Self::ask`], for answers that are there.
    pub fn agree<A: Reply>(&mut self, step: &Step, answers: [Answer<A>; 2]) -> Result<Answer<A>, Difference> {
        let mut answer = same(step, answers)?;
        if let Ok(reply) = &mut answer {
            self.world.saw(reply.revision());
        }
        Ok(answer)
    }

    async fn range(&mut self, step: &Step, request: &RangeRequest) -> Result<(), Difference> {
        let mut answers: [Answer<RangeResponse>; 2] = self.pair.answers(RANGE, request, step.metadata).await;
        let cut = answers.each_mut().map(|answer| match answer {
            Ok(response) => ties::forget_order(request, response),
            Err(_) => Vec::new(),
        });
        self.agree(step, answers)?.ok();
        if cut[0] != cut[1] {
            self.check_cut(step, request, cut).await?;
        }
        Ok(())
    }

    /// Which of some equal records a limit let through is open; that they are records of the range is not.
    async fn check_cut(&self, step: &Step, request: &RangeRequest, cut: [Vec<KeyValue>; 2]) -> Result<(), Difference> {
        let whole = RangeRequest { limit: 0, ..request.clone() };
        let whole: [Answer<RangeResponse>; 2] = self.pair.answers(RANGE, &whole, step.metadata).await;
        for (cut, whole) in cut.iter().zip(whole) {
            let known = whole.map(|response| response.kvs).unwrap_or_default();
            let strange: Vec<_> = cut.iter().filter(|kv| !known.contains(kv)).collect();
            same(&("records that the range does not have", step), [Vec::new(), strange])?;
        }
        Ok(())
    }

    /// Part by part.
    async fn range_stream(&mut self, step: &Step, request: &RangeRequest) -> Result<(), Difference> {
        let path = "/etcdserverpb.KV/RangeStream";
        let told = self.pair.both(async |side| {
            let (mut parts, end): (Vec<RangeStreamResponse>, _) =
                wire::stream(&side.channel, path, request.clone(), step.metadata).await;
            for part in parts.iter_mut().filter_map(|part| part.range_response.as_mut()) {
                part.hide(&side.identity);
            }
            (parts, end.map_err(|status| (status.code(), status.message().to_owned())))
        });
        same(step, told.await).map(drop)
    }

    async fn txn(&mut self, step: &Step, request: &TxnRequest) -> Result<(), Difference> {
        let path = "/etcdserverpb.KV/Txn";
        let mut answers: [Answer<TxnResponse>; 2] = self.pair.answers(path, request, step.metadata).await;
        for response in answers.iter_mut().flatten() {
            ties::forget_order_in_txn(request, response);
        }
        self.agree(step, answers).map(drop)
    }

    async fn compact(&mut self, step: &Step, request: &CompactionRequest) -> Result<(), Difference> {
        // Watchers that lag would be told of what they have not seen, or not, as time will have it; and etcd looks
        // up previous records when it sends.
        self.settle_all().await?;
        self.finish_compaction(step).await?;
        if self.ask::<_, CompactionResponse>(step, COMPACT, request).await?.is_ok() {
            self.world.compacted(request.revision, request.physical);
        }
        Ok(())
    }

    /// A physical compaction that comes too late still waits for those before it.
    pub async fn finish_compaction(&mut self, step: &Step) -> Result<(), Difference> {
        if std::mem::take(&mut self.world.is_compacting) {
            let again = CompactionRequest { revision: self.world.compacted, physical: true };
            self.ask::<_, CompactionResponse>(step, COMPACT, &again).await?.ok();
        }
        Ok(())
    }

    async fn hash_kv(&mut self, step: &Step, request: &HashKvRequest) -> Result<(), Difference> {
        // A compaction leaves a hash behind, in memory. A restart of ours may run it again, and have it again
        // (README, "How it differs from etcd").
        self.finish_compaction(step).await?;
        if self.world.uncertain_hashes.contains(&request.revision) {
            return Ok(());
        }
        self.ask::<_, HashKvResponse>(step, "/etcdserverpb.Maintenance/HashKV", request).await.map(drop)
    }

    async fn alarm(&mut self, step: &Step, action: i32, member: Whose, alarm: i32) -> Result<(), Difference> {
        let requests = self.pair.sides.each_ref().map(|side| {
            let member_id = match member {
                Whose::Nobody => 0,
                Whose::Own => side.identity.member,
                Whose::Another => 7,
            };
            AlarmRequest { action, member_id, alarm }
        });
        let answers: [Answer<AlarmResponse>; 2] = self.pair.answers_to_each(ALARM, requests, step.metadata).await;
        if self.agree(step, answers)?.is_ok() && alarm != 0 {
            match action {
                1 => drop(self.world.alarms.insert((alarm, member))),
                2 => drop(self.world.alarms.remove(&(alarm, member))),
                _ => {}
            }
        }
        Ok(())
    }

    async fn raw(&mut self, step: &Step, path: Path, message: &Bytes) -> Result<(), Difference> {
        match path {
            PUT => {
                let answers = self.raw_answers::<PutResponse>(step, path, message).await;
                self.agree(step, answers).map(drop)
            }
            HEALTH => {
                let answers = self.raw_answers::<HealthCheckResponse>(step, path, message).await;
                self.agree(step, answers).map(drop)
            }
            _ => {
                let mut answers = self.raw_answers::<RangeResponse>(step, path, message).await;
                if let Ok(request) = RangeRequest::decode(message.clone()) {
                    answers.iter_mut().flatten().for_each(|response| drop(ties::forget_order(&request, response)));
                }
                self.agree(step, answers).map(drop)
            }
        }
    }

    async fn raw_answers<A>(&self, step: &Step, path: Path, message: &Bytes) -> [Answer<A>; 2]
    where
        A: Message + Clone + Default + Reply,
    {
        let answers = self.pair.both(async |side| {
            let reply = wire::raw(&side.channel, path, message.clone(), step.metadata).await;
            let reply = reply.map(|reply| A::decode(reply).expect("a reply that can be read"));
            answer(reply, &side.identity)
        });
        forgive_complaint(answers.await)
    }
}

/// Go words the complaint about a message that it cannot read differently from build to build, on purpose, and so may
/// we. It also reads a field whose wire type is another than its own as one that it does not know, where we complain
/// (README, "How it differs from etcd", for both).
fn forgive_complaint<A: Clone>([etcd, ours]: [Answer<A>; 2]) -> [Answer<A>; 2] {
    let Err((Code::Internal, text)) = &ours else { return [etcd, ours] };
    let complains = text.starts_with("failed to decode Protobuf message: ");
    let forgiven = match &etcd {
        Err((Code::Internal, theirs)) => complains && theirs.starts_with("grpc: error unmarshalling request: "),
        Ok(_) | Err(_) => complains && text.contains(": invalid wire type: "),
    };
    if forgiven { [etcd.clone(), etcd] } else { [etcd, ours] }
}
