//! Calls as JSON. What is compared are values of JSON: Go puts spaces into its own at random.

use crate::{Case, check, check_alone, since, suite};
use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use futures_util::{SinkExt, StreamExt};
use keelstone_harness::http::{self, Reply};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

fn b64(text: &str) -> String {
    BASE64.encode(text)
}

async fn post(case: &Case, path: &str, body: &Value) -> Reply {
    http::post(case.port, path, &body.to_string()).await.expect("an answer")
}

/// The answer to a call that succeeds, without the header's numbers that differ by server.
async fn call(case: &Case, path: &str, body: Value) -> Value {
    let reply = post(case, path, &body).await;
    assert_eq!(reply.status, 200, "{path} {body}: {}", reply.body);
    assert!(reply.headers.contains(&"content-type: application/json".to_owned()), "{:?}", reply.headers);
    let mut answer: Value = serde_json::from_str(&reply.body).expect("JSON");
    let header = answer.as_object_mut().expect("an object").remove("header");
    if let Some(header) = header {
        for number in ["cluster_id", "member_id", "raft_term"] {
            assert!(header[number].is_string(), "{path}: {header}");
        }
    }
    answer
}

/// Status, code and text of a call that is refused.
async fn refused(case: &Case, path: &str, body: &str) -> (u16, Value) {
    let reply = http::post(case.port, path, body).await.expect("an answer");
    (reply.status, serde_json::from_str(&reply.body).unwrap_or_else(|_| panic!("no JSON: {}", reply.body)))
}

#[tokio::test]
async fn keys_are_written_read_and_deleted() {
    check(async |case| {
        let key = |name: &str| BASE64.encode(case.key(name));
        let put = json!({"key": key("a"), "value": b64("1")});
        assert_eq!(call(case, "/v3/kv/put", put).await, json!({}));
        let put = json!({"key": key("a"), "value": b64("2"), "prev_kv": true});
        let answer = call(case, "/v3beta/kv/put", put).await;
        let before = &answer["prev_kv"];
        assert_eq!((&before["key"], &before["value"]), (&json!(key("a")), &json!(b64("1"))));
        assert_eq!(before["version"], json!("1"));
        assert_eq!(before["create_revision"], before["mod_revision"]);
        assert!(before["create_revision"].is_string());
        let range = call(case, "/v3/kv/range", json!({"key": key("a"), "countOnly": true})).await;
        assert_eq!(range, json!({"count": "1"}));
        let range = call(case, "/v3/kv/range", json!({"key": key("a"), "limit": 5, "sort_order": "DESCEND"})).await;
        assert_eq!(range["kvs"][0]["value"], json!(b64("2")));
        assert_eq!(range["kvs"][0]["version"], json!("2"));
        // Names of values that are unknown are passed over, as those of fields.
        let range = call(case, "/v3/kv/range", json!({"key": key("a"), "sort_order": "UP", "what": [1]})).await;
        assert_eq!(range["count"], json!("1"));
        let nothing = call(case, "/v3/kv/range", json!({"key": key("none")})).await;
        assert_eq!(nothing, json!({}));
        let txn = json!({
            "compare": [{"key": key("a"), "target": "VALUE", "result": "EQUAL", "value": b64("2")}],
            "success": [{"request_put": {"key": key("b"), "value": b64("3")}}, {"requestRange": {"key": key("b")}}],
            "failure": [{"request_delete_range": {"key": key("a")}}],
        });
        let answer = call(case, "/v3/kv/txn", txn).await;
        assert_eq!(answer["succeeded"], json!(true));
        assert!(answer["responses"][0]["response_put"]["header"]["revision"].is_string(), "{answer}");
        assert_eq!(answer["responses"][1]["response_range"]["kvs"][0]["value"], json!(b64("3")));
        let deleted = call(case, "/v3/kv/deleterange", json!({"key": key("a")})).await;
        assert_eq!(deleted, json!({"deleted": "1"}));
    })
    .await;
}

