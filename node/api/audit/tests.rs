//! The queue when its writer stands still, and what lines tell.

use super::*;
use keelstone_proto::etcdserverpb as pb;
use prost::Message;
use std::sync::mpsc::channel;

fn framed(message: &impl Message) -> Bytes {
    let payload = message.encode_to_vec();
    [&[0][..], &(payload.len() as u32).to_be_bytes(), &payload].concat().into()
}

fn door(audit: &Arc<Audit>) -> AuditDoor {
    AuditDoor { audit: Arc::clone(audit), is_json: false }
}

#[test]
fn a_writer_that_stands_still_stops_nobody_and_the_log_says_what_it_lacks() {
    let metrics = Metrics::register(&Registry::new()).expect("a fresh registry");
    let (audit, writer) = Audit::new(metrics.clone());
    let (go_on, may_write) = channel::<()>();
    let writing = std::thread::spawn(move || {
        let mut lines = Vec::new();
        writer.run(|bytes| {
            // Until the other end is dropped.
            may_write.recv().ok();
            lines.extend(String::from_utf8_lossy(bytes).lines().map(str::to_owned));
            Ok(())
        });
        lines
    });
    let put = framed(&pb::PutRequest { key: "k".into(), value: vec![b'v'; 64 << 10].into(), ..Default::default() });
    const CALLS: u64 = 1_000;
    for _ in 0..CALLS {
        let call = door(&audit).begin(Rpc::Put, Caller::default(), None);
        call.heard(&put);
        call.ended(Code::Ok);
    }
    let waiting = audit.shared.waiting_bytes.load(Ordering::Relaxed);
    assert!(waiting <= QUEUE_BYTES, "{waiting}");
    let lost = metrics.dropped.get();
    assert!(lost > CALLS / 2, "{lost} of {CALLS}");
    drop(go_on);
    audit.close();
    let lines = writing.join().expect("it writes");
    let told: Vec<_> = lines.iter().filter(|line| line.contains(r#""lost-lines":"#)).collect();
    let count = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["lost-lines"].as_u64();
    assert_eq!(told.iter().filter_map(|line| count(line)).sum::<u64>(), lost);
    assert_eq!((lines.len() - told.len()) as u64, CALLS - lost);
    assert_eq!(audit.shared.waiting_bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn a_log_that_cannot_be_written_is_counted_as_lost() {
    let metrics = Metrics::register(&Registry::new()).expect("a fresh registry");
    let (audit, writer) = Audit::new(metrics.clone());
    for _ in 0..3 {
        door(&audit).begin(Rpc::Status, Caller::default(), None).ended(Code::Ok);
    }
    audit.close();
    let mut told = Vec::new();
    writer.run(|bytes| {
        told.push(String::from_utf8_lossy(bytes).into_owned());
        if told.len() < 3 { Err(io::Error::other("no room")) } else { Ok(()) }
    });
    assert_eq!((metrics.written.get(), metrics.dropped.get()), (1, 2));
    assert!(told[2].contains(r#""lost-lines":2"#), "{told:?}");
}

#[test]
fn lines_tell_who_and_which_keys_and_no_value() {
    let metrics = Metrics::register(&Registry::new()).expect("a fresh registry");
    let (audit, writer) = Audit::new(metrics);
    let caller = Caller(Some("10.0.0.5:40".parse().expect("an address")));
    let names = Names { common_name: "ops".to_owned(), ..Names::default() };
    let call = door(&audit).begin(Rpc::Put, caller, Some(Arc::new(names)));
    call.known_as("root");
    let put = pb::PutRequest { key: vec![0xff, b'\n'].into(), value: "secret".into(), lease: 31, ..Default::default() };
    for byte in framed(&put).chunks(3) {
        call.heard(&Bytes::copy_from_slice(byte));
    }
    call.ended(Code::PermissionDenied);
    let login = door(&audit).begin(Rpc::Authenticate, caller, None);
    login.heard(&framed(&pb::AuthenticateRequest { name: "a\"b".into(), password: "secret".into() }));
    login.ended(Code::Cancelled);
    audit.close();
    let mut lines = Vec::new();
    writer.run(|bytes| {
        lines.push(String::from_utf8(bytes.to_vec()).expect("text"));
        Ok(())
    });
    assert!(lines.iter().all(|line| !line.contains("secret") && line.ends_with("}\n")), "{lines:?}");
    let lines: Vec<serde_json::Value> = lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let keys = serde_json::json!({ "keys": [{ "do": "put", "key-hex": "ff0a" }], "lease": "1f" });
    assert_eq!((&lines[0]["asked"], &lines[0]["code"]), (&keys, &"PermissionDenied".into()));
    assert_eq!((&lines[0]["user"], &lines[0]["certificate"]), (&"root".into(), &"ops".into()));
    assert_eq!((&lines[0]["remote-addr"], &lines[0]["via"]), (&"10.0.0.5:40".into(), &"grpc".into()));
    assert_eq!((&lines[1]["asked"]["name"], &lines[1]["code"]), (&"a\"b".into(), &"Canceled".into()));
    assert!(lines[1].get("user").is_none(), "{}", lines[1]);
}
