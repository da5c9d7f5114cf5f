//! One change, shared by everybody who is told of it. Its wire form is computed once, by the first who needs it.
//!
//! The form is a `mvccpb.Event` without its frame, so that a response is a few bytes of its own followed by
//! shared ones:
//! ```text
//! 08 01            type, only for DELETE
//! 12 len KeyValue  the pair: a whole one, or key and mod_revision of a delete
//! 1a len KeyValue  the pair before, only on request, if there was one and it is not compacted
//! ```

use super::budget::Budget;
use crate::mvcc::{Event, EventKind, RevisionEvents};
use bytes::{BufMut, Bytes, BytesMut};
use keelstone_proto::mvccpb::KeyValue;
use prost::Message;
use std::sync::{Arc, OnceLock};

const TYPE: u32 = 1;
const KV: u32 = 2;
const PREV_KV: u32 = 3;
/// What an event costs a queue beside its key and value.
const OVERHEAD_BYTES: usize = 96;

#[derive(Debug)]
pub struct SharedEvent {
    /// Holds the weight of this event.
    budget: Arc<Budget>,
    revision: Arc<RevisionEvents>,
    /// Invariant: an index of `revision.events`.
    at: usize,
    plain: OnceLock<Bytes>,
    /// Set once somebody asked for the pair before.
    with_previous: OnceLock<Bytes>,
}

impl SharedEvent {
    pub(super) fn new(revision: &Arc<RevisionEvents>, at: usize, budget: &Arc<Budget>) -> Self {
        let event = Self {
            budget: Arc::clone(budget),
            revision: Arc::clone(revision),
            at,
            plain: OnceLock::new(),
            with_previous: OnceLock::new(),
        };
        event.budget.take(event.weight());
        event
    }

    /// One that belongs to no hub.
    #[cfg(test)]
    pub(crate) fn detached(revision: &Arc<RevisionEvents>, at: usize) -> Self {
        Self::new(revision, at, &Arc::new(Budget::new(usize::MAX)))
    }

    pub fn revision(&self) -> i64 {
        self.revision.revision
    }

    pub fn event(&self) -> &Event {
        &self.revision.events[self.at]
    }

    /// About what it occupies, in memory and on the wire, in bytes.
    pub(super) fn weight(&self) -> usize {
        let kv = &self.event().kv;
        kv.key.len() + kv.value.len() + OVERHEAD_BYTES
    }

    /// The encoded `mvccpb.Event`; with the pair before if that was asked for and found.
    pub fn encoded(&self, with_previous: bool) -> &Bytes {
        let previous = if with_previous { self.with_previous.get() } else { None };
        previous.unwrap_or_else(|| self.plain.get_or_init(|| self.encode(None)))
    }

    /// Looks up the pair before, unless somebody has, or there can be none: a put that created its key.
    /// `lookup` gets the key and the revision before this one, and answers `None` also for what is compacted.
    pub(super) fn resolve_previous<E>(
        &self,
        lookup: impl FnOnce(&[u8], i64) -> Result<Option<KeyValue>, E>,
    ) -> Result<(), E> {
        let Event { kind, kv } = self.event();
        let created = *kind == EventKind::Put && kv.create_revision == kv.mod_revision;
        if created || self.with_previous.get().is_some() {
            return Ok(());
        }
        let previous = lookup(&kv.key, self.revision() - 1)?;
        self.with_previous.get_or_init(|| match previous {
            Some(previous) => self.encode(Some(&previous)),
            None => self.encoded(false).clone(),
        });
        Ok(())
    }

    fn encode(&self, previous: Option<&KeyValue>) -> Bytes {
        let Event { kind, kv } = self.event();
        let framed = |kv: &KeyValue| {
            let len = kv.encoded_len();
            prost::encoding::key_len(KV) + prost::length_delimiter_len(len) + len
        };
        let mut out = BytesMut::with_capacity(2 + framed(kv) + previous.map_or(0, framed));
        match kind {
            EventKind::Put => {}
            EventKind::Delete => {
                prost::encoding::encode_key(TYPE, prost::encoding::WireType::Varint, &mut out);
                out.put_u8(1);
            }
        }
        prost::encoding::message::encode(KV, kv, &mut out);
        if let Some(previous) = previous {
            prost::encoding::message::encode(PREV_KV, previous, &mut out);
        }
        out.freeze()
    }
}

impl Drop for SharedEvent {
    fn drop(&mut self) {
        self.budget.give(self.weight());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelstone_proto::mvccpb;
    use std::convert::Infallible;

    fn shared(kind: EventKind, create_revision: i64) -> SharedEvent {
        let kv = KeyValue {
            key: Bytes::from_static(b"k"),
            create_revision,
            mod_revision: 7,
            version: 2,
            value: Bytes::from(vec![7; 300]),
            lease: 9,
        };
        SharedEvent::detached(&Arc::new(RevisionEvents { revision: 7, events: vec![Event { kind, kv }] }), 0)
    }

    #[test]
    fn the_shared_form_is_the_generated_one() {
        for (kind, number) in [(EventKind::Put, 0), (EventKind::Delete, 1)] {
            let event = shared(kind, 3);
            let before = KeyValue { key: Bytes::from_static(b"k"), mod_revision: 6, ..KeyValue::default() };
            let mut wanted = mvccpb::Event { r#type: number, kv: Some(event.event().kv.clone()), prev_kv: None };
            assert_eq!(event.encoded(false), &wanted.encode_to_vec());
            assert_eq!(event.encoded(true), &wanted.encode_to_vec(), "nothing was looked up yet");
            event
                .resolve_previous(|key, revision| {
                    assert_eq!((key, revision), (b"k".as_slice(), 6));
                    Ok::<_, Infallible>(Some(before.clone()))
                })
                .unwrap();
            wanted.prev_kv = Some(before);
            assert_eq!(event.encoded(true), &wanted.encode_to_vec());
            assert_ne!(event.encoded(false), event.encoded(true));
        }
    }

    #[test]
    fn a_creation_has_no_pair_before() {
        let event = shared(EventKind::Put, 7);
        event.resolve_previous(|_, _| -> Result<_, Infallible> { panic!("looked up") }).unwrap();
        assert_eq!(event.encoded(true), event.encoded(false));
    }
}
