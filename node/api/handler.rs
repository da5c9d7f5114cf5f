//! Functions as calls on the wire: what a generated service does for its methods, for those that need to know more of a
//! call than its message, or encode their answers in a way of their own.

use super::asker::Asker;
use super::edge::Served;
use super::status::ApiError;
use futures_util::FutureExt;
use futures_util::future::Map;
use futures_util::stream::BoxStream;
use std::future::Future;
use tonic::codec::Codec;
use tonic::codegen::{Body, StdError};
use tonic::server::{Grpc, ServerStreamingService, UnaryService};
use tonic::{Request, Response, Status};

/// Serves a call with one message each way.
pub fn unary<C, B, F, A>(codec: C, request: http::Request<B>, serve: F) -> Served
where
    C: Codec<Decode: Send + Sync + 'static, Encode: Send + Sync + 'static> + Send + 'static,
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
    F: FnMut(Asker, C::Decode) -> A + Send + 'static,
    A: Future<Output = Result<C::Encode, ApiError>> + Send + 'static,
{
    // The edge bounds the message.
    let mut grpc = Grpc::new(codec).max_decoding_message_size(usize::MAX);
    Box::pin(async move { Ok(grpc.unary(Handler(serve), request).await) })
}

/// Serves a call that is answered with a stream.
pub fn streaming<C, B, F, A>(codec: C, request: http::Request<B>, serve: F) -> Served
where
    C: Codec<Decode: Send + Sync + 'static, Encode: Send + Sync + 'static> + Send + 'static,
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
    F: FnMut(Asker, C::Decode) -> A + Send + 'static,
    A: Future<Output = Result<BoxStream<'static, Result<C::Encode, Status>>, ApiError>> + Send + 'static,
{
    let mut grpc = Grpc::new(codec).max_decoding_message_size(usize::MAX);
    Box::pin(async move { Ok(grpc.server_streaming(Handler(serve), request).await) })
}

struct Handler<F>(F);

type Answer<R> = Result<Response<R>, Status>;

fn answer<R>(served: Result<R, ApiError>) -> Answer<R> {
    Ok(Response::new(served?))
}

impl<F, M, A, R> UnaryService<M> for Handler<F>
where
    F: FnMut(Asker, M) -> A,
    A: Future<Output = Result<R, ApiError>>,
{
    type Response = R;
    type Future = Map<A, fn(Result<R, ApiError>) -> Answer<R>>;

    fn call(&mut self, request: Request<M>) -> Self::Future {
        let (asker, message) = Asker::of(request);
        (self.0)(asker, message).map(answer)
    }
}

impl<F, M, A, R> ServerStreamingService<M> for Handler<F>
where
    F: FnMut(Asker, M) -> A,
    A: Future<Output = Result<BoxStream<'static, Result<R, Status>>, ApiError>>,
{
    type Response = R;
    type ResponseStream = BoxStream<'static, Result<R, Status>>;
    type Future = Map<A, fn(A::Output) -> Answer<Self::ResponseStream>>;

    fn call(&mut self, request: Request<M>) -> Self::Future {
        let (asker, message) = Asker::of(request);
        (self.0)(asker, message).map(answer)
    }
}
