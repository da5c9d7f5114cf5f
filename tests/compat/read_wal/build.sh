#!/bin/sh
# Builds etcd's own WAL reader from its published Go modules: build.sh OUTPUT. Needs Go and the module proxy.
set -eu
etcd=v3.7.3
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/main.go" "$work/"
cd "$work"
go mod init read_wal >&2
# raft and protobuf come in the versions that this etcd server itself requires.
go get "go.etcd.io/etcd/server/v3@$etcd" >&2
go build -mod=mod -o read_wal . >&2
cp read_wal "$1"
