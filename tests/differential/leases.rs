//! Operations on leases and on watch streams.

use crate::difference::{Answer, Difference, same};
use crate::draw::STREAMS;
use crate::operation::{Operation, Step};
use crate::run::Run;
use crate::wire::{self, Metadata, Path};
use bytes::Bytes;
use keelstone_harness::proto::etcdserverpb::*;
use keelstone_harness::wait;
use std::time::Duration;

const GRANT: Path = "/etcdserverpb.Lease/LeaseGrant";
const REVOKE: Path = "/etcdserverpb.Lease/LeaseRevoke";
const TIME_TO_LIVE: Path = "/etcdserverpb.Lease/LeaseTimeToLive";

/// An id of its own.
const EXPIRING: i64 = 77;

/// Whole seconds that two clusters' leases of the same age may differ by: both cut off the rest of a second, and one
/// may have been granted a little later, on a machine with much to do.
const TTL_TOLERANCE_SECS: i64 = 3;

impl Run {
    pub async fn perform_on_leases(&mut self, step: &Step) -> Result<(), Difference> {
        match &step.operation {
            Operation::Grant(request) => self.grant(step, request).await,
            Operation::GrantAndRevoke(request) => self.grant_and_revoke(step, request).await,
            Operation::Revoke(request) => self.revoke(step, request).await,
            Operation::TimeToLive(request) => self.time_to_live(step, request).await,
            Operation::KeepAlive { id } => self.keep_alive(step, *id).await,
            Operation::Leases => self.list(step).await,
            Operation::Expire { keys } => self.expire(step, keys).await,
            other => unreachable!("not about leases: {other:?}"),
        }
    }

    async fn grant(&mut self, step: &Step, request: &LeaseGrantRequest) -> Result<(), Difference> {
        if request.id == 0 {
            return self.grant_and_revoke(step, request).await;
        }
        if let Ok(granted) = self.ask::<_, LeaseGrantResponse>(step, GRANT, request).await? {
            self.world.renewed(granted.id, granted.ttl);
        }
        Ok(())
    }

    async fn grant_and_revoke(&mut self, step: &Step, request: &LeaseGrantRequest) -> Result<(), Difference> {
        let mut granted: [Answer<LeaseGrantResponse>; 2] = self.pair.answers(GRANT, request, step.metadata).await;
        let ids = granted.each_ref().map(|granted| granted.as_ref().map_or(0, |granted| granted.id));
        for granted in granted.iter_mut().flatten().filter(|_| request.id == 0) {
            // The server's choice, but that it is positive.
            granted.id = granted.id.signum();
        }
        if self.agree(step, granted)?.is_err() {
            return Ok(());
        }
        let requests = ids.map(|id| LeaseRevokeRequest { id });
        let revoked: [Answer<LeaseRevokeResponse>; 2] =
            self.pair.answers_to_each(REVOKE, requests, Metadata::Nothing).await;
        self.agree(step, revoked).map(drop)
    }

    async fn revoke(&mut self, step: &Step, request: &LeaseRevokeRequest) -> Result<(), Difference> {
        if self.ask::<_, LeaseRevokeResponse>(step, REVOKE, request).await?.is_ok() {
            self.world.leases.remove(&request.id);
        }
        Ok(())
    }

    async fn time_to_live(&mut self, step: &Step, request: &LeaseTimeToLiveRequest) -> Result<(), Difference> {
        let mut answers: [Answer<LeaseTimeToLiveResponse>; 2] =
            self.pair.answers(TIME_TO_LIVE, request, step.metadata).await;
        if let [Ok(etcd), Ok(ours)] = &mut answers
            && etcd.ttl.min(ours.ttl) >= 0
            && etcd.ttl.abs_diff(ours.ttl) <= TTL_TOLERANCE_SECS.unsigned_abs()
        {
            ours.ttl = etcd.ttl;
        }
        self.agree(step, answers).map(drop)
    }

