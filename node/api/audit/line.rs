//! How a line of the audit log looks:
//! ```json
//! {"ts":"2026-11-27T12:00:00.000000Z","call":"/etcdserverpb.KV/Put","code":"OK","took-us":412,
//!  "remote-addr":"10.0.0.5:40312","via":"grpc","user":"root","certificate":"ops",
//!  "asked":{"keys":[{"do":"put","key":"foo"}]}}
//! ```
//! `user` is there if access control knows one, `certificate` if one was shown. Keys that are no text are `key-hex`.

use super::asked::{self, range};
use super::micros;
use crate::api::call_timer::Caller;
use crate::api::rpc::Rpc;
use crate::clock::timestamp;
use crate::net::tls::Names;
use crate::types::KeyInterval;
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tonic::Code;

/// Before the payload of a gRPC message: whether it is compressed, and its length.
const HEAD_LEN: usize = 5;

/// What a line is made of.
#[derive(Debug)]
pub struct Line {
    pub at: SystemTime,
    pub rpc: Rpc,
    pub caller: Caller,
    pub is_json: bool,
    pub user: Option<String>,
    pub names: Option<Arc<Names>>,
    /// The message as it came, with its head; empty if it was not read.
    pub chunks: Vec<Bytes>,
    /// Of a watcher's line.
    pub watched: Option<KeyInterval>,
    pub code: Code,
    pub took: Duration,
}

impl Line {
    /// Memory that waits with it.
    pub fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.chunks.iter().map(Bytes::len).sum::<usize>()
    }

    /// With a newline behind it.
    pub fn encode(&self) -> Vec<u8> {
        let labels = self.rpc.labels();
        // As gRPC's metrics spell it.
        let code = match self.code {
            Code::Ok => "OK".to_owned(),
            Code::Cancelled => "Canceled".to_owned(),
            code => format!("{code:?}"),
        };
        let mut text = format!(
            r#"{{"ts":{},"call":"/{}/{}","code":{},"took-us":{},"via":"{}""#,
            json!(timestamp(self.at)),
            labels.service,
            labels.method,
            json!(code),
            micros(self.took),
            if self.is_json { "json" } else { "grpc" },
        );
        let certificate = self.names.as_ref().map(|names| match (&names.common_name[..], names.dns_names.first()) {
            ("", Some(name)) => name.clone(),
            (name, _) => name.to_owned(),
        });
        let facts = [
            ("remote-addr", self.caller.0.map(|address| json!(address.to_string()))),
            ("user", self.user.as_ref().map(|user| json!(user))),
            ("certificate", certificate.map(|name| json!(name))),
            ("asked", self.asked()),
        ];
        for (name, fact) in facts {
            if let Some(fact) = fact {
                text.push_str(&format!(r#","{name}":{fact}"#));
            }
        }
        text.push_str("}\n");
        text.into_bytes()
    }

    fn asked(&self) -> Option<Value> {
        if let Some(interval) = &self.watched {
            return Some(json!({ "keys": [range("watch", interval.start(), interval.end_on_wire())] }));
        }
        let message = self.chunks.concat();
        let message = message.get(HEAD_LEN..)?;
        let asked = asked::of(self.rpc, message).ok()?;
        (!asked.is_empty()).then_some(Value::Object(asked))
    }
}

/// A line that says that others are missing.
pub fn lost(lines: u64) -> Vec<u8> {
    format!("{{\"ts\":{},\"lost-lines\":{lines}}}\n", json!(timestamp(SystemTime::now()))).into_bytes()
}
