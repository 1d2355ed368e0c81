//! What the layer makes of panics, deadlines and headers that cannot be read.

use std::sync::Arc;

use http::{Request, Response};
use tokio::time::Duration;
use tonic::body::Body;
use tower::{ServiceExt as _, service_fn};

use super::super::Settings;
use super::Door;
use crate::device::Cores;
use crate::monitor::{self, Monitor};
use crate::registry::Registry;
use crate::serve::{self, Pipeline};

fn pipeline() -> Arc<Pipeline> {
    let monitor = Monitor::new(monitor::Settings { page_age_max: Duration::ZERO, ..monitor::Settings::default() });
    let cores = Cores::new(1).expect("a pool");
    let registry = Registry::new(Arc::clone(&monitor), cores, Arc::new(|_, _| {}));
    let settings = serve::Settings { timeout: Duration::from_secs(1), requests_max: 1, bytes_max: 1 };
    Pipeline::new(registry, monitor, &settings)
}

fn request(timeout: Option<&str>) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    if let Some(timeout) = timeout {
        request.headers_mut().insert("grpc-timeout", timeout.parse().expect("a header"));
    }
    request
}

async fn status<D>(door: &mut D, request: Request<Body>) -> (String, String)
where
    D: tower::Service<Request<Body>, Response = Response<Body>, Error = std::convert::Infallible>,
{
    let response = door.ready().await.expect("ready").call(request).await.expect("infallible");
    let header = |name| response.headers().get(name).map_or("", |value| value.to_str().expect("text")).to_owned();
    (header("grpc-status"), header("grpc-message"))
}

#[tokio::test]
async fn a_panic_is_internal_and_counted() {
    let pipeline = pipeline();
    let inner = service_fn(|_: Request<Body>| async { panic!("a handler's defect") });
    let mut door = Door::new(inner, Arc::clone(&pipeline), Settings { message_bytes_max: 1 });
    let (code, _) = status(&mut door, request(None)).await;
    assert_eq!(code, "13");
    let page = pipeline.monitor().render(tokio::time::Instant::now());
    assert!(page.contains("sconce_panics_total 1"), "{page}");
}

#[tokio::test(start_paused = true)]
async fn a_passed_deadline_is_the_servers_own() {
    let inner = service_fn(|_: Request<Body>| async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        Ok(Response::new(Body::empty()))
    });
    let mut door = Door::new(inner, pipeline(), Settings { message_bytes_max: 1 });
    let (code, message) = status(&mut door, request(Some("250m"))).await;
    assert_eq!((code.as_str(), message.contains("250%20ms")), ("4", true), "{message}");
}

#[tokio::test]
async fn a_timeout_that_cannot_be_read_is_named() {
    let inner = service_fn(|_: Request<Body>| async { Ok(Response::new(Body::empty())) });
    let mut door = Door::new(inner, pipeline(), Settings { message_bytes_max: 1 });
    let (code, message) = status(&mut door, request(Some("soon"))).await;
    assert_eq!((code.as_str(), message.contains("grpc-timeout")), ("3", true), "{message}");
}

#[tokio::test]
async fn a_message_over_the_limit_names_the_limit() {
    let inner = service_fn(|_: Request<Body>| async { Ok(tonic::Status::out_of_range("tonic's words").into_http()) });
    let mut door = Door::new(inner, pipeline(), Settings { message_bytes_max: 4096 });
    let (code, message) = status(&mut door, request(None)).await;
    assert_eq!((code.as_str(), message.contains("4096")), ("8", true), "{message}");
}