    async fn keep_alive(&mut self, step: &Step, id: i64) -> Result<(), Difference> {
        let answers = self.pair.renew(id).await;
        let renewed = self.agree(step, answers)?;
        if let Ok(LeaseKeepAliveResponse { ttl: 1.., .. }) = renewed
            && let Some(lease) = self.world.leases.get(&id)
        {
            let ttl_secs = lease.ttl_secs;
            self.world.renewed(id, ttl_secs);
        }
        Ok(())
    }

    /// In the order in which they will end.
    async fn list(&mut self, step: &Step) -> Result<(), Difference> {
        let request = LeaseLeasesRequest {};
        let mut answers: [Answer<LeaseLeasesResponse>; 2] =
            self.pair.answers("/etcdserverpb.Lease/LeaseLeases", &request, step.metadata).await;
        for response in answers.iter_mut().flatten() {
            for tied in response.leases.chunk_by_mut(|a, b| self.world.end_together(a.id, b.id)) {
                tied.sort_by_key(|status| status.id);
            }
        }
        same(&(step, &self.world.leases), answers).map(drop)
    }

    /// Puts keys with the shortest of leases, and waits until that is over on both sides.
    async fn expire(&mut self, step: &Step, keys: &[Bytes]) -> Result<(), Difference> {
        let step = &Step { metadata: Metadata::Nothing, ..step.clone() };
        let request = LeaseGrantRequest { id: EXPIRING, ttl: 1 };
        if self.ask::<_, LeaseGrantResponse>(step, GRANT, &request).await?.is_err() {
            return Ok(());
        }
        for key in keys {
            let put = PutRequest { key: key.clone(), value: "short".into(), lease: EXPIRING, ..Default::default() };
            self.ask::<_, PutResponse>(step, "/etcdserverpb.KV/Put", &put).await?.ok();
        }
        let ended = self.pair.both(async |side| {
            wait::until("a lease to end", Duration::from_secs(30), || async {
                let request = LeaseTimeToLiveRequest { id: EXPIRING, keys: false };
                let reply: Result<LeaseTimeToLiveResponse, _> =
                    wire::unary(&side.channel, TIME_TO_LIVE, request, Metadata::Nothing).await;
                reply.ok().filter(|reply| reply.ttl == -1).and_then(|reply| reply.header)
            })
            .await
            .revision
        });
        let revision = same(&("the end of a lease", step), ended.await)?;
        self.world.saw(revision);
        Ok(())
    }

    pub async fn perform_on_streams(&mut self, operation: &Operation) -> Result<(), Difference> {
        let (revision, compacted) = (self.world.revision, self.world.compacted);
        match operation {
            Operation::Watch { stream, create, settle } => {
                self.streams[*stream].create(create, revision, compacted).await?;
                if *settle {
                    self.streams[*stream].settle(revision).await?;
                }
            }
            Operation::CancelWatch { stream, id } => self.streams[*stream].cancel(*id, revision).await?,
            Operation::Settle { stream } => self.streams[*stream].settle(revision).await?,
            Operation::EmptyWatchRequest { stream } => self.streams[*stream].send_empty(),
            Operation::ReopenStream { stream } => {
                self.streams[*stream].settle(revision).await?;
                self.streams[*stream] = self.pair.stream();
            }
            other => unreachable!("not about watch streams: {other:?}"),
        }
        Ok(())
    }

    pub async fn settle_all(&mut self) -> Result<(), Difference> {
        for stream in &mut self.streams {
            stream.settle(self.world.revision).await?;
        }
        Ok(())
    }

    /// Kills both, and goes on with what they wrote.
    pub async fn restart(&mut self, step: &Step) -> Result<(), Difference> {
        self.settle_all().await?;
        if self.world.compacted == 0 {
            // etcd forgets a compaction at revision 0 unless it has written that it is finished, which a physical one
            // makes it do.
            self.world.is_compacting = true;
            self.finish_compaction(step).await?;
        }
        self.pair.restart().await;
        self.world.restarted();
        self.streams = (0..STREAMS).map(|_| self.pair.stream()).collect();
        Ok(())
    }
}
