// The client of etcd 3.7.3 with all that its module has: recipes, mirror, naming, leasing, ordering.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/ordering"
)

const limit = 60 * time.Second

func check(err error) {
	if err != nil {
		log.Output(2, err.Error())
		os.Exit(1)
	}
}

func expect(what string, got, want any) {
	if fmt.Sprint(got) != fmt.Sprint(want) {
		log.Fatalf("%s: %v, not %v", what, got, want)
	}
}

// Asks the test to kill a member and waits until it has.
func kill() {
	fmt.Println("KILL")
	_, err := bufio.NewReader(os.Stdin).ReadString('\n')
	check(err)
}

// What fails is asked for again, as long as the time for all of it lasts.
func insist(ctx context.Context, call func(context.Context) error) {
	for {
		one, cancel := context.WithTimeout(ctx, 3*time.Second)
		err := call(one)
		cancel()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			log.Fatal(err)
		}
	}
}

func keys(ctx context.Context, client *clientv3.Client) {
	_, err := client.Put(ctx, "go/k", "v")
	check(err)
	got, err := client.Get(ctx, "go/k")
	check(err)
	expect("value", string(got.Kvs[0].Value), "v")
	swap := func() bool {
		txn, err := client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision("go/k"), "=", got.Kvs[0].ModRevision)).
			Then(clientv3.OpPut("go/k", "w")).Else(clientv3.OpGet("go/k")).Commit()
		check(err)
		return txn.Succeeded
	}
	expect("two swaps", []bool{swap(), swap()}, []bool{true, false})
	stream, err := client.GetStream(ctx, "go/", clientv3.WithPrefix())
	check(err)
	streamed, err := clientv3.GetStreamToGetResponse(stream)
	check(err)
	expect("streamed", len(streamed.Kvs), 1)

	lease, err := client.Grant(ctx, 60)
	check(err)
	_, err = client.Put(ctx, "go/leased", "v", clientv3.WithLease(lease.ID))
	check(err)
	alive, err := client.KeepAliveOnce(ctx, lease.ID)
	check(err)
	expect("TTL", alive.TTL, 60)
	_, err = client.Revoke(ctx, lease.ID)
	check(err)
	left, err := client.Get(ctx, "go/leased", clientv3.WithCountOnly())
	check(err)
	expect("leased keys", left.Count, 0)
}

func recipes(ctx context.Context, client *clientv3.Client) {
	session, err := concurrency.NewSession(client)
	check(err)
	other, err := concurrency.NewSession(client)
	check(err)
	mutex := concurrency.NewMutex(session, "go/lock")
	check(mutex.Lock(ctx))
	if err := concurrency.NewMutex(other, "go/lock").TryLock(ctx); !errors.Is(err, concurrency.ErrLocked) {
		log.Fatalf("a lock that is held: %v", err)
	}
	check(mutex.Unlock(ctx))

	first, second := concurrency.NewElection(session, "go/election"), concurrency.NewElection(other, "go/election")
	check(first.Campaign(ctx, "first"))
	elected := make(chan error, 1)
	go func() { elected <- second.Campaign(ctx, "second") }()
	leader, err := first.Leader(ctx)
	check(err)
	expect("leader", string(leader.Kvs[0].Value), "first")
	check(first.Resign(ctx))
	check(<-elected)
	leader, err = second.Leader(ctx)
	check(err)
	expect("leader after the first has gone", string(leader.Kvs[0].Value), "second")

	_, err = client.Put(ctx, "go/account", "1")
	check(err)
	_, err = concurrency.NewSTM(client, func(stm concurrency.STM) error {
		stm.Put("go/account", stm.Get("go/account")+"1")
		return nil
	})
	check(err)
	account, err := client.Get(ctx, "go/account")
	check(err)
	expect("account", string(account.Kvs[0].Value), "11")
	check(session.Close())
	check(other.Close())
}

func mirrored(ctx context.Context, client *clientv3.Client) {
	for number := range 5 {
		_, err := client.Put(ctx, fmt.Sprintf("go/mirrored/%d", number), "v")
		check(err)
	}
	syncer := mirror.NewSyncer(client, "go/mirrored/", 0)
	base, failed := syncer.SyncBase(ctx)
	count := 0
	for response := range base {
		count += len(response.Kvs)
	}
	check(<-failed)
	expect("mirrored at first", count, 5)
	updates, cancel := context.WithCancel(ctx)
	defer cancel()
	news := syncer.SyncUpdates(updates)
	_, err := client.Delete(ctx, "go/mirrored/3")
	check(err)
	response := <-news
	check(response.Err())
	expect("mirrored then", string(response.Events[0].Kv.Key), "go/mirrored/3")
}

