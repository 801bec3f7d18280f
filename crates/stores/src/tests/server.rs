//! A server that speaks as much of S3 as a cache needs, with the faults that servers have, and shows its objects as files.

use std::{
    collections::{BTreeMap, HashMap},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use crate::same::md5;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// This status, with this code.
    Status(u16, &'static str),
    /// The connection is cut before the answer.
    Cut,
    /// The connection is cut in the middle of the answer.
    CutAnswer,
    /// The whole file is sent in place of its part.
    IgnoredRange,
}

type Faults = Box<dyn FnMut(&str, &str) -> Fault + Send>;

#[derive(Default)]
pub(super) struct State {
    pub(super) objects: BTreeMap<String, Vec<u8>>,
    uploads: HashMap<String, BTreeMap<u32, Vec<u8>>>,
    /// Method and path of each request.
    pub(super) requests: Vec<String>,
    pub(super) authorizations: Vec<String>,
    /// Objects of a page of a list.
    pub(super) page: usize,
}

/// A server on this machine, which ends with the test process.
pub(super) struct Server {
    pub(super) url: String,
    pub(super) state: Arc<Mutex<State>>,
}

struct Request {
    method: String,
    path: String,
    query: HashMap<String, String>,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Server {
    /// A server with the bucket `bucket`. `faults` decides on each request, by its method and its path.
    pub(super) fn start(faults: impl FnMut(&str, &str) -> Fault + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            page: 1000,
            ..State::default()
        }));
        let faults: Arc<Mutex<Faults>> = Arc::new(Mutex::new(Box::new(faults)));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, faults) = (Arc::clone(&shared), Arc::clone(&faults));
                thread::spawn(move || while serve(&stream, &state, &faults).is_some() {});
            }
        });
        Self { url, state }
    }

    pub(super) fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        self.state.lock().unwrap().objects.clone()
    }
}

