//! Asking a member who belongs to its cluster, before one is a member oneself.

use super::client::ANY_PEER;
use super::{PROTOCOL, PROTOCOL_HEADER};
use crate::net::Reach;
use keelstone_proto::internal::peer_client::PeerClient;
use keelstone_proto::internal::{MembersRequest, MembersResponse};
use std::time::Duration;
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;
use tonic::{Request, Status};

/// What the member at `url` says.
///
/// # Errors
/// Nobody is there, or no Keelstone, or it takes longer than `within`.
pub async fn ask_members(url: &str, reach: &Reach, within: Duration) -> Result<MembersResponse, Status> {
    let connector = reach.connector(&[url]).map_err(|error| Status::unavailable(error.to_string()))?;
    let endpoint = Endpoint::from_static(ANY_PEER).connect_timeout(within);
    let ask = async {
        let channel = endpoint.connect_with_connector(connector).await;
        let channel = channel.map_err(|error| Status::from_error(Box::new(error)))?;
        let mut request = Request::new(MembersRequest {});
        request.metadata_mut().insert(PROTOCOL_HEADER, MetadataValue::from(PROTOCOL));
        PeerClient::new(channel).members(request).await.map(tonic::Response::into_inner)
    };
    tokio::time::timeout(within, ask).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
}
