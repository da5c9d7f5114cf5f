"""Python's gRPC library (the C core) with what protoc makes of the wire interface. Locks and elections are the server's own."""

import sys
import time

import grpc
from etcdserverpb import rpc_pb2 as pb
from etcdserverpb import rpc_pb2_grpc as services
from v3electionpb import v3election_pb2 as election
from v3electionpb import v3election_pb2_grpc as election_service
from v3lockpb import v3lock_pb2 as lock
from v3lockpb import v3lock_pb2_grpc as lock_service

LIMIT_SECS = 60
EVENTS = 20


def kill():
    """Asks the test to kill a member and waits until it has."""
    print("KILL", flush=True)
    sys.stdin.readline()


class Cluster:
    """All members, and the one that is asked as long as it answers."""

    def __init__(self, endpoints):
        # Members are found again quickly after they were killed.
        options = [("grpc.max_reconnect_backoff_ms", 1000)]
        self.channels = [grpc.insecure_channel(endpoint.removeprefix("http://"), options) for endpoint in endpoints]
        self.end = time.monotonic() + LIMIT_SECS

    def call(self, make, timeout=3):
        """What fails is asked of the next member, as long as the time for all of it lasts."""
        while True:
            try:
                return make(self.channels[0])(timeout)
            except grpc.RpcError:
                if time.monotonic() > self.end:
                    raise
                self.channels.append(self.channels.pop(0))

    def put(self, key, value, lease=0):
        request = pb.PutRequest(key=key, value=value, lease=lease)
        return self.call(lambda channel: lambda timeout: services.KVStub(channel).Put(request, timeout=timeout))

    def get(self, key, **more):
        request = pb.RangeRequest(key=key, **more)
        return self.call(lambda channel: lambda timeout: services.KVStub(channel).Range(request, timeout=timeout))


def keys(cluster, channel):
    cluster.put(b"python/k", b"v")
    found = cluster.get(b"python/k")
    assert found.kvs[0].value == b"v", found
    compare = pb.Compare(key=b"python/k", target=pb.Compare.MOD, mod_revision=found.kvs[0].mod_revision)
    swap = pb.TxnRequest(
        compare=[compare],
        success=[pb.RequestOp(request_put=pb.PutRequest(key=b"python/k", value=b"w"))],
        failure=[pb.RequestOp(request_range=pb.RangeRequest(key=b"python/k"))],
    )
    kv = services.KVStub(channel)
    assert kv.Txn(swap).succeeded
    other = kv.Txn(swap)
    assert not other.succeeded and other.responses[0].response_range.kvs[0].value == b"w", other

    lease = services.LeaseStub(channel)
    granted = lease.LeaseGrant(pb.LeaseGrantRequest(TTL=60))
    cluster.put(b"python/leased", b"v", granted.ID)
    alive = next(lease.LeaseKeepAlive(iter([pb.LeaseKeepAliveRequest(ID=granted.ID)])))
    assert alive.TTL == 60, alive
    lease.LeaseRevoke(pb.LeaseRevokeRequest(ID=granted.ID))
    assert cluster.get(b"python/leased").count == 0


def recipes(channel):
    leases, locks = services.LeaseStub(channel), lock_service.LockStub(channel)
    elections = election_service.ElectionStub(channel)
    first, second = (leases.LeaseGrant(pb.LeaseGrantRequest(TTL=60)).ID for _ in range(2))
    held = locks.Lock(lock.LockRequest(name=b"python/lock", lease=first))
    waiting = locks.Lock.future(lock.LockRequest(name=b"python/lock", lease=second), timeout=LIMIT_SECS)
    campaign = election.CampaignRequest(name=b"python/election", lease=first, value=b"first")
    leader = elections.Campaign(campaign).leader
    assert elections.Leader(election.LeaderRequest(name=b"python/election")).kv.value == b"first"
    assert not waiting.done(), "the lock is held"
    locks.Unlock(lock.UnlockRequest(key=held.key))
    waiting.result()
    elections.Resign(election.ResignRequest(leader=leader))
    try:
        elections.Leader(election.LeaderRequest(name=b"python/election"))
        raise AssertionError("nobody leads any more")
    except grpc.RpcError as error:
        assert error.details() == "election: no leader", error


def survive(cluster):
    begin = cluster.get(b"python/k").header.revision
    kill()
    for number in range(EVENTS):
        cluster.put(b"python/watched/%02d" % number, b"v")
    seen, start = [], begin + 1
    while len(seen) < EVENTS:
        create = pb.WatchCreateRequest(key=b"python/watched/", range_end=b"python/watched0", start_revision=start)

        def told(timeout, channel=None):
            nonlocal start
            watch = services.WatchStub(channel).Watch(iter([pb.WatchRequest(create_request=create)]), timeout=timeout)
            for response in watch:
                for event in response.events:
                    start = event.kv.mod_revision + 1
                    # A put that was asked for again may have happened twice.
                    if not seen or seen[-1] != event.kv.key:
                        seen.append(event.kv.key)
                if len(seen) == EVENTS:
                    watch.cancel()
                    return

        cluster.call(lambda channel: lambda timeout: told(timeout, channel), timeout=10)
    assert seen == [b"python/watched/%02d" % number for number in range(EVENTS)], seen


def main():
    cluster = Cluster(sys.argv[1].split(","))
    channel = cluster.channels[0]
    keys(cluster, channel)
    recipes(channel)
    survive(cluster)
    print("DONE", flush=True)


main()
