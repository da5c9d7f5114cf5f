//! bbolt's file format, version 2, as etcd uses it: a tree of pages for each bucket, one level of buckets. Written front to
//! back in bounded memory ([`Writer`]), and read without trust and without mapping it ([`Database`]).
//!
//! The format is that of `go.etcd.io/bbolt` 1.5, `internal/common`: page.go, meta.go, bucket.go, inode.go.

mod error;
mod layout;
mod node;
mod reader;
mod tree;
mod writer;

#[cfg(test)]
mod tests;

pub use error::{BoltError, Damage, MetaDamage};
pub use reader::{Bucket, Database, Rows};
pub use writer::{Plan, Unwritable, Writer};
