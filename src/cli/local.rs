//! Talks to the running node through its unix socket: no password, no port, JSON both ways.
//!
//! Reaching the socket file is the right to use it (mode 0660: root and the node's group). One connection per request:
//! commands ask once or twice, so there is nothing to pool.

use crate::cli::Context;
use crate::cli::failure::{Exit, Failure};
use crate::config;
use crate::life::Life;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// Largest answer that a command reads: a list of every stored URL of a large pack stays below it.
const ANSWER_LIMIT: usize = 64 << 20;

/// How long the node may take to accept: it is on this machine.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How long the node may think about one request; `with_patience` sets another.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// The running node.
#[derive(Clone, Debug)]
pub struct Local {
    socket: PathBuf,
    patience: Duration,
    life: Life,
}

impl Local {
    /// Finds the node's socket (`$BULAK_NODE__SOCKET`, else `[node] socket`, else `<state>/bulak.sock`) and sees that the node
    /// answers there. A damaged configuration is no reason not to find the node that runs by the one before.
    ///
    /// # Errors
    /// Exit 4 when nobody answers, exit 5 when this user may not use the socket, exit 1 for a damaged configuration by which no
    /// node is found.
    pub async fn connect(context: &Context) -> Result<Local, Failure> {
        match config::load(context.config.as_deref(), config::environment()) {
            Ok(config) => Local::at(&config.socket()).await,
            Err(complaints) => {
                let socket = config::socket_in(&complaints.source, config::environment());
                Local::at(&socket).await.map_err(|_| Failure::from(complaints))
            }
        }
    }

    /// The node that listens at `socket`.
    ///
    /// # Errors
    /// As [`Local::connect`].
    pub async fn at(socket: &Path) -> Result<Local, Failure> {
        let local = Local { socket: socket.to_owned(), patience: ANSWER_PATIENCE, life: Life::default() };
        drop(local.dial().await?);
        Ok(local)
    }

    /// The same, but waits this long for each answer.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Local {
        self.patience = patience;
        self
    }

    /// Asks for a document. `path` starts with `/` and holds the query.
    ///
    /// # Errors
    /// What the node says, or exit 4.
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::GET, path, None).await
    }

    /// Sends a document and gives the answer.
    ///
    /// # Errors
    /// What the node says, or exit 4.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Deletes a resource and gives the answer.
    ///
    /// # Errors
    /// What the node says, or exit 4.
    pub async fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::DELETE, path, None).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let exchange = async {
            let stream = self.dial().await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broke(&error))?;
            self.life.spawn(async move {
                // The request itself fails when the connection does.
                let _ = connection.await;
            });
            let payload = body.map_or_else(Bytes::new, |value| Bytes::from(value.to_string()));
            let mut request = Request::builder().method(method).uri(path).header(header::HOST, "bulak");
            if body.is_some() {
                request = request.header(header::CONTENT_TYPE, "application/json");
            }
            let request = request.body(Full::new(payload)).map_err(|error| {
                Failure::new("cli.usage", format!("{path:?} is no address: {error}"), "give it without blanks").exit(Exit::Misuse)
            })?;
            let answer = sender.send_request(request).await.map_err(|error| self.broke(&error))?;
            let status = answer.status();
            let bytes = Limited::new(answer.into_body(), ANSWER_LIMIT).collect().await.map_err(|error| self.broke(&error))?.to_bytes();
            let document: Value = if bytes.is_empty() {
                Value::Null
            } else {
                serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()))
            };
            if status.is_success() { Ok(document) } else { Err(Failure::from_document(status.as_u16(), &document)) }
        };
        tokio::time::timeout(self.patience, exchange).await.unwrap_or_else(|_| {
            Err(Failure::new(
                "node.no_answer",
                format!("the node accepted the question but gave no answer within {} s", self.patience.as_secs()),
                "try again, and look at its log",
            )
            .exit(Exit::NoAnswer))
        })
    }

    async fn dial(&self) -> Result<UnixStream, Failure> {
        let place = self.socket.display();
        match tokio::time::timeout(CONNECT_LIMIT, UnixStream::connect(&self.socket)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) if error.kind() == ErrorKind::PermissionDenied => Err(Failure::new(
                "node.not_allowed",
                format!("this user may not use {place}"),
                "run it as root or as a member of the node's group",
            )
            .exit(Exit::NotAllowed)),
            Ok(Err(error)) => Err(Failure::new(
                "node.no_answer",
                match error.kind() {
                    ErrorKind::NotFound => format!("no node runs here: {place} is not there"),
                    ErrorKind::ConnectionRefused => format!("no node runs here: nobody answers at {place}"),
                    _ => format!("no node answers at {place} ({error})"),
                },
                "start it with \"bulak serve\", or point --config at its configuration",
            )
            .exit(Exit::NoAnswer)),
            Err(_) => Err(Failure::new("node.silent", format!("the node at {place} does not accept"), "look at its log, or start it anew")
                .exit(Exit::NoAnswer)),
        }
    }

    fn broke(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::new(
            "node.no_answer",
            format!("the talk with the node at {} broke off ({error})", self.socket.display()),
            "try again, and look at its log",
        )
        .exit(Exit::NoAnswer)
    }
}

