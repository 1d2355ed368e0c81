//! What the layer makes of panics, deadlines and headers that cannot be read.

use std::net::IpAddr;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use tokio::time::Duration;
use tonic::body::Body;
use tower::service_fn;

use super::super::Settings;
use super::super::for_tests::pipeline;
use super::super::intake::Intake;
use super::*;
use crate::types::RungKind;

const SETTINGS: Settings = Settings { message_bytes_max: 4096, receive_timeout: Duration::from_secs(1) };

fn door<S>(inner: S, pipeline: &Arc<Pipeline>) -> Door<S> {
    let client = pipeline.admission().client(IpAddr::from([127, 0, 0, 1]));
    Door::new(inner, pipeline, SETTINGS, client)
}

fn request(timeout: Option<&str>) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    request.headers_mut().insert("content-type", "application/grpc+proto".parse().expect("a header"));
    if let Some(timeout) = timeout {
        request.headers_mut().insert("grpc-timeout", timeout.parse().expect("a header"));
    }
    request
}

async fn status<S>(mut door: Door<S>, request: Request<Body>) -> (String, String)
where
    S: Service<Request<Intake<Body>>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    let response = door.call(request).await.expect("infallible");
    let header = |name| response.headers().get(name).map_or("", |value| value.to_str().expect("text")).to_owned();
    let header = |name| header(name).replace("%20", " ").replace("%22", "\"");
    (header("grpc-status"), header("grpc-message"))
}

#[tokio::test]
async fn a_panic_is_internal_and_counted() {
    let pipeline = pipeline(1, 1);
    let inner = service_fn(|_: Request<Intake<Body>>| async { panic!("a handler's defect") });
    let (code, message) = status(door(inner, &pipeline), request(None)).await;
    assert_eq!((code.as_str(), message.as_str()), ("13", "the server failed on this request"));
    let page = pipeline.monitor().render(tokio::time::Instant::now());
    assert!(page.contains("sconce_panics_total 1"), "{page}");
}

#[tokio::test(start_paused = true)]
async fn a_passed_deadline_is_the_servers_own() {
    let inner = service_fn(|_: Request<Intake<Body>>| async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        Ok(Response::new(Body::empty()))
    });
    let (code, message) = status(door(inner, &pipeline(1, 1)), request(Some("250m"))).await;
    assert_eq!((code.as_str(), message.contains("250 ms")), ("4", true), "{message}");
}

#[tokio::test]
async fn a_timeout_that_cannot_be_read_is_named() {
    let inner = service_fn(|_: Request<Intake<Body>>| async { Ok(Response::new(Body::empty())) });
    let (code, message) = status(door(inner, &pipeline(1, 1)), request(Some("soon"))).await;
    assert_eq!((code.as_str(), message.contains("grpc-timeout")), ("3", true), "{message}");
}

#[tokio::test]
async fn a_message_over_the_limit_names_the_limit() {
    let inner =
        service_fn(|_: Request<Intake<Body>>| async { Ok(tonic::Status::out_of_range("tonic's words").into_http()) });
    let (code, message) = status(door(inner, &pipeline(1, 1)), request(None)).await;
    assert_eq!((code.as_str(), message.contains("4096")), ("8", true), "{message}");
}

#[tokio::test]
async fn an_encoding_that_is_not_known_is_named_and_cut() {
    let inner = service_fn(|_: Request<Intake<Body>>| async { Ok(Response::new(Body::empty())) });
    let mut call = request(None);
    call.headers_mut().insert("grpc-encoding", "x".repeat(4000).parse().expect("a header"));
    let (code, message) = status(door(inner, &pipeline(1, 1)), call).await;
    let expected = "header \"grpc-encoding\": expected gzip, deflate or identity, got \"xxx";
    assert_eq!((code.as_str(), message.starts_with(expected), message.len() < 300), ("12", true, true), "{message}");
}

#[tokio::test]
async fn the_trailers_say_what_served_the_request() {
    for rung in [None, Some(RungKind::Version)] {
        let inner = service_fn(move |_: Request<Intake<Body>>| async move {
            let status = ("grpc-status".parse().expect("a name"), HeaderValue::from_static("0"));
            let trailers = HeaderMap::from_iter([status]);
            let body = Full::from("an answer").with_trailers(std::future::ready(Some(Ok(trailers))));
            let mut response = Response::new(Body::new(body));
            if let Some(rung) = rung {
                response.extensions_mut().insert(rung);
            }
            Ok(response)
        });
        let response = door(inner, &pipeline(1, 1)).call(request(None)).await.expect("infallible");
        let answer = response.into_body().collect().await.expect("a body");
        let trailers = answer.trailers().expect("trailers");
        assert_eq!(trailers.get("grpc-status").expect("a status"), "0");
        assert_eq!(trailers.get("sconce-rung").map(HeaderValue::as_bytes), rung.map(|rung| rung.label().as_bytes()));
        assert_eq!(answer.to_bytes(), "an answer");
    }
}

#[tokio::test]
async fn what_is_not_grpc_is_told_so() {
    let inner = service_fn(|_: Request<Intake<Body>>| async { Ok(Response::new(Body::empty())) });
    let response = door(inner, &pipeline(1, 1)).call(Request::new(Body::empty())).await.expect("infallible");
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_call_beyond_the_limit_is_refused_at_its_head() {
    let pipeline = pipeline(1, 1);
    let client = pipeline.admission().client(IpAddr::from([127, 0, 0, 2]));
    let held = pipeline.enter(&client, Instant::now(), None).expect("room");
    let inner = service_fn(|_: Request<Intake<Body>>| async { panic!("the call goes no further") });
    let mut call = request(None);
    *call.uri_mut() = INFER.parse().expect("a path");
    let (code, message) = status(door(inner, &pipeline), call).await;
    assert_eq!((code.as_str(), message.contains("requests are in flight")), ("8", true), "{message}");
    let page = pipeline.monitor().render(Instant::now());
    let counted = page.lines().find(|line| line.contains("in_flight\"")).expect("a series");
    assert!(counted.contains("model=\"unknown\"") && counted.ends_with(" 1"), "{counted}");
    drop(held);
    assert_eq!(pipeline.admission().requests(), 0);
}
