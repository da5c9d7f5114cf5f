// Java's client (jetcd), on gRPC over Netty. Locks and elections are the server's own.

import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.KV;
import io.etcd.jetcd.Watch;
import io.etcd.jetcd.election.LeaderKey;
import io.etcd.jetcd.op.Cmp;
import io.etcd.jetcd.op.CmpTarget;
import io.etcd.jetcd.op.Op;
import io.etcd.jetcd.options.PutOption;
import io.etcd.jetcd.options.WatchOption;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

class Main {
    static final long LIMIT_SECS = 60;
    static final int EVENTS = 20;

    static ByteSequence bytes(String text) {
        return ByteSequence.from(text, StandardCharsets.UTF_8);
    }

    static void expect(String what, Object got, Object wanted) {
        if (!got.equals(wanted)) {
            throw new AssertionError(what + ": " + got + ", not " + wanted);
        }
    }

    interface Call {
        CompletableFuture<?> make() throws Exception;
    }

    // What fails is asked for again, as long as the time for all of it lasts.
    static void insist(Call call) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(LIMIT_SECS);
        while (true) {
            try {
                call.make().get(3, TimeUnit.SECONDS);
                return;
            } catch (Exception failed) {
                if (System.nanoTime() > end) {
                    throw failed;
                }
            }
        }
    }

    static void keys(Client client) throws Exception {
        KV kv = client.getKVClient();
        ByteSequence key = bytes("java/k");
        kv.put(key, bytes("v")).get();
        expect("value", kv.get(key).get().getKvs().get(0).getValue(), bytes("v"));
        for (boolean succeeds : new boolean[] {true, false}) {
            Cmp isFirst = new Cmp(key, Cmp.Op.EQUAL, CmpTarget.value(bytes("v")));
            Op put = Op.put(key, bytes("w"), PutOption.DEFAULT);
            expect("swap", kv.txn().If(isFirst).Then(put).commit().get().isSucceeded(), succeeds);
        }
        long lease = client.getLeaseClient().grant(60).get().getID();
        kv.put(bytes("java/leased"), bytes("v"), PutOption.builder().withLeaseId(lease).build()).get();
        expect("TTL", client.getLeaseClient().keepAliveOnce(lease).get().getTTL(), 60L);
        client.getLeaseClient().revoke(lease).get();
        expect("leased keys", kv.get(bytes("java/leased")).get().getCount(), 0L);
    }

    static void recipes(Client client) throws Exception {
        long first = client.getLeaseClient().grant(60).get().getID();
        long second = client.getLeaseClient().grant(60).get().getID();
        ByteSequence held = client.getLockClient().lock(bytes("java/lock"), first).get().getKey();
        CompletableFuture<?> waiting = client.getLockClient().lock(bytes("java/lock"), second);
        ByteSequence name = bytes("java/election");
        LeaderKey leader = client.getElectionClient().campaign(name, first, bytes("first")).get().getLeader();
        expect("leader", client.getElectionClient().leader(name).get().getKv().getValue(), bytes("first"));
        client.getElectionClient().resign(leader).get();
        expect("lock that is held", waiting.isDone(), false);
        client.getLockClient().unlock(held).get();
        waiting.get(LIMIT_SECS, TimeUnit.SECONDS);
    }

    static void survive(Client client) throws Exception {
        long begin = client.getKVClient().get(bytes("java/k")).get().getHeader().getRevision();
        List<String> seen = new ArrayList<>();
        CountDownLatch all = new CountDownLatch(EVENTS);
        WatchOption from = WatchOption.builder().isPrefix(true).withRevision(begin).build();
        Watch.Listener listener = Watch.listener(response -> response.getEvents().forEach(event -> {
            String key = event.getKeyValue().getKey().toString(StandardCharsets.UTF_8);
            // A put that was asked for again may have happened twice.
            if (seen.isEmpty() || !seen.get(seen.size() - 1).equals(key)) {
                seen.add(key);
                all.countDown();
            }
        }));
        try (Watch.Watcher watcher = client.getWatchClient().watch(bytes("java/watched/"), from, listener)) {
            System.out.println("KILL");
            System.in.read();
            List<String> names = new ArrayList<>();
            for (int number = 0; number < EVENTS; number++) {
                String name = String.format("java/watched/%02d", number);
                names.add(name);
                insist(() -> client.getKVClient().put(bytes(name), bytes("v")));
            }
            if (!all.await(LIMIT_SECS, TimeUnit.SECONDS)) {
                throw new AssertionError("told of " + seen);
            }
            expect("events", seen, names);
        }
    }

    public static void main(String[] args) throws Exception {
        try (Client client = Client.builder().endpoints(args[0].split(",")).build()) {
            keys(client);
            recipes(client);
            survive(client);
        }
        System.out.println("DONE");
        System.exit(0);
    }
}
