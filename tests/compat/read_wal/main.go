// read_wal reads a member's log with etcd's own WAL package and prints what it found, one line each:
//
//	member <node id> cluster <cluster id>
//	state <term> <vote> <commit>
//	snapshot <index> <term>            the newest one that counts as valid; reading starts behind it
//	entry <index> <term> <type> <key of a put, hexadecimal, or a dash>
package main

import (
	"fmt"
	"os"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

func main() {
	if len(os.Args) != 2 {
		fail(fmt.Errorf("usage: read_wal FOLDER"))
	}
	folder, log := os.Args[1], zap.NewNop()
	snapshots, err := wal.ValidSnapshotEntries(log, folder)
	fail(err)
	if len(snapshots) == 0 {
		fail(fmt.Errorf("no valid snapshot record"))
	}
	newest := snapshots[len(snapshots)-1]
	_, err = wal.Verify(log, folder, newest)
	fail(err)
	// The oldest one reads the most entries.
	start := snapshots[0]
	w, err := wal.OpenForRead(log, folder, start)
	fail(err)
	metadata, state, entries, err := w.ReadAll()
	fail(err)
	ids := &pb.Metadata{}
	fail(proto.Unmarshal(metadata, ids))
	fmt.Println("member", ids.GetNodeID(), "cluster", ids.GetClusterID())
	fmt.Println("state", state.GetTerm(), state.GetVote(), state.GetCommit())
	fmt.Println("snapshot", newest.GetIndex(), newest.GetTerm())
	for _, entry := range entries {
		fmt.Println("entry", entry.GetIndex(), entry.GetTerm(), entry.GetType(), putKey(entry))
	}
}

// putKey fails on a normal entry that is not an InternalRaftRequest.
func putKey(entry *raftpb.Entry) string {
	if entry.GetType() != raftpb.EntryNormal || len(entry.GetData()) == 0 {
		return "-"
	}
	request := &pb.InternalRaftRequest{}
	fail(proto.Unmarshal(entry.GetData(), request))
	if request.GetPut() == nil {
		return "-"
	}
	return fmt.Sprintf("%x", request.GetPut().GetKey())
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
