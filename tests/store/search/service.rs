//! The client of embedding services, with a service on this machine that answers as it is told.

use std::{
    io::{BufRead, BufReader, Read, Write as _},
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use context_store::embed::{EmbedError, Embedder, HttpEmbedder};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// A request as it came: its headers in lower case, and its body.
type Request = (Vec<String>, Value);

/// What is sent back; none for nothing, on a connection that stays open.
type Reply = Option<String>;

/// A service that answers the requests in turn.
fn service(reply: impl Fn(usize, &Request) -> Reply + Send + 'static) -> (String, Arc<Mutex<Vec<Request>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}/v1/embeddings", listener.local_addr().expect("an address"));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let requests = seen.clone();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for (at, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.expect("a connection"));
            let (mut headers, mut length) = (Vec::new(), 0);
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).expect("a request") <= 2 {
                    break;
                }
                let line = line.trim().to_lowercase();
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.parse().expect("a length");
                }
                headers.push(line);
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).expect("a body");
            let request = (headers, serde_json::from_slice(&body).expect("JSON"));
            let reply = reply(at, &request);
            seen.lock().push(request);
            match reply {
                // Who has read enough hangs up: that is no fault of the service's.
                Some(reply) => drop(stream.get_mut().write_all(reply.as_bytes())),
                None => open.push(stream),
            }
        }
    });
    (address, requests)
}

fn answer(status: &str, headers: &str, body: &str) -> Reply {
    Some(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len()))
}

/// Two numbers for each text, which say how long it is and which of the request it is: the last first.
fn vectors((_, body): &Request) -> Reply {
    let texts = body["input"].as_array().expect("texts");
    let one =
        |(n, text): (usize, &Value)| json!({ "index": n, "embedding": [text.as_str().expect("a text").len(), n] });
    let data: Vec<Value> = texts.iter().enumerate().rev().map(one).collect();
    answer("200 OK", "", &json!({ "object": "list", "data": data }).to_string())
}

