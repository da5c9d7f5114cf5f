//! The way out, with a server that is really there.

use super::*;
use bytes::Bytes;
use http_body_util::Full;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Answers every connection with the same bytes, once it has seen the end of a request's head, and keeps what it was sent.
struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>, answer: Vec<u8>) -> Server {
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let of_task = Arc::clone(&seen);
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (tls, answer, seen) = (tls.clone(), answer.clone(), Arc::clone(&of_task));
            tokio::spawn(async move {
                match tls {
                    Some(tls) => match tokio_rustls::TlsAcceptor::from(tls).accept(stream).await {
                        Ok(stream) => answer_one(stream, &answer, &seen).await,
                        Err(_) => seen.lock().unwrap().push(b"no handshake".to_vec()),
                    },
                    None => answer_one(stream, &answer, &seen).await,
                }
            });
        }
    });
    Server { port, seen, task }
}

async fn answer_one(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &[u8], seen: &Mutex<Vec<Vec<u8>>>) {
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap_or_default() == 0 {
            return;
        }
    }
    seen.lock().unwrap().push(request);
    // The client may have had enough by now.
    if stream.write_all(answer).await.is_ok() {
        stream.shutdown().await.unwrap_or_default();
    }
}

async fn server(answer: impl Into<Vec<u8>>) -> Server {
    serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), None, answer.into()).await
}