#[tokio::test]
async fn calls_of_every_service_are_taken() {
    check(async |case| {
        let lease = call(case, "/v3/lease/grant", json!({"TTL": "600"})).await;
        let id = lease["ID"].clone();
        assert_eq!(lease, json!({"ID": id, "TTL": "600"}));
        let alive = post(case, "/v3/lease/keepalive", &json!({"ID": id})).await;
        let line: Value = serde_json::from_str(alive.body.trim()).expect("one line");
        assert_eq!((&line["result"]["ID"], &line["result"]["TTL"]), (&id, &json!("600")));
        for path in ["/v3/lease/timetolive", "/v3/kv/lease/timetolive"] {
            let left = call(case, path, json!({"ID": id})).await;
            assert_eq!((&left["ID"], &left["grantedTTL"]), (&id, &json!("600")));
        }
        let leases = call(case, "/v3/lease/leases", json!({})).await;
        assert!(leases["leases"].as_array().expect("a list").contains(&json!({"ID": id})));
        assert_eq!(call(case, "/v3/kv/lease/revoke", json!({"ID": id})).await, json!({}));

        let members = call(case, "/v3/cluster/member/list", json!({})).await;
        let member = &members["members"][0];
        assert!(member["ID"].is_string() && member["peerURLs"][0].is_string() && member["clientURLs"][0].is_string());
        assert_eq!(member["name"], json!("m0"));
        let status = call(case, "/v3/maintenance/status", json!({})).await;
        for field in ["dbSize", "leader", "raftIndex", "raftTerm", "version"] {
            assert!(status[field].is_string(), "{field}: {status}");
        }
        assert_eq!(call(case, "/v3/maintenance/alarm", json!({"action": "GET"})).await, json!({}));
        let hash = call(case, "/v3/maintenance/hashkv", json!({})).await;
        assert!(hash["hash"].is_number(), "{hash}");
        let auth = call(case, "/v3/auth/status", json!({})).await;
        assert_eq!(auth, json!({"authRevision": "1"}));

        let name = BASE64.encode(case.key("lock"));
        let lock = call(case, "/v3/lock/lock", json!({"name": name})).await;
        assert_eq!(call(case, "/v3/lock/unlock", json!({"key": lock["key"]})).await, json!({}));
        let lease = call(case, "/v3/lease/grant", json!({"TTL": "600"})).await["ID"].clone();
        let name = BASE64.encode(case.key("election"));
        let campaign = json!({"name": name, "lease": lease, "value": b64("me")});
        let leader = call(case, "/v3/election/campaign", campaign).await["leader"].clone();
        assert_eq!(leader["lease"], lease);
        let found = call(case, "/v3/election/leader", json!({"name": name})).await;
        assert_eq!(found["kv"]["value"], json!(b64("me")));
        assert_eq!(call(case, "/v3/election/resign", json!({"leader": leader})).await, json!({}));
        let snapshot = post(case, "/v3/maintenance/snapshot", &json!({})).await;
        let blobs = snapshot.body.lines().map(|line| {
            let line: Value = serde_json::from_str(line).expect("a line of JSON");
            BASE64.decode(line["result"]["blob"].as_str().unwrap_or_default()).expect("base64").len()
        });
        assert!(blobs.sum::<usize>() > 16 << 10);
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_has_etcds_code_and_text() {
    check(async |case| {
        let status = |code: u16, number: u32, text: &str| (code, json!({"code": number, "message": text}));
        for (path, body, expected) in [
            ("/v3/kv/put", "{}", status(400, 3, "etcdserver: key is not provided")),
            ("/v3/kv/put", "", status(400, 3, "etcdserver: key is not provided")),
            ("/v3/kv/lease/revoke", r#"{"ID":"77"}"#, status(404, 5, "etcdserver: requested lease not found")),
            ("/v3/kv/compaction", r#"{"revision":"99999999"}"#, {
                status(400, 11, "etcdserver: mvcc: required revision is a future revision")
            }),
            ("/v3/auth/enable", "{}", status(400, 9, "etcdserver: root user does not exist")),
            ("/v3/no/such", "{}", status(404, 5, "Not Found")),
            ("/v3/kv/put/", "{}", status(404, 5, "Not Found")),
        ] {
            assert_eq!(refused(case, path, body).await, expected, "{path} {body}");
        }
        for body in ["{", "[]", r#"{"key": 1}"#, r#"{"key": "a"#, "nonsense", r#"{"limit":"x"}"#] {
            let (code, error) = refused(case, "/v3/kv/range", body).await;
            assert_eq!((code, &error["code"]), (400, &json!(3)), "{body}: {error}");
        }
        for method in ["GET", "PUT", "DELETE"] {
            let reply = http::send(case.port, method, "/v3/kv/range").await.expect("an answer");
            let error: Value = serde_json::from_str(&reply.body).expect("JSON");
            assert_eq!((reply.status, error), status(501, 12, "Method Not Allowed"), "{method}");
        }
        let leader = ["Grpc-Metadata-hasleader: true"];
        let reply = http::exchange(case.port, "POST", "/v3/kv/range", &leader, r#"{"key":"YQ=="}"#).await;
        assert_eq!(reply.expect("an answer").status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_request_beyond_the_limit_is_refused() {
    check(async |case| {
        let value = BASE64.encode(vec![7; 2 << 20]);
        let (code, error) = refused(case, "/v3/kv/put", &json!({"key": "YQ==", "value": value}).to_string()).await;
        // etcd's gateway is a client with no limit of its own, to a server with one.
        let told = (code, error["code"].as_u64().expect("a code"));
        assert!(matches!(told, (400, 3) | (429, 8)), "{told:?} {error}");
    })
    .await;
}

/// A stream over HTTP: the answer's lines as they come.
struct Lines(BufReader<TcpStream>);

impl Lines {
    async fn post(port: u16, path: &str, body: &str) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a server");
        let request = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await.expect("an open connection");
        Self(BufReader::new(stream))
    }

    /// The next line that is an object, past headers and lengths of chunks.
    async fn next(&mut self) -> Value {
        loop {
            let mut line = String::new();
            let read = tokio::time::timeout(Duration::from_secs(30), self.0.read_line(&mut line));
            assert!(read.await.expect("a line in time").expect("an open connection") > 0, "the stream ended");
            if line.starts_with('{') {
                return serde_json::from_str(&line).expect("JSON");
            }
        }
    }
}

#[tokio::test]
async fn a_watch_goes_on_after_its_request_has_ended() {
    check(async |case| {
        let key = BASE64.encode(case.key("w"));
        let create = json!({"create_request": {"key": key, "watch_id": "5"}});
        let mut lines = Lines::post(case.port, "/v3/watch", &create.to_string()).await;
        let created = lines.next().await;
        assert_eq!((&created["result"]["created"], &created["result"]["watch_id"]), (&json!(true), &json!("5")));
        for value in ["1", "2"] {
            case.put("w", value).await;
            let event = lines.next().await["result"]["events"][0].clone();
            // PUT is the default, and left out.
            assert_eq!((event.get("type"), &event["kv"]["value"]), (None, &json!(b64(value))));
        }
        case.client.delete(case.key("w")).await.expect("delete");
        assert_eq!(lines.next().await["result"]["events"][0]["type"], json!("DELETE"));
    })
    .await;
}

#[tokio::test]
async fn a_stream_without_a_leader_to_observe_waits_and_one_that_fails_says_why() {
    check(async |case| {
        let name = BASE64.encode(case.key("observed"));
        let mut lines = Lines::post(case.port, "/v3/election/observe", &json!({"name": name}).to_string()).await;
        let lease = call(case, "/v3/lease/grant", json!({"TTL": "600"})).await["ID"].clone();
        let campaign = json!({"name": name, "lease": lease, "value": b64("me")});
        call(case, "/v3/election/campaign", campaign).await;
        assert_eq!(lines.next().await["result"]["kv"]["value"], json!(b64("me")));
    })
    .await;
}

#[tokio::test]
async fn streams_work_over_a_websocket() {
    check(async |case| {
        let url = format!("ws://127.0.0.1:{}/v3/watch", case.port);
        let mut request = url.into_client_request().expect("a request");
        let protocol = "Bearer, some-token".parse().expect("a header");
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let stream = TcpStream::connect(("127.0.0.1", case.port)).await.expect("a server");
        let (mut socket, answer) = tokio_tungstenite::client_async(request, stream).await.expect("a websocket");
        assert_eq!(answer.headers().get("sec-websocket-protocol").expect("it is taken"), "Bearer");
        let create = json!({"create_request": {"key": BASE64.encode(case.key("ws"))}}).to_string();
        socket.send(Message::text(create)).await.expect("an open socket");
        let mut next = async || {
            let message =
                tokio::time::timeout(Duration::from_secs(30), socket.next()).await.expect("a message in time");
            let message = message.expect("an open socket").expect("a message");
            serde_json::from_str::<Value>(message.to_text().expect("text")).expect("JSON")
        };
        assert_eq!(next().await["result"]["created"], json!(true));
        case.put("ws", "1").await;
        assert_eq!(next().await["result"]["events"][0]["kv"]["value"], json!(b64("1")));
    })
    .await;
}

#[tokio::test]
async fn browsers_are_told_what_they_may_read() {
    let with = |headers: &[String], name: &str| {
        headers.iter().find_map(|header| header.strip_prefix(&format!("{name}: ")).map(str::to_owned))
    };
    let origin = "access-control-allow-origin";
    check(async |case| {
        for (method, path) in
            [("OPTIONS", "/v3/kv/put"), ("OPTIONS", "/nothing"), ("GET", "/version"), ("GET", "/health")]
        {
            let reply = http::send(case.port, method, path).await.expect("an answer");
            assert_eq!((reply.status, with(&reply.headers, origin).as_deref()), (200, Some("*")), "{method} {path}");
        }
    })
    .await;
    check_alone(&["--cors=http://a.example:80"], async |case| {
        for (asks, told) in [
            (&["Origin: http://a.example:80"][..], Some("http://a.example:80")),
            (&["Origin: http://b.example:80"], None),
            (&[], None),
        ] {
            let reply = http::exchange(case.port, "GET", "/version", asks, "").await.expect("an answer");
            assert_eq!((reply.status, with(&reply.headers, origin).as_deref()), (200, told), "{asks:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn only_hosts_on_the_list_are_served_in_the_clear() {
    check_alone(&["--host-whitelist=a.example,127.0.0.1"], async |case| {
        for (host, status) in [("a.example", 200), ("a.example:99", 200), ("127.0.0.1:1", 200), ("b.example", 421)] {
            let header = format!("Host: {host}");
            let reply = http::exchange(case.port, "POST", "/v3/maintenance/status", &[&header], "{}").await;
            let reply = reply.expect("an answer");
            assert_eq!(reply.status, status, "{host}");
            if status == 421 {
                assert!(reply.body.contains("e.g. etcd --host-whitelist \"b.example\"\n"), "{}", reply.body);
            }
        }
        // gRPC is not for browsers.
        case.client.get("a").await.expect("a read");
    })
    .await;
}

#[tokio::test]
async fn the_gateway_can_be_turned_off() {
    check_alone(&["--enable-grpc-gateway=false"], async |case| {
        let reply = http::post(case.port, "/v3/kv/range", r#"{"key":"YQ=="}"#).await.expect("an answer");
        assert_eq!((reply.status, reply.body.as_str()), (404, "404 page not found\n"));
    })
    .await;
}

/// Each call as JSON that is a call of gRPC counts as one.
#[tokio::test]
async fn calls_are_counted_as_those_of_grpc() {
    if !since(3, 5) {
        return;
    }
    check_alone(&[], async |case| {
        call(case, "/v3/kv/range", json!({"key": "YQ=="})).await;
        let page = http::get(case.port, "/metrics").await.expect("metrics").body;
        let line = "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Range\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} ";
        let count = page.lines().find_map(|found| found.strip_prefix(line)).expect("a count");
        assert_eq!(count, "1", "{}", suite().server.binary.display());
    })
    .await;
}

#[tokio::test]
async fn a_token_is_given_and_taken_as_json() {
    check_alone(&[], async |case| {
        for (path, body) in [
            ("/v3/auth/user/add", json!({"name": "root", "password": "r"})),
            ("/v3/auth/role/add", json!({"name": "root"})),
            ("/v3/auth/user/grant", json!({"user": "root", "role": "root"})),
            ("/v3/auth/user/add", json!({"name": "ann", "options": {"no_password": true}})),
            ("/v3/auth/enable", json!({})),
        ] {
            assert_eq!(call(case, path, body).await, json!({}), "{path}");
        }
        let put = json!({"key": "YQ==", "value": "YQ=="}).to_string();
        let nobody = refused(case, "/v3/kv/put", &put).await;
        assert_eq!(nobody, (400, json!({"code": 3, "message": "etcdserver: user name is empty"})));
        let (code, wrong) = refused(case, "/v3/auth/authenticate", r#"{"name":"root","password":"x"}"#).await;
        let text = "etcdserver: authentication failed, invalid user ID or password";
        assert_eq!((code, wrong), (400, json!({"code": 3, "message": text})));
        let token =
            call(case, "/v3/auth/authenticate", json!({"name": "root", "password": "r"})).await["token"].clone();
        let token = token.as_str().expect("a token");
        for (header, status) in [
            (format!("Authorization: {token}"), 200),
            (format!("Authorization: Bearer {token}"), 200),
            (format!("Grpc-Metadata-Token: {token}"), 200),
            ("Authorization: no-token".to_owned(), 401),
        ] {
            let reply = http::exchange(case.port, "POST", "/v3/kv/put", &[&header], &put).await.expect("an answer");
            assert_eq!(reply.status, status, "{header}: {}", reply.body);
            let told = reply.headers.contains(&"www-authenticate: etcdserver: invalid auth token".to_owned());
            assert_eq!(told, status == 401, "{:?}", reply.headers);
        }
    })
    .await;
}
