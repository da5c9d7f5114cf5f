#!/bin/sh
# Rewrites official-descriptors.txt from etcd's published Go modules. Needs Go and the module proxy.
# A CI step that has Go runs this and then `git diff --exit-code proto/tests/official-descriptors.txt`.
set -eu
etcd=v3.7.3
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/dump_official.go" "$work/main.go"
cd "$work"
go mod init dump >&2
# raft and grpc come in the versions that this etcd server itself requires.
go get "go.etcd.io/etcd/api/v3@$etcd" "go.etcd.io/etcd/server/v3@$etcd" >&2
go build -o dump . >&2
./dump > descriptors.txt
cp descriptors.txt "$here/official-descriptors.txt"
