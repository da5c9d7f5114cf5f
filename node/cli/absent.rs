//! Programs of etcd's binary that this one does not hold.

use super::exit;
use std::process::ExitCode;

/// What is said of `program`; none if it is not one of them.
pub fn of(program: &str) -> Option<&'static str> {
    Some(match program {
        "gateway" => {
            "gateway is not part of Keelstone. Give clients the addresses of all members (etcdctl --endpoints, or \
             --discovery-srv), or put any TCP load balancer in front of them. etcd's own `etcd gateway` works before this \
             server too."
        }
        "grpc-proxy" => {
            "grpc-proxy is not part of Keelstone: a member joins watches on the same keys by itself. Give clients the addresses \
             of all members. etcd's own `etcd grpc-proxy start` works before this server too, for instance to give keys a \
             --namespace."
        }
        _ => return None,
    })
}

pub fn answer(said: &str) -> ExitCode {
    eprintln!("{said}");
    ExitCode::from(exit::NOT_BUILT)
}