fn ok(body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

fn egress(origins: &[(String, bool)]) -> Egress {
    let written =
        origins.iter().map(|(origin, private)| format!("[[http]]\norigin = '{origin}'\nprivate = {private}\n"));
    #[derive(serde::Deserialize)]
    struct Written {
        http: Vec<Origin>,
    }
    let written: Written = toml::from_str(&written.collect::<String>()).unwrap();
    Egress {
        origins: written.http.into(),
        tls: None,
        max_response_bytes: 1_000,
        open: Arc::default(),
        stats: Arc::default(),
    }
}

async fn get(egress: &Egress, uri: &str) -> Result<(u16, Bytes), Error> {
    let body = Full::new(Bytes::from_static(b"hello")).map_err(|never| match never {}).boxed_unsync();
    let authority = uri.parse::<Uri>().unwrap().authority().unwrap().to_string();
    let request = Request::put(uri).header(header::HOST, authority).body(body).unwrap();
    let (response, io) = egress.clone().send(request, RequestOptions::default()).await?;
    let io = tokio::spawn(Box::into_pin(io));
    let status = response.status().as_u16();
    let body = response.into_body().collect().await;
    io.abort();
    drop(io.await);
    Ok((status, body?.to_bytes()))
}

#[tokio::test]
async fn a_granted_server_is_spoken_to_and_bytes_are_counted() {
    let server = server(ok(b"0123456789")).await;
    let origin = format!("http://127.0.0.1:{}", server.port);
    let egress = egress(&[(origin.clone(), true)]);
    assert_eq!(get(&egress, &format!("{origin}/a?b=c")).await.unwrap(), (200, Bytes::from_static(b"0123456789")));
    let seen = String::from_utf8(server.seen.lock().unwrap()[0].clone()).unwrap();
    assert!(
        seen.starts_with("PUT /a?b=c HTTP/1.1\r\n") && seen.contains(&format!("host: 127.0.0.1:{}", server.port)),
        "{seen}"
    );
    let stats = &egress.stats;
    let counts = [&stats.http_requests, &stats.http_sent_bytes, &stats.http_received_bytes, &stats.http_denied];
    assert_eq!(counts.map(|count| count.load(Relaxed)), [1, 5, 10, 0]);
    assert_eq!(egress.open.load(Relaxed), 0);
}

#[tokio::test]
async fn what_is_not_granted_is_not_connected_to() {
    let server = server(ok(b"")).await;
    let at = |host: &str| format!("http://{host}:{}", server.port);
    let public =
        egress(&[(at("localhost"), false), (at("127.0.0.1"), false), (at("2130706433"), false), (at("127.1"), false)]);
    for host in ["localhost", "LOCALHOST.", "127.0.0.1", "2130706433", "127.1"] {
        let denied = get(&public, &at(host)).await.unwrap_err();
        assert!(matches!(denied, Error::DestinationIpProhibited), "{host}: {denied}");
    }
    let private = egress(&[(at("127.0.0.1"), true)]);
    for host in ["localhost", "127.1", "[::1]", "[::ffff:127.0.0.1]"] {
        assert!(matches!(get(&private, &at(host)).await, Err(Error::HttpRequestDenied)), "{host}");
    }
    assert_eq!((public.stats.http_denied.load(Relaxed), private.stats.http_denied.load(Relaxed)), (5, 4));
    assert_eq!(server.seen.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn where_an_answer_points_to_is_not_followed() {
    let elsewhere = server(ok(b"")).await;
    let answer =
        format!("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{}/\r\ncontent-length: 0\r\n\r\n", elsewhere.port);
    let server = server(answer).await;
    let origins = [&server, &elsewhere].map(|server| (format!("http://127.0.0.1:{}", server.port), true));
    assert_eq!(get(&egress(&origins), &origins[0].0).await.unwrap().0, 302);
    assert_eq!((server.seen.lock().unwrap().len(), elsewhere.seen.lock().unwrap().len()), (1, 0));
}

#[tokio::test]
async fn what_a_server_sends_ends_somewhere() {
    let large = server(ok(&[b'x'; 1_001])).await;
    let origin = format!("http://127.0.0.1:{}", large.port);
    let error = get(&egress(&[(origin.clone(), true)]), &origin).await.unwrap_err();
    assert!(matches!(error, Error::HttpResponseBodySize(Some(1_000))), "{error}");
    let unsaid = server([b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 1_001]].concat()).await;
    let origin = format!("http://127.0.0.1:{}", unsaid.port);
    let error = get(&egress(&[(origin.clone(), true)]), &origin).await.unwrap_err();
    assert!(matches!(error, Error::HttpResponseBodySize(Some(1_000))), "{error}");
    for head in [format!("x: {}\r\n", "y".repeat(2 * MAX_HEAD_BYTES)), "x: y\r\n".repeat(MAX_HEADERS + 1)] {
        let server = server(format!("HTTP/1.1 200 OK\r\n{head}content-length: 0\r\n\r\n")).await;
        let origin = format!("http://127.0.0.1:{}", server.port);
        let error = get(&egress(&[(origin.clone(), true)]), &origin).await.unwrap_err();
        assert!(matches!(error, Error::Hyper(_)), "{error}");
    }
}

#[tokio::test]
async fn connections_are_few() {
    // Promises more than it sends, so that each answer stays open.
    let server = server("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n").await;
    let origin = format!("http://127.0.0.1:{}", server.port);
    let egress = egress(&[(origin.clone(), true)]);
    let send = async || {
        let body = Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync();
        egress.clone().send(Request::get(&origin).body(body).unwrap(), RequestOptions::default()).await
    };
    let mut open = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        open.push(send().await.map_err(|error| error.to_string()).unwrap());
    }
    assert!(matches!(send().await, Err(Error::ConnectionLimitReached)));
    open.pop();
    open.push(send().await.map_err(|error| error.to_string()).unwrap());
}

#[tokio::test]
async fn over_tls_the_name_counts() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let serving =
        rustls::ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let serving =
        serving.unwrap().with_no_client_auth().with_single_cert(vec![certified.cert.der().clone()], key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = serve(listener, Some(Arc::new(serving)), ok(b"secret")).await;
    let at = |host: &str| format!("https://{host}:{}", server.port);
    let mut egress = egress(&[(at("localhost"), true), (at("127.0.0.1"), true)]);
    assert!(matches!(get(&egress, &at("localhost")).await, Err(Error::ConfigurationError)));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    egress.tls = Some(Arc::new(client.with_root_certificates(roots).with_no_client_auth()));
    assert_eq!(get(&egress, &at("localhost")).await.unwrap(), (200, Bytes::from_static(b"secret")));
    let error = get(&egress, &at("127.0.0.1")).await.unwrap_err();
    let Error::Tls(error) = error else { panic!("{error}") };
    assert_eq!(
        WasiHttpHooks::p2_error_from_tls(&mut egress, &error).to_string(),
        ErrorCode::TlsCertificateError.to_string()
    );
}