func named(ctx context.Context, client *clientv3.Client) {
	manager, err := endpoints.NewManager(client, "go/service")
	check(err)
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	news, err := manager.NewWatchChannel(watch)
	check(err)
	check(manager.AddEndpoint(ctx, "go/service/a", endpoints.Endpoint{Addr: "127.0.0.1:1"}))
	expect("endpoint", (<-news)[0].Endpoint.Addr, "127.0.0.1:1")
	listed, err := manager.List(ctx)
	check(err)
	expect("endpoints", len(listed), 1)
}

func leased(ctx context.Context, client *clientv3.Client) {
	holder, closeHolder, err := leasing.NewKV(client, "go/leasing/")
	check(err)
	defer closeHolder()
	_, err = holder.Put(ctx, "go/cached", "v")
	check(err)
	for range 2 {
		got, err := holder.Get(ctx, "go/cached")
		check(err)
		expect("cached", string(got.Kvs[0].Value), "v")
	}
	// Who writes past it has it give its lease up first.
	other, closeOther, err := leasing.NewKV(client, "go/leasing/")
	check(err)
	defer closeOther()
	_, err = other.Put(ctx, "go/cached", "w")
	check(err)
	got, err := holder.Get(ctx, "go/cached")
	check(err)
	expect("cached after another's put", string(got.Kvs[0].Value), "w")
}

func ordered(ctx context.Context, client *clientv3.Client) {
	orders := ordering.NewKV(namespace.NewKV(client.KV, "go/"), func(clientv3.Op, clientv3.OpResponse, int64) error {
		return errors.New("an answer that is older than the last")
	})
	for number := range 10 {
		_, err := orders.Put(ctx, "ordered", fmt.Sprint(number))
		check(err)
		got, err := orders.Get(ctx, "ordered")
		check(err)
		expect("ordered", string(got.Kvs[0].Value), number)
	}
}

// All of the API that goes on by itself: a watch, a kept lease, a held lock.
func survive(ctx context.Context, client *clientv3.Client) {
	session, err := concurrency.NewSession(client, concurrency.WithTTL(30))
	check(err)
	mutex := concurrency.NewMutex(session, "go/held")
	check(mutex.Lock(ctx))
	events := client.Watch(clientv3.WithRequireLeader(ctx), "go/watched/", clientv3.WithPrefix(), clientv3.WithRev(1))
	kill()
	for number := range 20 {
		insist(ctx, func(ctx context.Context) error {
			_, err := client.Put(ctx, fmt.Sprintf("go/watched/%02d", number), "v")
			return err
		})
	}
	told, next := events, int64(2)
	for seen := 0; seen < 20; {
		response, goesOn := <-told
		if !goesOn || response.Err() != nil {
			// A member that has lost its leader ends the watch, as it was asked to.
			told = client.Watch(clientv3.WithRequireLeader(ctx), "go/watched/", clientv3.WithPrefix(), clientv3.WithRev(next))
			check(ctx.Err())
			continue
		}
		for _, event := range response.Events {
			key := string(event.Kv.Key)
			next = event.Kv.ModRevision + 1
			if key == fmt.Sprintf("go/watched/%02d", seen) {
				seen++
			} else if seen == 0 || key != fmt.Sprintf("go/watched/%02d", seen-1) {
				// A put that was asked for again may have happened twice; nothing else may come.
				log.Fatalf("%s is told, and %d is next", key, seen)
			}
		}
	}
	insist(ctx, func(ctx context.Context) error {
		_, err := client.KeepAliveOnce(ctx, session.Lease())
		return err
	})
	insist(ctx, mutex.Unlock)
}

func main() {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: strings.Split(os.Args[1], ","), DialTimeout: 5 * time.Second,
		DialKeepAliveTime: time.Second, DialKeepAliveTimeout: time.Second,
	})
	check(err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for _, part := range []func(context.Context, *clientv3.Client){keys, recipes, mirrored, named, leased, ordered, survive} {
		part(ctx, client)
	}
	fmt.Println("DONE")
}