/// The node's document as our own type; a node of another version may differ.
pub(crate) fn read<T: DeserializeOwned>(document: &Value) -> Result<T, Failure> {
    T::deserialize(document).map_err(|error| {
        Failure::new("node.version", format!("the node's answer cannot be read ({error})"), "use the bulak command of the node's version")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::listen::{bind_unix, serve_unix};
    use crate::base::problem::Problem;
    use axum::routing::{delete, get, post};
    use axum::{Json, Router};
    use http::StatusCode;
    use serde_json::json;
    use std::os::unix::fs::PermissionsExt;

    async fn node(folder: &Path) -> (Life, PathBuf) {
        let life = Life::default();
        let path = folder.join("run/bulak.sock");
        let listener = bind_unix(&path).await.expect("binds");
        let refuse = || async { Problem::new(StatusCode::FORBIDDEN, "admin.not_allowed", "not for you", "ask the teacher") };
        let router = Router::new()
            .route("/api/v1/status", get(|| async { Json(json!({"ready": true})) }))
            .route("/api/v1/echo", post(|Json(value): Json<Value>| async move { Json(value) }))
            .route("/api/v1/thing", delete(|| async { StatusCode::NO_CONTENT }).get(refuse));
        serve_unix(&life, listener, path.clone(), router);
        (life, path)
    }

    #[tokio::test]
    async fn commands_talk_to_the_node_through_the_socket() {
        let folder = tempfile::tempdir().expect("a folder");
        let (life, path) = node(folder.path()).await;
        assert_eq!(std::fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o660);
        let local = Local::at(&path).await.expect("answers");
        assert_eq!(local.get("/api/v1/status").await.expect("status")["ready"], true);
        let sent = json!({"host": "example.kz"});
        assert_eq!(local.post("/api/v1/echo", &sent).await.expect("echo"), sent);
        assert_eq!(local.delete("/api/v1/thing").await.expect("gone"), Value::Null);
        let refused = local.get("/api/v1/thing").await.expect_err("refused");
        assert_eq!((refused.id.as_str(), refused.exit as u8, refused.remedy.as_str()), ("admin.not_allowed", 5, "ask the teacher"));
        assert_eq!(local.get("/nowhere").await.expect_err("404").exit as u8, 1);
        let busy = bind_unix(&path).await.expect_err("taken");
        assert_eq!(busy.kind(), std::io::ErrorKind::AddrInUse);

        assert!(life.end(Duration::from_secs(10)).await);
        assert!(!path.exists());
        assert_eq!(Local::at(&path).await.expect_err("nobody").exit as u8, 4);
    }
}
