//! Requests that go no further than the proxy: `OPTIONS *`, and TRACE and OPTIONS whose `Max-Forwards` is spent
//! (RFC 9110 sections 7.6.2, 9.3.7 and 9.3.8).

use crate::base::body::Body;
use http::{HeaderValue, Method, Request, Response, header};
use std::fmt::Write;

/// Answers. A TRACE is reflected without the fields that hold secrets.
pub(crate) fn answer<B>(request: &Request<B>, name: &str) -> Response<Body> {
    if *request.method() == Method::TRACE {
        return reflect(request, name);
    }
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE, CONNECT"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

fn reflect<B>(request: &Request<B>, name: &str) -> Response<Body> {
    let secret = [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE];
    let mut text = format!("TRACE {} {:?}\r\n", request.uri(), request.version());
    for (field, value) in request.headers().iter().filter(|(field, _)| !secret.contains(field)) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{field}: {}\r\n", String::from_utf8_lossy(value.as_bytes()));
    }
    let _ = write!(text, "via: 1.1 {name}\r\n\r\n");
    let mut response = Response::new(Body::full(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("message/http"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_trace_is_reflected_without_secrets() {
        let request = Request::builder()
            .method("TRACE")
            .uri("http://a.kz/x")
            .header("cookie", "secret")
            .header("authorization", "secret")
            .header("x-a", "b")
            .body(())
            .expect("valid");
        let response = answer(&request, "school-1");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "message/http");
        let body = response.into_body().collect(1000).await.expect("small");
        assert_eq!(body, "TRACE http://a.kz/x HTTP/1.1\r\nx-a: b\r\nvia: 1.1 school-1\r\n\r\n");
    }

    #[test]
    fn options_tells_the_methods() {
        let request = Request::builder().method("OPTIONS").uri("*").body(()).expect("valid");
        assert!(answer(&request, "x").headers()[header::ALLOW].to_str().expect("text").contains("CONNECT"));
    }
}
