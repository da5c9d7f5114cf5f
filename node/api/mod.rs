//! The gRPC and HTTP edge.
