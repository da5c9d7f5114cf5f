// Reads and writes a log with etcd's own code, so that both sides of the format are checked against it.
//
//	go_reader read <dir>    prints what wal.Verify, wal.OpenForRead and ReadAll find, from the newest snapshot on
//	go_reader write <dir>   makes the log whose files are kept in ../etcd-3.7.3
package main

import (
	"fmt"
	"os"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: go_reader read|write <dir>")
		os.Exit(2)
	}
	switch dir := os.Args[2]; os.Args[1] {
	case "read":
		read(dir)
	case "write":
		write(dir)
	}
}

func read(dir string) {
	snapshots, err := wal.ValidSnapshotEntries(zap.NewNop(), dir)
	must(err)
	newest := snapshots[len(snapshots)-1]
	_, err = wal.Verify(zap.NewNop(), dir, newest)
	must(err)
	log, err := wal.OpenForRead(zap.NewNop(), dir, newest)
	must(err)
	metadata, state, entries, err := log.ReadAll()
	must(err)
	ids := &etcdserverpb.Metadata{}
	must(proto.Unmarshal(metadata, ids))
	fmt.Printf("ids %x %x\n", ids.GetNodeID(), ids.GetClusterID())
	fmt.Printf("state %d %x %d\n", state.GetTerm(), state.GetVote(), state.GetCommit())
	fmt.Printf("snapshot %d %d %x\n", newest.GetTerm(), newest.GetIndex(), newest.GetConfState().GetVoters())
	for _, e := range entries {
		fmt.Printf("entry %d %d %d %x\n", e.GetTerm(), e.GetIndex(), e.GetType(), e.GetData())
	}
}

func entry(kind raftpb.EntryType, term, index uint64, data []byte) *raftpb.Entry {
	return &raftpb.Entry{Type: kind.Enum(), Term: new(term), Index: new(index), Data: data}
}

func state(term, vote, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: new(term), Vote: new(vote), Commit: new(commit)}
}

func payload(index uint64) []byte {
	data := make([]byte, 40*index)
	for i := range data {
		data[i] = byte(index)
	}
	return data
}

func write(dir string) {
	wal.SegmentSizeBytes = 2048
	metadata, err := proto.Marshal(&etcdserverpb.Metadata{NodeID: new(uint64(0x8e9e05c52164694d)), ClusterID: new(uint64(0xcdf818194e3a8c32))})
	must(err)
	log, err := wal.Create(zap.NewNop(), dir, metadata)
	must(err)
	must(log.Save(state(1, 0, 1), []*raftpb.Entry{entry(raftpb.EntryConfChange, 1, 1, []byte("conf"))}))
	must(log.Save(state(2, 0x8e9e05c52164694d, 1), nil))
	must(log.Save(state(2, 0x8e9e05c52164694d, 2), []*raftpb.Entry{entry(raftpb.EntryNormal, 2, 2, nil)}))
	for index := uint64(3); index <= 12; index++ {
		// As Raft does, a state is only saved when it changed.
		changed := state(2, 0x8e9e05c52164694d, index-1)
		if index == 3 {
			changed = &raftpb.HardState{}
		}
		must(log.Save(changed, []*raftpb.Entry{entry(raftpb.EntryNormal, 2, index, payload(index))}))
	}
	// A new leader replaces the tail.
	must(log.Save(state(3, 0, 11), nil))
	must(log.Save(state(3, 0, 12), []*raftpb.Entry{entry(raftpb.EntryNormal, 3, 12, payload(5)), entry(raftpb.EntryNormal, 3, 13, payload(1))}))
	must(log.SaveSnapshot(&walpb.Snapshot{Index: new(uint64(4)), Term: new(uint64(2)), ConfState: &raftpb.ConfState{Voters: []uint64{0x8e9e05c52164694d}}}))
	must(log.Save(state(3, 0, 13), []*raftpb.Entry{entry(raftpb.EntryNormal, 3, 14, payload(2))}))
	must(log.Close())
}
