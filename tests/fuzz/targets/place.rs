//! Where a file is damaged, as inputs of several targets say it.

use prost::Message;
use prost::bytes::Bytes;

#[derive(Clone, PartialEq, Message)]
pub struct Place {
    /// Which of the target's files.
    #[prost(uint32, tag = "1")]
    pub file: u32,
    #[prost(uint32, tag = "2")]
    pub offset: u32,
    /// What is done there, of the kinds that the target knows.
    #[prost(uint32, tag = "3")]
    pub kind: u32,
    #[prost(bytes = "bytes", tag = "4")]
    pub bytes: Bytes,
}
