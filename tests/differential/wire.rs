//! One call to one server, as bytes or as messages, with whatever metadata: nothing here keeps a client from
//! sending nonsense.

use bytes::Bytes;
use http::uri::PathAndQuery;
use keelstone_harness::RawCodec;
use prost::Message;
use std::time::Duration;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

/// Longer than the servers' own limits, so that what they say is seen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Larger than any reply.
const MESSAGE_LIMIT: usize = 256 << 20;

/// What goes along with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metadata {
    Nothing,
    HasLeader,
    /// A token that nobody gave out.
    Token,
    ClientVersion,
    /// One that is not UTF-8.
    BrokenClientVersion,
}

impl Metadata {
    fn wrap<T>(self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let (name, value): (_, &[u8]) = match self {
            Metadata::Nothing => return request,
            Metadata::HasLeader => ("hasleader", b"true"),
            Metadata::Token => ("token", b"no.such.token"),
            Metadata::ClientVersion => ("client-api-version", b"3.7"),
            Metadata::BrokenClientVersion => ("client-api-version", b"3.\xff"),
        };
        request.metadata_mut().insert(name, MetadataValue::try_from(value).expect("bytes that a header may hold"));
        request
    }
}

/// A path that this suite knows; unknown ones lead nowhere on purpose.
pub type Path = &'static str;

async fn ready(channel: &Channel) -> Result<Grpc<Channel>, Status> {
    let mut grpc = Grpc::new(channel.clone()).max_decoding_message_size(MESSAGE_LIMIT);
    grpc.ready().await.map_err(|error| Status::unavailable(format!("connect: {error}")))?;
    Ok(grpc)
}

async fn in_time<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(PATIENCE, call).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("nothing was heard")))
}

pub async fn unary<Q, A>(channel: &Channel, path: Path, message: Q, metadata: Metadata) -> Result<A, Status>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    in_time(async {
        let path = PathAndQuery::from_static(path);
        let codec = ProstCodec::<Q, A>::default();
        Ok(ready(channel).await?.unary(metadata.wrap(message), path, codec).await?.into_inner())
    })
    .await
}

/// All messages of a stream, and how it ended.
pub async fn stream<Q, A>(channel: &Channel, path: Path, message: Q, metadata: Metadata) -> (Vec<A>, Result<(), Status>)
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let mut messages = Vec::new();
    let end = in_time(async {
        let path = PathAndQuery::from_static(path);
        let codec = ProstCodec::<Q, A>::default();
        let mut stream =
            ready(channel).await?.server_streaming(metadata.wrap(message), path, codec).await?.into_inner();
        while let Some(message) = stream.message().await? {
            messages.push(message);
        }
        Ok(())
    })
    .await;
    (messages, end)
}

/// A message that need not be one.
pub async fn raw(channel: &Channel, path: Path, message: Bytes, metadata: Metadata) -> Result<Bytes, Status> {
    in_time(async {
        let path = PathAndQuery::from_static(path);
        Ok(ready(channel).await?.unary(metadata.wrap(message), path, RawCodec).await?.into_inner())
    })
    .await
}
