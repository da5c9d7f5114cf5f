//! Who makes a call: what the request says of that, and what the gate made of it.

use super::audit::Audited;
use crate::auth::Identity;
use crate::defect::{self, Defect};
use crate::net::tls::Names;
use http::HeaderMap;
use std::sync::Arc;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request};

/// The token of a gRPC client; of the JSON gateway.
const TOKEN_KEYS: [&str; 2] = ["token", "authorization"];
const BEARER: &str = "Bearer ";
/// The gateway calls on behalf of others, who are not whom its own certificate names.
const GATEWAY_KEY: &str = "grpcgateway-accept";

/// Goes with a request to where it is answered, since it may have to be asked again there.
#[derive(Clone, Debug, Default)]
pub struct Asker {
    metadata: MetadataMap,
    extensions: Extensions,
}

impl Asker {
    /// Costs nothing: the parts are moved.
    pub fn of<T>(request: Request<T>) -> (Self, T) {
        let (metadata, extensions, message) = request.into_parts();
        (Self { metadata, extensions }, message)
    }

    /// Of a request whose message is not read yet; see [`Self::into_parts`].
    pub fn of_parts(headers: HeaderMap, extensions: Extensions) -> Self {
        Self { metadata: MetadataMap::from_headers(headers), extensions }
    }

    /// The parts again, which now say as whom the gate let it in.
    pub fn into_parts(mut self, identity: Identity) -> (HeaderMap, Extensions) {
        self.extensions.insert(identity);
        (self.metadata.into_headers(), self.extensions)
    }

    /// As whom the gate let it in; none if it asked nothing then.
    pub fn identity(&self) -> Option<&Identity> {
        self.extensions.get()
    }

    /// The record of the call, if there is one.
    pub fn audited(&self) -> Option<&Arc<Audited>> {
        self.extensions.get()
    }

    /// What stands where a token should.
    pub fn token(&self) -> Option<&[u8]> {
        let value = TOKEN_KEYS.iter().find_map(|key| self.metadata.get(*key))?.as_bytes();
        Some(value.strip_prefix(BEARER.as_bytes()).unwrap_or(value))
    }

    /// Whom the client's certificate names.
    pub fn common_name(&self) -> Option<&str> {
        let names: &Arc<Names> = self.extensions.get()?;
        let is_gateway = self.metadata.contains_key(GATEWAY_KEY) && !defect::on(Defect::GatewayNamesUser);
        Some(names.common_name.as_str()).filter(|name| !name.is_empty() && !is_gateway)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(headers: &[(&'static str, &str)], common_name: Option<&str>) -> Asker {
        let mut request = Request::new(());
        for (key, value) in headers {
            request.metadata_mut().insert(*key, value.parse().expect("ascii"));
        }
        if let Some(name) = common_name {
            request.extensions_mut().insert(Arc::new(Names { common_name: name.to_owned(), ..Names::default() }));
        }
        Asker::of(request).0
    }

    #[test]
    fn a_token_may_stand_in_two_places_and_be_marked_as_one() {
        assert_eq!(asker(&[], None).token(), None);
        assert_eq!(asker(&[("token", "a.1")], None).token(), Some(&b"a.1"[..]));
        assert_eq!(asker(&[("authorization", "Bearer a.1")], None).token(), Some(&b"a.1"[..]));
        assert_eq!(asker(&[("authorization", "b"), ("token", "a")], None).token(), Some(&b"a"[..]));
    }

    /// CVE-2018-16886: the gateway's own certificate made everybody its user.
    #[test]
    fn the_certificate_of_the_gateway_names_nobody() {
        assert_eq!(asker(&[], Some("root")).common_name(), Some("root"));
        assert_eq!(asker(&[("grpcgateway-accept", "*/*")], Some("root")).common_name(), None);
        assert_eq!(asker(&[], Some("")).common_name(), None);
    }
}
