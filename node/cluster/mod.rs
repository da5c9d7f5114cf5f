//! Members of the cluster and their ids.
