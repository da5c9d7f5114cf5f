//! Settings: etcd's flags, environment and file, parsed and checked before a port opens.
