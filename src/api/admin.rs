//! Metrics and health over HTTP, on a port of their own: `/metrics`, `/health/live`, `/health/ready`.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::net::Listener;
use crate::serve::Pipeline;

const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";
const JSON_TYPE: &str = "application/json";

/// Metrics and health on `listener`: serves until `stop`, and ends when its connections have.
pub async fn serve(pipeline: Arc<Pipeline>, listener: Listener, stop: CancellationToken) {
    let service = move |_peer| {
        let pipeline = Arc::clone(&pipeline);
        service_fn(move |request: Request<Incoming>| {
            std::future::ready(Ok::<_, Infallible>(answer(&pipeline, &request)))
        })
    };
    listener.serve(service, stop).await;
}

/// Answers one request; `GET` and `HEAD` only.
fn answer<B>(pipeline: &Arc<Pipeline>, request: &Request<B>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = reply(StatusCode::METHOD_NOT_ALLOWED, TEXT_TYPE, "expected GET or HEAD\n".to_owned());
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        "/metrics" => reply(StatusCode::OK, METRICS_TYPE, pipeline.monitor().render(Instant::now())),
        "/health/live" => reply(StatusCode::OK, TEXT_TYPE, "live\n".to_owned()),
        "/health/ready" => ready(pipeline),
        "/" => reply(StatusCode::OK, TEXT_TYPE, "sconce: /metrics, /health/live, /health/ready\n".to_owned()),
        _ => reply(StatusCode::NOT_FOUND, TEXT_TYPE, "expected /metrics, /health/live or /health/ready\n".to_owned()),
    }
}

/// 200 or 503, with the state of every model and of every device beside the server's own cores.
fn ready(pipeline: &Arc<Pipeline>) -> Response<Full<Bytes>> {
    let ready = pipeline.is_ready();
    let models: Vec<serde_json::Value> = pipeline
        .model_states()
        .into_iter()
        .map(|model| {
            let version = model.version.map(|version| version.to_string());
            let shown = serde_json::json!(
                {"model": model.model, "version": version, "ready": model.ready, "state": model.state}
            );
            with_detail(shown, model.detail)
        })
        .collect();
    let devices: Vec<serde_json::Value> = pipeline
        .device_states()
        .into_iter()
        .map(|device| {
            let shown = serde_json::json!({"device": device.device, "ready": device.ready});
            with_detail(shown, device.detail)
        })
        .collect();
    let draining = pipeline.is_draining();
    let body = serde_json::json!({"ready": ready, "draining": draining, "devices": devices, "models": models});
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    reply(code, JSON_TYPE, format!("{body}\n"))
}

/// Adds what there is to say, if anything.
fn with_detail(mut shown: serde_json::Value, detail: String) -> serde_json::Value {
    if !detail.is_empty() {
        shown["detail"] = detail.into();
    }
    shown
}

fn reply(code: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
