//! A server on the loopback that speaks the part of the hub's protocol that is
//! used: revision, tree, resolve with byte ranges. Faults are put in by a test.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use sha1::{Digest, Sha1};

/// One request, as far as it matters here.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub range: Option<Range<usize>>,
    pub token: Option<String>,
}

/// One answer. `length` is what the header says; a shorter body is cut off.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub length: usize,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self {
            status,
            headers: Vec::new(),
            length: body.len(),
            body,
        }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Only the first bytes of the body arrive.
    pub fn cut(mut self, bytes: usize) -> Self {
        self.body.truncate(bytes);
        self
    }
}

/// One file of a repository.
#[derive(Clone)]
pub struct Stored {
    pub name: &'static str,
    pub content: Vec<u8>,
    /// Kept behind a pointer, as the hub keeps large files.
    pub pointer: bool,
}

/// What the hub holds: revisions to commits, commits to files.
#[derive(Clone, Default)]
pub struct Shelf {
    pub revisions: BTreeMap<String, String>,
    pub commits: BTreeMap<String, Vec<Stored>>,
}

/// Given the request, how often the same method and path came before, and the
/// proper answer: the answer to give instead.
pub type Fault = dyn Fn(&Asked, usize, &Answer) -> Option<Answer> + Send + Sync;

pub struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(shelf: Shelf, fault: Box<Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (log, over) = (Arc::clone(&asked), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                // A client that goes away is not the server's trouble.
                let _ = serve(&stream.unwrap(), &shelf, &fault, &log);
            }
        });
        Self {
            address,
            asked,
            stop,
            thread: Some(thread),
        }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Byte ranges asked of a file, in order.
    pub fn ranges(&self, file: &str) -> Vec<Range<usize>> {
        let of_file = |asked: &Asked| asked.method == "GET" && asked.path.ends_with(file);
        self.asked()
            .into_iter()
            .filter(of_file)
            .filter_map(|asked| asked.range)
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    stream: &TcpStream,
    shelf: &Shelf,
    fault: &Fault,
    log: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let asked = read_request(stream)?;
    let before = {
        let mut log = log.lock().unwrap();
        let same = |other: &&Asked| other.method == asked.method && other.path == asked.path;
        let before = log.iter().filter(same).count();
        log.push(asked.clone());
        before
    };
    let proper = answer(shelf, &asked);
    let answer = fault(&asked, before, &proper).unwrap_or(proper);
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", answer.status);
    head.push_str(&format!("Content-Length: {}\r\n", answer.length));
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut stream = stream;
    stream.write_all(head.as_bytes())?;
    if asked.method != "HEAD" {
        stream.write_all(&answer.body)?;
    }
    stream.flush()
}

fn read_request(stream: &TcpStream) -> std::io::Result<Asked> {
    // No request of the client is anywhere near 64 KiB.
    let mut lines = BufReader::new(stream.take(64 << 10)).lines();
    let first = lines.next().ok_or(std::io::ErrorKind::UnexpectedEof)??;
    let mut words = first.split_whitespace();
    let mut asked = Asked {
        method: words.next().unwrap_or_default().to_owned(),
        path: words
            .next()
            .unwrap_or_default()
            .split('?')
            .next()
            .unwrap_or_default()
            .to_owned(),
        range: None,
        token: None,
    };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                let (start, end) = value.trim_start_matches("bytes=").split_once('-').unwrap();
                asked.range = Some(start.parse().unwrap()..end.parse::<usize>().unwrap() + 1);
            }
            "authorization" => asked.token = Some(value.to_owned()),
            _ => {}
        }
    }
    Ok(asked)
}

fn answer(shelf: &Shelf, asked: &Asked) -> Answer {
    let missing = |code: &str| {
        Answer::new(404, format!("{{\"error\":\"{code}\"}}")).with("X-Error-Code", code)
    };
    if let Some(rest) = asked.path.strip_prefix("/api/models/o/tiny/") {
        let (what, revision) = rest.split_once('/').unwrap();
        let commit = shelf
            .revisions
            .get(revision)
            .map_or(revision, String::as_str);
        let Some(files) = shelf.commits.get(commit) else {
            return missing("RevisionNotFound");
        };
        return match what {
            "revision" => Answer::new(200, format!("{{\"id\":\"o/tiny\",\"sha\":\"{commit}\"}}")),
            _ => Answer::new(200, listing(files)),
        };
    }
    if let Some(rest) = asked.path.strip_prefix("/o/tiny/resolve/") {
        let (commit, name) = rest.split_once('/').unwrap();
        let Some(files) = shelf.commits.get(commit) else {
            return missing("RevisionNotFound");
        };
        let Some(file) = files.iter().find(|file| file.name == name) else {
            return missing("EntryNotFound");
        };
        return match asked.range.clone() {
            Some(range) => match file.content.get(range) {
                Some(bytes) => Answer::new(206, bytes),
                None => Answer::new(416, ""),
            },
            None => Answer::new(200, file.content.clone()),
        };
    }
    missing("RepoNotFound")
}

/// As the hub lists a folder: git's identity of each file or of its pointer.
fn listing(files: &[Stored]) -> String {
    let mut entries =
        vec!["{\"type\":\"directory\",\"oid\":\"0\",\"size\":0,\"path\":\"sub\"}".to_owned()];
    for file in files {
        let len = file.content.len();
        let (blob, lfs) = if file.pointer {
            let sha256 = assay_source::sha256_bytes(&file.content);
            let pointer = format!(
                "version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len}\n"
            );
            let lfs = format!(
                ",\"lfs\":{{\"oid\":\"{sha256}\",\"size\":{len},\"pointerSize\":{}}}",
                pointer.len()
            );
            (pointer.into_bytes(), lfs)
        } else {
            (file.content.clone(), String::new())
        };
        let mut hash = Sha1::new();
        hash.update(format!("blob {}\0", blob.len()));
        hash.update(&blob);
        let oid: String = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        entries.push(format!(
            "{{\"type\":\"file\",\"oid\":\"{oid}\",\"size\":{len},\"path\":\"{}\"{lfs}}}",
            file.name
        ));
    }
    format!("[{}]", entries.join(","))
}
