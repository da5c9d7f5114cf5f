//! Log lines in the shape of etcd's.
