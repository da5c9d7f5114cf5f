//! The Raft log on disk, in etcd's WAL format.