/// Of the model `tiny`, which does not wait long.
fn client(address: &str) -> HttpEmbedder {
    let client = HttpEmbedder::new(address, "tiny", 2).expect("an address").key("s3cr3t").expect("a key");
    client.retries(3, Duration::from_millis(1), Duration::from_secs(2)).patience(Duration::from_secs(20))
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

async fn why(client: &HttpEmbedder) -> EmbedError {
    client.embed(&texts(&["a", "b"])).await.expect_err("it must fail")
}

fn unavailable(e: &EmbedError) -> &str {
    match e {
        EmbedError::Unavailable(why) => why,
        EmbedError::Refused(why) => panic!("the texts are not to blame: {why}"),
    }
}

#[tokio::test]
async fn w5_texts_go_in_batches_and_their_vectors_come_back_in_order() {
    let (address, requests) = service(|_, request| vectors(request));
    let many = texts(&["a", "bb", "ccc", "dddd", "eeeee", "ffffff", "ggggggg"]);
    let found = client(&address).batches(3, 12).embed(&many).await.expect("vectors");
    let lengths: Vec<f32> = found.iter().map(|vector| vector[0]).collect();
    assert_eq!(lengths, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let sent = requests.lock().clone();
    let inputs: Vec<&Value> = sent.iter().map(|(_, body)| &body["input"]).collect();
    // Three texts at most, and twelve bytes.
    assert_eq!(json!(inputs), json!([["a", "bb", "ccc"], ["dddd", "eeeee"], ["ffffff"], ["ggggggg"]]));
    for (headers, body) in &sent {
        assert_eq!((&body["model"], &body["encoding_format"]), (&json!("tiny"), &json!("float")));
        assert!(headers.iter().any(|header| header == "authorization: bearer s3cr3t"), "{headers:?}");
    }
    // A text that is longer than a request goes alone; of one that is longer than a model takes, the beginning.
    let long = "ä".repeat(50_000);
    client(&address).batches(3, 12).embed(&[long, "b".into()]).await.expect("vectors");
    let sent = requests.lock().clone();
    let first = sent[4].1["input"].as_array().expect("texts");
    assert_eq!((first.len(), first[0].as_str().map(str::len)), (1, Some(24_000)));
    assert_eq!(sent[5].1["input"], json!(["b"]));
    assert!(client(&address).embed(&[]).await.expect("nothing").is_empty());
    assert_eq!(requests.lock().len(), 6, "nothing is asked for nothing");
}

#[tokio::test]
async fn e4_a_service_that_is_busy_is_asked_again_when_it_says() {
    let (address, requests) = service(|at, request| match at {
        0 => answer("429 Too Many Requests", "retry-after: 1\r\n", ""),
        1 => answer("503 Service Unavailable", "", ""),
        _ => vectors(request),
    });
    let start = Instant::now();
    assert_eq!(client(&address).embed(&texts(&["a"])).await.expect("vectors"), [[1.0, 0.0]]);
    assert!(start.elapsed() >= Duration::from_secs(1), "it waited as it was told");
    assert_eq!(requests.lock().len(), 3);
    let (address, requests) = service(|_, _| answer("500 Internal Server Error", "", "oh"));
    let error = why(&client(&address)).await;
    assert_eq!(unavailable(&error), "the embedding service answered 500 Internal Server Error");
    assert_eq!(requests.lock().len(), 3);
}

#[tokio::test]
async fn e4_the_key_goes_to_its_own_address_and_nowhere_else() {
    let (elsewhere, heard) = service(|_, request| vectors(request));
    let to = elsewhere.clone();
    let (address, _) = service(move |_, _| answer("307 Temporary Redirect", &format!("location: {to}\r\n"), ""));
    let error = why(&client(&address)).await;
    assert!(unavailable(&error).contains("answered 307 Temporary Redirect: redirects are not followed"), "{error}");
    assert_eq!(heard.lock().len(), 0, "nobody else is asked");
    // Nothing secret is shown, whatever fails.
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let dead = client(&format!("http://user:hunter2@{nobody}/?api-key=hunter2"));
    let error = why(&dead).await;
    let shown = format!("{error} {error:?} {dead:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("s3cr3t"), "{shown}");
    assert!(unavailable(&error).contains("refused"), "it says what the system said: {error}");
}

#[tokio::test]
async fn e4_what_is_no_answer_of_the_contract_counts_as_none() {
    let cases = [
        ("200 OK", "", "an answer that is empty", "what is no answer"),
        ("200 OK", "<html>sign in</html>", "the page of a proxy", r#"it says {"data""#),
        ("200 OK", r#"{"data": []}"#, "no vectors", "0 vector(s) for 2 text(s)"),
        ("200 OK", r#"{"data": [{"index": 0, "embedding": [1, 2]}]}"#, "fewer", "1 vector(s) for 2 text(s)"),
        (
            "200 OK",
            r#"{"data": [{"index": 1, "embedding": [1, 2]}, {"index": 1, "embedding": [1, 2]}]}"#,
            "one twice",
            "two vectors for text 1",
        ),
        (
            "200 OK",
            r#"{"data": [{"index": 7, "embedding": [1, 2]}]}"#,
            "of another text",
            "a vector for text 7, and 2 text(s) were sent",
        ),
        (
            "200 OK",
            r#"{"data": [{"index": 0, "embedding": [1, NaN]}, {"index": 1, "embedding": [1, 2]}]}"#,
            "no number",
            "what is no answer",
        ),
        ("200 OK", r#"{"data": [{"index": 0, "embedding": "AACAPw=="}]}"#, "another encoding", "what is no answer"),
        ("204 No Content", "", "no content", "what is no answer"),
        ("401 Unauthorized", "{}", "the key", "answered 401 Unauthorized"),
        ("404 Not Found", "{}", "the address", "answered 404 Not Found"),
    ];
    for (status, body, what, message) in cases {
        let (address, requests) = service(move |_, _| answer(status, "", body));
        let error = why(&client(&address)).await;
        assert!(unavailable(&error).contains(message), "{what}: {error}");
        assert_eq!(requests.lock().len(), 1, "{what}: nothing is gained by asking again");
    }
    let (address, _) = service(|_, _| answer("400 Bad Request", "", "the text is too long"));
    let error = why(&client(&address)).await;
    assert_eq!(
        error,
        EmbedError::Refused("the embedding service answered 400 Bad Request: the text is too long".into())
    );
}

#[tokio::test]
async fn e4_an_answer_is_bounded_in_size_and_in_time() {
    // A mebibyte and a little is enough for two vectors of two numbers.
    let (address, _) = service(|_, _| answer("200 OK", "", &" ".repeat(4 << 20)));
    let error = why(&client(&address)).await;
    assert!(unavailable(&error).contains("with more than 1048704 bytes"), "{error}");
    // Without end, and without a length.
    let (address, _) =
        service(|_, _| Some(format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", "x".repeat(3 << 20))));
    let error = why(&client(&address)).await;
    assert!(unavailable(&error).contains("with more than 1048704 bytes"), "{error}");
    let (address, requests) = service(|_, _| None);
    let error = why(&client(&address).patience(Duration::from_millis(50))).await;
    assert!(unavailable(&error).contains("timed out"), "{error}");
    assert_eq!(requests.lock().len(), 3, "it might have been lost on the way");
}

#[test]
fn e4_a_service_is_described_before_it_is_asked() {
    let refused = |address: &str, model: &str, dimensions: usize| {
        HttpEmbedder::new(address, model, dimensions).expect_err("refused").to_string()
    };
    assert!(
        refused("gopher://x", "m", 2)
            .contains("this is no address of an embedding service: `gopher` is neither http nor https")
    );
    assert!(refused("tomato", "m", 2).contains("this is no address of an embedding service"));
    assert!(refused("http://x", " ", 2).contains("has no name"));
    assert!(refused("http://x", "m", 0).contains("1 to 16384 dimensions, not 0"));
    assert!(refused("http://x", "m", 20_000).contains("not 20000"));
    let key = HttpEmbedder::new("http://x", "m", 2).expect("an address").key("a\nb").expect_err("refused").to_string();
    assert!(key.contains("characters that no header takes") && !key.contains('\n'), "{key}");
}
