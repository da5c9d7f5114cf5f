module keelstone/tests/clients/go-3.5

go 1.16

require go.etcd.io/etcd/client/v3 v3.5.1
