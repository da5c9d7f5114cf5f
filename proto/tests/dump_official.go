// Prints the wire facts of etcd's published Go packages, one per line, in the format that
// descriptors.rs prints ours. Run through dump_official.sh, which picks the module versions.
package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"sort"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "go.etcd.io/etcd/api/v3/authpb"
	_ "go.etcd.io/etcd/api/v3/etcdserverpb"
	_ "go.etcd.io/etcd/api/v3/membershippb"
	_ "go.etcd.io/etcd/api/v3/mvccpb"
	_ "go.etcd.io/etcd/api/v3/versionpb"
	_ "go.etcd.io/etcd/server/v3/etcdserver/api/snap/snappb"
	_ "go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	_ "go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	_ "go.etcd.io/etcd/server/v3/lease/leasepb"
	_ "go.etcd.io/etcd/server/v3/storage/wal/walpb"
	_ "go.etcd.io/raft/v3/raftpb"
	_ "google.golang.org/grpc/health/grpc_health_v1"
)

var packages = map[protoreflect.FullName]bool{
	"authpb": true, "etcdserverpb": true, "grpc.health.v1": true, "leasepb": true,
	"membershippb": true, "mvccpb": true, "raftpb": true, "snappb": true, "v3electionpb": true,
	"v3lockpb": true, "versionpb": true, "walpb": true,
}

var modules = map[string]bool{
	"go.etcd.io/etcd/api/v3": true, "go.etcd.io/etcd/server/v3": true,
	"go.etcd.io/raft/v3": true, "google.golang.org/grpc": true,
}

var lines []string

func line(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }

// typeOf is the scalar's keyword, or the full name of the message or enum.
func typeOf(f protoreflect.FieldDescriptor) string {
	switch {
	case f.Message() != nil:
		return "message " + string(f.Message().FullName())
	case f.Enum() != nil:
		return "enum " + string(f.Enum().FullName())
	default:
		return f.Kind().String()
	}
}

func field(f protoreflect.FieldDescriptor) string {
	attributes := []string{f.Cardinality().String()}
	if f.HasPresence() {
		attributes = append(attributes, "presence")
	}
	if f.IsPacked() {
		attributes = append(attributes, "packed")
	}
	if f.IsMap() {
		attributes = append(attributes, "map")
	}
	if f.HasDefault() {
		attributes = append(attributes, "default="+f.Default().String())
	}
	if oneof := f.ContainingOneof(); oneof != nil && !oneof.IsSynthetic() {
		attributes = append(attributes, "oneof="+string(oneof.Name()))
	}
	return fmt.Sprintf("%d %s: %s, %s, json=%s",
		f.Number(), f.Name(), typeOf(f), strings.Join(attributes, " "), f.JSONName())
}

func enum(e protoreflect.EnumDescriptor) {
	line("enum %s", e.FullName())
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		line("value %s %d %s", e.FullName(), v.Number(), v.Name())
	}
}

func message(m protoreflect.MessageDescriptor) {
	line("message %s", m.FullName())
	for i := range m.Fields().Len() {
		line("field %s %s", m.FullName(), field(m.Fields().Get(i)))
	}
	for i := range m.ReservedRanges().Len() {
		r := m.ReservedRanges().Get(i)
		line("reserved %s %d..%d", m.FullName(), r[0], r[1])
	}
	for i := range m.ReservedNames().Len() {
		line("reserved %s %s", m.FullName(), m.ReservedNames().Get(i))
	}
	for i := range m.Enums().Len() {
		enum(m.Enums().Get(i))
	}
	for i := range m.Messages().Len() {
		message(m.Messages().Get(i))
	}
}

func stream(is bool) string {
	if is {
		return "stream "
	}
	return ""
}

func service(s protoreflect.ServiceDescriptor) {
	line("service %s", s.FullName())
	for i := range s.Methods().Len() {
		m := s.Methods().Get(i)
		line("method %s %s(%s%s) returns (%s%s)", s.FullName(), m.Name(),
			stream(m.IsStreamingClient()), m.Input().FullName(),
			stream(m.IsStreamingServer()), m.Output().FullName())
	}
}

func main() {
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if !packages[f.Package()] {
			return true
		}
		for i := range f.Enums().Len() {
			enum(f.Enums().Get(i))
		}
		for i := range f.Messages().Len() {
			message(f.Messages().Get(i))
		}
		for i := range f.Services().Len() {
			service(f.Services().Get(i))
		}
		for i := range f.Extensions().Len() {
			x := f.Extensions().Get(i)
			line("extension %s of %s %d: %s, %s",
				x.FullName(), x.ContainingMessage().FullName(), x.Number(), typeOf(x), x.Cardinality())
		}
		return true
	})
	sort.Strings(lines)

	build, ok := debug.ReadBuildInfo()
	if !ok {
		fmt.Fprintln(os.Stderr, "no build info: cannot name the module versions")
		os.Exit(1)
	}
	for _, module := range build.Deps {
		if modules[module.Path] {
			fmt.Printf("# %s %s\n", module.Path, module.Version)
		}
	}
	fmt.Println(strings.Join(lines, "\n"))
}
