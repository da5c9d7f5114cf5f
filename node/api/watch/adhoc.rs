use keelstone_proto::etcdserverpb::kv_client::KvClient;
use keelstone_proto::etcdserverpb::*;
use keelstone_proto::etcdserverpb::watch_client::WatchClient;
use keelstone_proto::etcdserverpb::watch_request::RequestUnion;
use tokio_stream::wrappers::ReceiverStream;
use std::time::Duration;
fn short(response: &WatchResponse) -> String {
    let header = response.header.as_ref().expect("a header");
    let mut text = format!("{}@{}", response.watch_id, header.revision);
    for (set, word) in [(response.created, " created"), (response.canceled, " canceled"), (response.fragment, " fragment")] {
        text += if set { word } else { "" };
    }
    if response.compact_revision != 0 { text += &format!(" compacted {}", response.compact_revision); }
    if !response.cancel_reason.is_empty() { text += &format!(" [{}]", response.cancel_reason); }
    for event in &response.events {
        let kv = event.kv.as_ref().expect("a pair");
        let kind = if event.r#type == 0 { "put" } else { "delete" };
        text += &format!(" {kind} {}@{}", String::from_utf8_lossy(&kv.key), kv.mod_revision);
        if let Some(before) = &event.prev_kv { text += &format!("<{}", before.mod_revision); }
    }
    text
}
#[test]
fn adhoc() {
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    rt.block_on(async {
        let url = std::env::var("ETCD").unwrap();
        let mut kv = KvClient::connect(url.clone()).await.unwrap();
        let mut w = WatchClient::connect(url.clone()).await.unwrap();
        let (tx, rx) = tokio::sync::mpsc::channel::<WatchRequest>(64);
        let mut responses = w.watch(ReceiverStream::new(rx)).await.unwrap().into_inner();
        macro_rules! put { ($k:expr) => { kv.put(PutRequest { key: $k.into(), value: "v".into(), ..Default::default() }).await.unwrap() } }
        macro_rules! send { ($u:expr) => { tx.send(WatchRequest { request_union: Some($u) }).await.unwrap() } }
        macro_rules! drain { ($label:expr) => {
            println!("-- {}", $label);
            while let Ok(r) = tokio::time::timeout(Duration::from_millis(300), responses.message()).await {
                match r { Ok(Some(r)) => println!("   {}", short(&r)), other => { println!("   END {:?}", other.map(|_| ())); break } }
            }
        } }
        let c = |k: &'static str, e: &'static str| WatchCreateRequest { key: k.into(), range_end: e.into(), ..Default::default() };
        send!(RequestUnion::ProgressRequest(WatchProgressRequest {}));
        drain!("progress without watchers");
        send!(RequestUnion::CreateRequest(c("a", "")));
        drain!("create a");
        send!(RequestUnion::CreateRequest(WatchCreateRequest { watch_id: -1, ..c("a", "") }));
        drain!("create id -1");
        send!(RequestUnion::CreateRequest(WatchCreateRequest { watch_id: 1, ..c("a", "") }));
        send!(RequestUnion::CreateRequest(c("a", "")));
        send!(RequestUnion::CreateRequest(WatchCreateRequest { watch_id: 1, ..c("a", "") }));
        send!(RequestUnion::CreateRequest(c("b", "a")));
        send!(RequestUnion::CreateRequest(c("b", "b")));
        send!(RequestUnion::CreateRequest(WatchCreateRequest { start_revision: -1, ..c("b", "a") }));
        drain!("ids, dup, empty x2, negative");
        for _ in 0..5 { put!("a"); }
        drain!("five puts of a");
        kv.compact(CompactionRequest { revision: 4, physical: true }).await.unwrap();
        send!(RequestUnion::CreateRequest(WatchCreateRequest { watch_id: 10, start_revision: 3, ..c("a", "") }));
        send!(RequestUnion::CreateRequest(WatchCreateRequest { watch_id: 11, start_revision: 4, prev_kv: true, ..c("a", "") }));
        drain!("create at 3 and 4 after compaction at 4");
        send!(RequestUnion::ProgressRequest(WatchProgressRequest {}));
        drain!("progress with a compacted watcher");
        send!(RequestUnion::CreateRequest(WatchCreateRequest { watch_id: 10, ..c("a", "") }));
        drain!("create with the id of the compacted one");
        send!(RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 10 }));
        send!(RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 10 }));
        drain!("cancel compacted twice");
        send!(RequestUnion::ProgressRequest(WatchProgressRequest {}));
        drain!("progress");
        send!(RequestUnion::CreateRequest(WatchCreateRequest { watch_id: 12, start_revision: 9, ..c("z", "") }));
        send!(RequestUnion::ProgressRequest(WatchProgressRequest {}));
        drain!("progress with a future watcher at 9");
        put!("q"); put!("q"); put!("q");
        send!(RequestUnion::ProgressRequest(WatchProgressRequest {}));
        drain!("progress at 9");
        drop(tx);
        tokio::time::sleep(Duration::from_millis(100)).await;
        put!("a");
        drain!("half closed, then put a");
    });
}
