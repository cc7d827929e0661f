//! Headless Chromium, spoken to over its debugging pipe: JSON messages, each
//! ended by a zero byte. No port is opened, and no library is needed.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longer than anything here takes; a browser that says nothing for so long
/// hangs.
const PATIENCE: Duration = Duration::from_secs(60);

const MISSING: &str = "chromium is not installed, and this test looks at the report in it: install \
                       Debian's package chromium, or a program of that name";

/// A browser with one page, and everything that it has reported.
pub(crate) struct Page {
    browser: Child,
    to: File,
    from: Receiver<Value>,
    session: Option<String>,
    last: u64,
    events: Vec<Value>,
    // Its profile; goes last.
    _folder: tempfile::TempDir,
}

impl Page {
    /// An empty page of 1280 by 900 that asks for a light scheme.
    pub(crate) fn new() -> Self {
        if let Err(e) = Command::new("chromium").arg("--version").output() {
            panic!("{MISSING} ({e})");
        }
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let [to, from] = ["to", "from"].map(|name| folder.path().join(name));
        let made = Command::new("mkfifo").args([&to, &from]).status().unwrap();
        assert!(made.success(), "mkfifo could not make two pipes");
        // Chromium reads from its descriptor 3 and writes to 4; the shell sets
        // them, since the standard library sets only the first three.
        let browser = Command::new("sh")
            .arg("-c")
            .arg(
                "exec chromium --headless=new --no-sandbox --user-data-dir=\"$3\" \
                 --disable-background-networking --disable-component-update --disable-sync \
                 --no-first-run --disable-gpu --remote-debugging-pipe \
                 3<\"$1\" 4>\"$2\"",
            )
            .arg("sh")
            .args([&to, &from, &folder.path().join("profile")])
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut page = Self {
            browser,
            // Each waits for the other end.
            to: File::create(&to).unwrap(),
            from: listen(File::open(&from).unwrap()),
            session: None,
            last: 0,
            events: Vec::new(),
            _folder: folder,
        };
        let target = page.call("Target.createTarget", json!({"url": "about:blank"}));
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let attached = page.call("Target.attachToTarget", target);
        page.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.call(&format!("{domain}.enable"), json!({}));
        }
        page.size(1280, 900);
        page.prefer("light");
        page
    }

    /// Sends a command and gives its answer.
    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).unwrap();
        loop {
            let mut answer = self.next();
            if answer["id"] == json!(self.last) {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].take();
            }
            self.events.push(answer);
        }
    }

    #[track_caller]
    fn next(&mut self) -> Value {
        let message = self.from.recv_timeout(PATIENCE);
        message.expect("chromium ended, or said nothing for a minute")
    }

    /// Goes to a file and waits until it is loaded.
    pub(crate) fn open(&mut self, file: &Path, anchor: &str) {
        let url = format!("file://{}{anchor}", file.to_str().unwrap());
        self.events.clear();
        self.call("Page.navigate", json!({ "url": url }));
        while self.reported("Page.loadEventFired").is_empty() {
            let event = self.next();
            self.events.push(event);
        }
    }

    /// What the page has reported under this name since it was opened.
    pub(crate) fn reported(&self, method: &str) -> Vec<&Value> {
        let events = self.events.iter();
        let these = events.filter(|e| e["method"] == json!(method));
        these.map(|e| &e["params"]).collect()
    }

    /// The value of an expression in the page.
    #[track_caller]
    pub(crate) fn js(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.call("Runtime.evaluate", params);
        let fault = answer.get("exceptionDetails");
        assert!(fault.is_none(), "{expression}: {fault:?}");
        answer["result"]["value"].take()
    }

    #[track_caller]
    pub(crate) fn number(&mut self, expression: &str) -> f64 {
        let value = self.js(expression);
        let Some(number) = value.as_f64() else {
            panic!("{expression} is {value}")
        };
        number
    }

    #[track_caller]
    pub(crate) fn words(&mut self, expression: &str) -> String {
        let value = self.js(expression);
        let Some(words) = value.as_str() else {
            panic!("{expression} is {value}")
        };
        words.to_owned()
    }

    #[track_caller]
    pub(crate) fn check(&mut self, expression: &str) {
        assert_eq!(self.js(expression), json!(true), "{expression}");
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub(crate) fn wait(&mut self, expression: &str) {
        let end = Instant::now() + PATIENCE / 4;
        while self.js(expression) != json!(true) {
            assert!(Instant::now() < end, "never: {expression}");
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Size of the window in CSS pixels.
    pub(crate) fn size(&mut self, width: u32, height: u32) {
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}),
        );
    }

    /// "light" or "dark", as the reader's system would say.
    pub(crate) fn prefer(&mut self, scheme: &str) {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        let features = json!({"features": [feature]});
        self.call("Emulation.setEmulatedMedia", features);
    }

    /// Brings an element into view and moves the mouse onto its middle.
    #[track_caller]
    pub(crate) fn point_at(&mut self, selector: &str) -> (f64, f64) {
        let at = self.middle(selector);
        self.mouse("mouseMoved", at);
        at
    }

    /// Brings an element into view and gives its middle.
    #[track_caller]
    fn middle(&mut self, selector: &str) -> (f64, f64) {
        let place = self.js(&format!(
            "(() => {{ const e = document.querySelector({selector:?});
             e.scrollIntoView({{ block: 'center', inline: 'center' }});
             const b = e.getClientRects()[0];
             return [b.left + b.width / 2, b.top + b.height / 2]; }})()"
        ));
        (place[0].as_f64().unwrap(), place[1].as_f64().unwrap())
    }

    fn mouse(&mut self, kind: &str, (x, y): (f64, f64)) {
        self.call(
            "Input.dispatchMouseEvent",
            json!({"type": kind, "x": x, "y": y, "button": if kind == "mouseMoved" { "none" } else { "left" }, "clickCount": 1}),
        );
    }

    #[track_caller]
    pub(crate) fn click(&mut self, selector: &str) {
        let at = self.point_at(selector);
        self.mouse("mousePressed", at);
        self.mouse("mouseReleased", at);
    }

    /// Touches the middle of an element with a finger.
    #[track_caller]
    pub(crate) fn tap(&mut self, selector: &str) {
        let (x, y) = self.middle(selector);
        for (kind, points) in [
            ("touchStart", json!([{"x": x, "y": y}])),
            ("touchEnd", json!([])),
        ] {
            let touch = json!({"type": kind, "touchPoints": points});
            self.call("Input.dispatchTouchEvent", touch);
        }
    }

    /// Presses a key by its name.
    pub(crate) fn press(&mut self, key: &str) {
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            "Tab" => 9,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            _ => panic!("no code for the key {key}"),
        };
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            self.call(
                "Input.dispatchKeyEvent",
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text}),
            );
        }
    }

    /// Focuses an element and types.
    #[track_caller]
    pub(crate) fn type_into(&mut self, selector: &str, text: &str) {
        self.js(&format!("document.querySelector({selector:?}).focus()"));
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Mean luminance, 0 to 1, of each cell of a grid over what is seen. The
    /// page itself reads the picture.
    pub(crate) fn luminance(&mut self, columns: usize, rows: usize) -> Vec<f64> {
        let shot = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let data = shot["data"].as_str().unwrap();
        let grid = self.js(&format!(
            "(async () => {{
               const image = new Image();
               image.src = 'data:image/png;base64,{data}';
               await image.decode();
               const canvas = document.createElement('canvas');
               [canvas.width, canvas.height] = [image.width, image.height];
               const pen = canvas.getContext('2d');
               pen.drawImage(image, 0, 0);
               const [wide, high] = [image.width / {columns}, image.height / {rows}];
               return Array.from({{ length: {columns} * {rows} }}, (_, i) => {{
                 const x = Math.round((i % {columns}) * wide);
                 const y = Math.round(Math.floor(i / {columns}) * high);
                 const {{ data }} = pen.getImageData(x, y, Math.floor(wide), Math.floor(high));
                 let sum = 0;
                 for (let p = 0; p < data.length; p += 4)
                   sum += 0.2126 * data[p] + 0.7152 * data[p + 1] + 0.0722 * data[p + 2];
                 return sum / (data.length / 4) / 255;
               }});
             }})()"
        ));
        let cells = grid.as_array().unwrap().iter();
        cells.map(|cell| cell.as_f64().unwrap()).collect()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // A test that failed may have left it in any state.
        let _ = self.browser.kill();
        let _ = self.browser.wait();
    }
}

/// Takes messages off the pipe as they come, so that the browser never waits.
fn listen(pipe: File) -> Receiver<Value> {
    let (give, take) = channel();
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut bytes = Vec::new();
        while pipe.read_until(0, &mut bytes).is_ok_and(|n| n > 0) {
            bytes.pop();
            let Ok(message) = serde_json::from_slice(&bytes) else {
                break;
            };
            if give.send(message).is_err() {
                break;
            }
            bytes.clear();
        }
    });
    take
}
