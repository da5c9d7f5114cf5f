//! Compiles the `.proto` files without `protoc`: protox reads them, prost and tonic write the Rust.

use prost::Message;
use prost_types::FileDescriptorSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Where imports start. `etcd` first, so that its files have the names that etcd's importers use.
const ROOTS: [&str; 2] = ["etcd", "."];

const FILES: [&str; 17] = [
    "etcd/authpb/auth.proto",
    "etcd/etcdserverpb/etcdserver.proto",
    "etcd/etcdserverpb/raft_internal.proto",
    "etcd/etcdserverpb/rpc.proto",
    "etcd/health/health.proto",
    "etcd/leasepb/lease.proto",
    "etcd/membershippb/membership.proto",
    "etcd/mvccpb/kv.proto",
    "etcd/raftpb/raft.proto",
    "etcd/snappb/snap.proto",
    "etcd/v3electionpb/v3election.proto",
    "etcd/v3lockpb/v3lock.proto",
    "etcd/versionpb/version.proto",
    "etcd/walpb/record.proto",
    "internal/log.proto",
    "internal/peer.proto",
    "keelstone/backup.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=etcd");
    println!("cargo::rerun-if-changed=internal");
    println!("cargo::rerun-if-changed=keelstone");
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);

    let mut descriptors = protox::compile(FILES, ROOTS)?;
    write_without_comments(&descriptors, &out_dir.join("descriptors.bin"))?;

    name_url_fields_for_rust(&mut descriptors);
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}

fn write_without_comments(descriptors: &FileDescriptorSet, path: &Path) -> Result<(), Box<dyn Error>> {
    let mut bare = descriptors.clone();
    for file in &mut bare.file {
        file.source_code_info = None;
    }
    Ok(fs::write(path, bare.encode_to_vec())?)
}

/// prost would call etcd's `peerURLs` `peer_ur_ls`. The written descriptor set keeps the real names.
fn name_url_fields_for_rust(descriptors: &mut FileDescriptorSet) {
    let messages = descriptors.file.iter_mut().flat_map(|file| &mut file.message_type);
    for field in messages.flat_map(|message| &mut message.field) {
        if let Some(owner) = field.name().strip_suffix("URLs") {
            field.name = Some(format!("{owner}_urls"));
        }
    }
}
