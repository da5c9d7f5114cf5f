// The client of etcd 3.5.0, on the gRPC library of its time (1.38).
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

const limit = 30 * time.Second

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func expect(what string, got, want interface{}) {
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

func main() {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: strings.Split(os.Args[1], ","), DialTimeout: 5 * time.Second,
		DialKeepAliveTime: time.Second, DialKeepAliveTimeout: time.Second,
	})
	check(err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*limit)
	defer cancel()

	_, err = client.Put(ctx, "go-3.5/k", "v")
	check(err)
	got, err := client.Get(ctx, "go-3.5/k")
	check(err)
	expect("value", string(got.Kvs[0].Value), "v")
	txn, err := client.Txn(ctx).If(clientv3.Compare(clientv3.Value("go-3.5/k"), "=", "v")).
		Then(clientv3.OpPut("go-3.5/k", "w")).Commit()
	check(err)
	expect("swap", txn.Succeeded, true)

	lease, err := client.Grant(ctx, 60)
	check(err)
	_, err = client.Put(ctx, "go-3.5/leased", "v", clientv3.WithLease(lease.ID))
	check(err)
	alive, err := client.KeepAliveOnce(ctx, lease.ID)
	check(err)
	expect("TTL", alive.TTL, 60)
	_, err = client.Revoke(ctx, lease.ID)
	check(err)
	got, err = client.Get(ctx, "go-3.5/leased")
	check(err)
	expect("leased keys", len(got.Kvs), 0)

	session, err := concurrency.NewSession(client)
	check(err)
	mutex := concurrency.NewMutex(session, "go-3.5/lock")
	check(mutex.Lock(ctx))
	other, err := concurrency.NewSession(client)
	check(err)
	expect("second lock", concurrency.NewMutex(other, "go-3.5/lock").TryLock(ctx), concurrency.ErrLocked)
	check(mutex.Unlock(ctx))
	election := concurrency.NewElection(session, "go-3.5/election")
	check(election.Campaign(ctx, "first"))
	leader, err := election.Leader(ctx)
	check(err)
	expect("leader", string(leader.Kvs[0].Value), "first")
	check(election.Resign(ctx))

	events := client.Watch(ctx, "go-3.5/watched/", clientv3.WithPrefix(), clientv3.WithRev(got.Header.Revision))
	kill()
	for number := 0; number < 20; number++ {
		key := fmt.Sprintf("go-3.5/watched/%02d", number)
		insist(ctx, func(ctx context.Context) error {
			_, err := client.Put(ctx, key, "v")
			return err
		})
	}
	// A put that was asked for again may have happened twice.
	next := 0
	for next < 20 {
		response := <-events
		check(response.Err())
		for _, event := range response.Events {
			if string(event.Kv.Key) == fmt.Sprintf("go-3.5/watched/%02d", next) {
				next++
			} else if next == 0 || string(event.Kv.Key) != fmt.Sprintf("go-3.5/watched/%02d", next-1) {
				log.Fatalf("%s is told, and %d is next", event.Kv.Key, next)
			}
		}
	}
	fmt.Println("DONE")
}
