#!/usr/bin/env bash
# Builds clients of others into a folder, a program each, by its language's own package manager. For a language that this
# machine has not, a file NAME.skipped says so. What is there already is built again only where that costs nothing.
#   tests/clients/build.sh FOLDER
set -euo pipefail
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")"
exec 1>&2

missing() { # client, programs that it needs
    local client=$1 program
    shift
    rm -f "$out/$client.skipped"
    for program; do
        if ! command -v "$program" >/dev/null; then
            echo "no $program on this machine" | tee "$out/$client.skipped"
            return 0
        fi
    done
    return 1
}

# Written last, so that it stands for a client that is whole.
program() { # client, lines
    printf '#!/bin/sh\n%s\n' "$2" > "$out/$1.new"
    chmod +x "$out/$1.new"
    mv "$out/$1.new" "$out/$1"
}

for client in go go-3.5; do
    missing $client go || (cd $client && GOWORK=off GOFLAGS=-mod=readonly go build -o "$out/$client" .)
done

if ! missing python python3 && ! missing gateway python3; then
    if ! cmp -s python/requirements.txt "$out/venv/requirements.txt"; then
        rm -rf "$out/venv"
        python3 -m venv "$out/venv"
        "$out/venv/bin/pip" install --quiet -r python/requirements.txt
        cp python/requirements.txt "$out/venv/"
    fi
    protos=../../proto/etcd
    rm -rf "$out/stubs" && mkdir "$out/stubs"
    (cd $protos && "$out/venv/bin/python" -m grpc_tools.protoc -I. --python_out="$out/stubs" --grpc_python_out="$out/stubs" \
        authpb/auth.proto mvccpb/kv.proto etcdserverpb/rpc.proto v3lockpb/v3lock.proto v3electionpb/v3election.proto)
    program python "PYTHONPATH='$out/stubs' exec '$out/venv/bin/python' '$PWD/python/client.py' \"\$@\""
    program gateway "exec '$out/venv/bin/python' '$PWD/gateway/client.py' \"\$@\""
fi

if ! missing node node npm; then
    mkdir -p "$out/modules"
    if ! cmp -s node/package-lock.json "$out/modules/package-lock.json"; then
        cp node/package.json "$out/modules/"
        cp node/package-lock.json "$out/modules/lock.new" && cp "$out/modules/lock.new" "$out/modules/package-lock.json"
        (cd "$out/modules" && npm ci --ignore-scripts --no-fund --no-audit --silent) || { rm "$out/modules/package-lock.json"; exit 1; }
    fi
    program node "NODE_PATH='$out/modules/node_modules' exec node '$PWD/node/client.js' \"\$@\""
fi

if ! missing java java javac mvn; then
    mkdir -p "$out/jars"
    if ! cmp -s java/pom.xml "$out/jars/pom.xml"; then
        mvn -q -B -f java/pom.xml dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$out/jars"
        cp java/pom.xml "$out/jars/"
    fi
    javac -cp "$out/jars/*" -d "$out/classes" java/Client.java
    program java "exec java -cp '$out/classes:$out/jars/*' Main \"\$@\""
fi
