//! The doors: gRPC for inference, HTTP for metrics and health. They translate, and decide nothing.

pub mod admin;
pub mod grpc;
mod status;
