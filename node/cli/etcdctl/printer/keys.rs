//! Answers about keys: get, put, del, txn, watch.

use super::fields::Fields;
use super::json::{self, Json, Object};
use super::{Answer, Text, Wire};
use crate::client::Watched;
use keelstone_proto::etcdserverpb::response_op::Response;
use keelstone_proto::etcdserverpb::{DeleteRangeResponse, PutResponse, RangeResponse, TxnResponse, WatchResponse};
use keelstone_proto::mvccpb::{Event, event::EventType};
use prost::Message;

impl Answer for RangeResponse {
    fn simple(&self, out: &mut Text) {
        self.kvs.iter().for_each(|pair| out.pair(pair));
    }

    fn message(&self) -> Option<&dyn Wire> {
        Some(self)
    }

    fn fields(&self, out: &mut Fields) -> bool {
        out.header(self.header.as_ref());
        self.kvs.iter().for_each(|pair| out.pair("", pair));
        out.plain("More", self.more);
        out.plain("Count", self.count);
        true
    }
}

impl Answer for PutResponse {
    fn simple(&self, out: &mut Text) {
        out.line("OK");
        self.prev_kv.iter().for_each(|pair| out.pair(pair));
    }

    fn message(&self) -> Option<&dyn Wire> {
        Some(self)
    }

    fn fields(&self, out: &mut Fields) -> bool {
        out.header(self.header.as_ref());
        self.prev_kv.iter().for_each(|pair| out.pair("Prev", pair));
        true
    }
}

impl Answer for DeleteRangeResponse {
    fn simple(&self, out: &mut Text) {
        out.line(self.deleted.to_string());
        self.prev_kvs.iter().for_each(|pair| out.pair(pair));
    }

    fn message(&self) -> Option<&dyn Wire> {
        Some(self)
    }

    fn fields(&self, out: &mut Fields) -> bool {
        out.header(self.header.as_ref());
        out.plain("Deleted", self.deleted);
        self.prev_kvs.iter().for_each(|pair| out.pair("Prev", pair));
        true
    }
}

impl Answer for TxnResponse {
    fn simple(&self, out: &mut Text) {
        out.line(if self.succeeded { "SUCCESS" } else { "FAILURE" });
        for response in self.responses.iter().filter_map(|op| op.response.as_ref()) {
            out.line("");
            match response {
                Response::ResponseRange(response) => response.simple(out),
                Response::ResponsePut(response) => response.simple(out),
                Response::ResponseDeleteRange(response) => response.simple(out),
                // The grammar has no transaction in a transaction; were there one, it would look so.
                Response::ResponseTxn(response) => response.simple(out),
            }
        }
    }

    fn message(&self) -> Option<&dyn Wire> {
        Some(self)
    }

    fn fields(&self, out: &mut Fields) -> bool {
        out.header(self.header.as_ref());
        out.plain("Succeeded", self.succeeded);
        self.responses.iter().filter_map(|op| op.response.as_ref()).all(|response| match response {
            Response::ResponseRange(response) => response.fields(out),
            Response::ResponsePut(response) => response.fields(out),
            Response::ResponseDeleteRange(response) => response.fields(out),
            Response::ResponseTxn(response) => response.fields(out),
        })
    }
}

/// The name of an event's type, as the simple and fields forms have it.
pub fn type_of(event: &Event) -> &'static str {
    match event.r#type() {
        EventType::Put => "PUT",
        EventType::Delete => "DELETE",
    }
}

/// The client's own struct in Go: names in capitals, nothing left out.
impl Json for Watched {
    fn members(&self, object: &mut Object) {
        object.always("Header", &self.header.map_or("null".to_owned(), |header| json::write(&header)));
        object.always("Events", &json::write_list(&self.events));
        object.always("CompactRevision", &self.compact_revision.to_string());
        object.always("Canceled", &self.canceled.to_string()).always("Created", "false");
        object.always_text("CancelReason", &self.cancel_reason);
    }
}

impl Answer for Watched {
    fn simple(&self, out: &mut Text) {
        for event in &self.events {
            out.line(type_of(event));
            event.prev_kv.iter().for_each(|pair| out.pair(pair));
            out.pair(&event.kv.clone().unwrap_or_default());
        }
    }

    fn json(&self, _: bool) -> String {
        json::write(self)
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        let message = WatchResponse {
            header: self.header,
            events: self.events.clone(),
            compact_revision: self.compact_revision,
            canceled: self.canceled,
            ..WatchResponse::default()
        };
        Some(message.encode_to_vec())
    }

    fn fields(&self, out: &mut Fields) -> bool {
        out.header(self.header.as_ref());
        for event in &self.events {
            out.plain("Type", type_of(event));
            event.prev_kv.iter().for_each(|pair| out.pair("Prev", pair));
            out.pair("", &event.kv.clone().unwrap_or_default());
        }
        true
    }
}
