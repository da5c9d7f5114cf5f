//! The standard health protocol, for the server as a whole (the empty service name) only, as etcd registers it.

use super::status::ApiError;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use keelstone_proto::health::health_check_response::ServingStatus;
use keelstone_proto::health::health_server::Health;
use keelstone_proto::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use std::collections::HashMap;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};

/// Reports what `serving` says.
#[derive(Clone, Debug)]
pub struct HealthService {
    serving: watch::Receiver<ServingStatus>,
}

impl HealthService {
    pub fn new(serving: watch::Receiver<ServingStatus>) -> Self {
        Self { serving }
    }

    fn now(&self) -> HealthCheckResponse {
        answer(*self.serving.borrow())
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if request.get_ref().service.is_empty() {
            Ok(Response::new(self.now()))
        } else {
            Err(ApiError::UnknownHealthService.into())
        }
    }

    async fn list(&self, _request: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Ok(Response::new(HealthListResponse { statuses: HashMap::from([(String::new(), self.now())]) }))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    /// The status now and each change of it. A service that nobody registered stays unknown, which is no error.
    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let statuses = if request.get_ref().service.is_empty() {
            WatchStream::new(self.serving.clone()).map(answer).map(Ok).boxed()
        } else {
            let unknown = futures_util::stream::iter([Ok(answer(ServingStatus::ServiceUnknown))]);
            unknown.chain(futures_util::stream::pending()).boxed()
        };
        Ok(Response::new(statuses))
    }
}
