"""The JSON of the gRPC gateway, by OpenStack's client (etcd3gw). It knows one address; another member is another client."""

import sys
import threading
import time

import etcd3gw

LIMIT_SECS = 60
EVENTS = 20


def kill():
    """Asks the test to kill a member and waits until it has."""
    print("KILL", flush=True)
    sys.stdin.readline()


def insist(clients, call):
    """What fails is asked of the next member, as long as the time for all of it lasts."""
    end = time.monotonic() + LIMIT_SECS
    while True:
        try:
            return call(clients[0])
        except Exception:
            if time.monotonic() > end:
                raise
            clients.append(clients.pop(0))


def keys(client):
    client.put("gateway/k", "v")
    assert client.get("gateway/k") == [b"v"]
    assert not client.create("gateway/k", "w"), "it is there already"
    assert client.replace("gateway/k", "v", "w") and not client.replace("gateway/k", "v", "x")
    assert client.get("gateway/k") == [b"w"]
    lease = client.lease(ttl=60)
    client.put("gateway/leased", "v", lease=lease)
    assert lease.refresh() == 60 and lease.keys() == [b"gateway/leased"]
    lease.revoke()
    assert client.get("gateway/leased") == []
    assert client.delete("gateway/k")


def locked(client, other):
    held = client.lock("gateway", ttl=60)
    assert held.acquire() and held.is_acquired()
    assert not other.lock("gateway", ttl=60).acquire(), "the lock is held"
    assert held.release()
    assert other.lock("gateway", ttl=60).acquire()


def watched(client):
    events, cancel = client.watch_prefix("gateway/watched/")
    # There is no word that the watch has begun: put until something of it is told.
    told = threading.Event()

    def put():
        while not told.is_set():
            client.put("gateway/watched/first", "v")
            time.sleep(0.05)

    putting = threading.Thread(target=put)
    putting.start()
    event = next(events)
    told.set()
    putting.join()
    assert event["kv"]["key"] == b"gateway/watched/first", event
    client.put("gateway/watched/last", "v")
    while event["kv"]["key"] != b"gateway/watched/last":
        event = next(events)
    cancel()


def survive(clients):
    kill()
    for number in range(EVENTS):
        insist(clients, lambda client: client.put(f"gateway/survived/{number:02}", "v"))
    found = insist(clients, lambda client: client.get_prefix("gateway/survived/", sort_order="ascend", sort_target="key"))
    assert [meta["key"] for _, meta in found] == [b"gateway/survived/%02d" % number for number in range(EVENTS)], found


def main():
    addresses = [endpoint.removeprefix("http://").split(":") for endpoint in sys.argv[1].split(",")]
    clients = [etcd3gw.client(host=host, port=int(port), timeout=5, api_path="/v3/") for host, port in addresses]
    keys(clients[0])
    locked(clients[0], clients[1])
    watched(etcd3gw.client(host=addresses[0][0], port=int(addresses[0][1]), api_path="/v3/"))
    survive(clients)
    print("DONE", flush=True)


main()