/// Answers one request; `None` if the connection is at its end.
fn serve(mut stream: &TcpStream, state: &Mutex<State>, faults: &Mutex<Faults>) -> Option<()> {
    let mut request = read(stream)?;
    let fault = (faults.lock().unwrap())(&request.method, &request.path);
    let is_head = request.method == "HEAD";
    let answer = match fault {
        Fault::Cut => return None,
        Fault::Status(status, code) => refusal(status, code),
        Fault::IgnoredRange => {
            request.headers.remove("range");
            answer(&request, &mut state.lock().unwrap())
        }
        Fault::None | Fault::CutAnswer => answer(&request, &mut state.lock().unwrap()),
    };
    let length = format!("content-length: {}\r\n", answer.body.len());
    let lines = answer
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    let lines: Vec<String> = lines.chain([length]).collect();
    let head = format!("HTTP/1.1 {} x\r\n{}", answer.status, lines.concat());
    stream.write_all(format!("{head}\r\n").as_bytes()).ok()?;
    let sent = if fault == Fault::CutAnswer {
        answer.body.len() / 2
    } else {
        answer.body.len()
    };
    if !is_head {
        stream.write_all(&answer.body[..sent]).ok()?;
    }
    (fault != Fault::CutAnswer).then_some(())
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut parts = line.split_whitespace();
    let (method, target) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length: usize = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = query.split('&').filter(|part| !part.is_empty()).map(|part| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        (decoded(key), decoded(value))
    });
    Some(Request {
        method,
        path: decoded(path),
        query: query.collect(),
        headers,
        body,
    })
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut left = text.bytes();
    while let Some(byte) = left.next() {
        if byte == b'%' {
            let hex = [left.next().unwrap(), left.next().unwrap()];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn refusal(status: u16, code: &str) -> Answer {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>AKIAHIDDEN hidden</Message><Resource>/</Resource>\
         <RequestId>1</RequestId></Error>"
    );
    Answer {
        status,
        headers: vec![("content-type", "application/xml".to_owned())],
        body: body.into_bytes(),
    }
}

fn ok(headers: Vec<(&'static str, String)>, body: Vec<u8>) -> Answer {
    Answer {
        status: 200,
        headers,
        body,
    }
}

fn etag(bytes: &[u8]) -> String {
    format!("\"{:032x}\"", u128::from_be_bytes(md5(bytes)))
}

fn answer(request: &Request, state: &mut State) -> Answer {
    state.requests.push(format!("{} {}", request.method, request.path));
    state
        .authorizations
        .extend(request.headers.get("authorization").cloned());
    // A server may be a path on a host.
    let path = request.path.strip_prefix("/deep/path").unwrap_or(&request.path);
    let Some(key) = path.strip_prefix("/bucket") else {
        return refusal(404, "NoSuchBucket");
    };
    let key = key.trim_start_matches('/').to_owned();
    let of = |name: &str| request.query.get(name).cloned();
    match (&*request.method, of("uploadId")) {
        ("GET", None) if key.is_empty() => list(request, state),
        ("POST", None) => {
            let id = format!("upload-{}", state.uploads.len());
            state.uploads.insert(id.clone(), BTreeMap::new());
            let body =
                format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>");
            ok(Vec::new(), body.into_bytes())
        }
        ("PUT", Some(id)) => {
            let part = of("partNumber").unwrap().parse().unwrap();
            state.uploads.get_mut(&id).unwrap().insert(part, request.body.clone());
            ok(vec![("etag", etag(&request.body))], Vec::new())
        }
        ("POST", Some(id)) => {
            let parts = state.uploads.remove(&id).unwrap();
            let bytes: Vec<u8> = parts.into_values().flatten().collect();
            state.objects.insert(key, bytes);
            let body = "<CompleteMultipartUploadResult><ETag>\"0-2\"</ETag></CompleteMultipartUploadResult>";
            ok(Vec::new(), body.as_bytes().to_vec())
        }
        ("DELETE", Some(id)) => {
            state.uploads.remove(&id);
            ok(Vec::new(), Vec::new())
        }
        ("PUT", None) => {
            if request.headers.contains_key("if-none-match") && state.objects.contains_key(&key) {
                return refusal(412, "PreconditionFailed");
            }
            let tag = etag(&request.body);
            state.objects.insert(key, request.body.clone());
            ok(vec![("etag", tag)], Vec::new())
        }
        ("GET" | "HEAD", _) => get(request, state.objects.get(&key)),
        _ => refusal(405, "MethodNotAllowed"),
    }
}

fn get(request: &Request, object: Option<&Vec<u8>>) -> Answer {
    let Some(bytes) = object else {
        return refusal(404, "NoSuchKey");
    };
    let headers = vec![
        ("etag", etag(bytes)),
        ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT".to_owned()),
    ];
    let Some(range) = request.headers.get("range") else {
        return ok(headers, bytes.clone());
    };
    let (start, end) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let start: usize = start.parse().unwrap();
    let end = end.parse().map_or(bytes.len(), |end: usize| (end + 1).min(bytes.len()));
    if start >= bytes.len() {
        return refusal(416, "InvalidRange");
    }
    let mut headers = headers;
    headers.push(("content-range", format!("bytes {start}-{}/{}", end - 1, bytes.len())));
    Answer {
        status: 206,
        headers,
        body: bytes[start..end].to_vec(),
    }
}

fn list(request: &Request, state: &State) -> Answer {
    let of = |name: &str| request.query.get(name).map_or("", String::as_str);
    let after = of("continuation-token").max(of("start-after"));
    let keys = state.objects.iter();
    let mut keys = keys.filter(|(key, _)| key.starts_with(of("prefix")) && key.as_str() > after);
    let (mut contents, mut last) = (Vec::new(), String::new());
    for (key, bytes) in keys.by_ref().take(state.page) {
        let tag = etag(bytes).replace('"', "&quot;");
        let shown = key.replace('&', "&amp;");
        contents.push(format!(
            "<Contents><Key>{shown}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>{tag}</ETag><Size>{}</Size>\
             </Contents>",
            bytes.len()
        ));
        last.clone_from(key);
    }
    let contents = contents.concat();
    let more = keys.next().is_some();
    let next = if more {
        format!("<NextContinuationToken>{last}</NextContinuationToken>")
    } else {
        String::new()
    };
    let body = format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>{next}{contents}</ListBucketResult>");
    ok(vec![("content-type", "application/xml".to_owned())], body.into_bytes())
}
