//! One lease keep-alive stream, driven by hand.

use crate::proto::etcdserverpb::lease_client::LeaseClient;
use crate::proto::etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// As the watch stream: the call runs in a task, since etcd sends no headers before its first answer.
#[derive(Debug)]
pub struct KeepAlive {
    requests: mpsc::UnboundedSender<LeaseKeepAliveRequest>,
    responses: mpsc::UnboundedReceiver<Result<LeaseKeepAliveResponse, Status>>,
    task: JoinHandle<()>,
}

type Requests = UnboundedReceiverStream<LeaseKeepAliveRequest>;

impl KeepAlive {
    pub(crate) fn open(mut client: LeaseClient<Channel>, wrap: impl FnOnce(Requests) -> Request<Requests>) -> Self {
        let (requests, outgoing) = mpsc::unbounded_channel();
        let (incoming, responses) = mpsc::unbounded_channel();
        let request = wrap(UnboundedReceiverStream::new(outgoing));
        let task = tokio::spawn(async move {
            let mut stream = match client.lease_keep_alive(request).await {
                Ok(response) => response.into_inner(),
                Err(status) => {
                    // The test may have dropped its end, which is its right.
                    drop(incoming.send(Err(status)));
                    return;
                }
            };
            while let Some(response) = stream.message().await.transpose() {
                let failed = response.is_err();
                if incoming.send(response).is_err() || failed {
                    return;
                }
            }
        });
        Self { requests, responses, task }
    }

    pub fn send(&self, id: i64) {
        if self.requests.send(LeaseKeepAliveRequest { id }).is_err() {
            // The server ended the stream, which the next answer shows.
        }
    }

    /// The next answer, or why there is none within `patience`.
    pub async fn next(&mut self, patience: Duration) -> Result<LeaseKeepAliveResponse, Status> {
        match tokio::time::timeout(patience, self.responses.recv()).await {
            Ok(Some(response)) => response,
            Ok(None) => Err(Status::unavailable("end of stream")),
            Err(_) => Err(Status::deadline_exceeded("no answer to the keep-alive")),
        }
    }

    /// Renews once.
    pub async fn renew(&mut self, id: i64, patience: Duration) -> Result<LeaseKeepAliveResponse, Status> {
        self.send(id);
        self.next(patience).await
    }
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        self.task.abort();
    }
}
