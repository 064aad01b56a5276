//! The real command against a real `evergrant emulator`, each a process of its own.
#![allow(dead_code, reason = "each test file uses its part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

pub(crate) const CLIENT_ID: &str = "ABtestClient";
pub(crate) const CLIENT_SECRET: &str = "canary-client-secret-of-the-tests";
pub(crate) const REALM: &str = "9341453000000001";

/// An emulator, stopped by its own handle.
pub(crate) struct Emulator {
    child: Child,
    pub(crate) addresses: Value,
}

impl Emulator {
    pub(crate) fn start(redirect_uri: &str, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evergrant"));
        command.args([
            "emulator",
            "--consent",
            "auto",
            "--client-id",
            CLIENT_ID,
            "--client-secret",
            CLIENT_SECRET,
        ]);
        command.args(["--redirect-uri", redirect_uri]).args(more).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Self { child, addresses: serde_json::from_str(&line).unwrap() }
    }

    pub(crate) fn discovery(&self) -> &str {
        self.addresses["discovery"].as_str().unwrap()
    }

    pub(crate) fn control(&self, path: &str) -> Value {
        let url = format!("{}/{path}", self.addresses["control"].as_str().unwrap());
        serde_json::from_str(&request("GET", &url, "").body).unwrap()
    }

    pub(crate) fn tell(&self, path: &str, body: &str) {
        let url = format!("{}/{path}", self.addresses["control"].as_str().unwrap());
        let answer = request("POST", &url, body);
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    pub(crate) fn clear_faults(&self) {
        request("DELETE", &format!("{}/faults", self.addresses["control"].as_str().unwrap()), "");
    }

    /// Whether any refresh token of the latest grant would still be answered with tokens.
    pub(crate) fn grant_is_alive(&self) -> bool {
        let grants = self.control("grants");
        let chain = grants["grants"].as_array().unwrap().last().unwrap()["chain"].as_array().unwrap().clone();
        chain.iter().any(|link| link.get("current").is_some() || link.get("stale").is_some())
    }

    /// The refresh tokens that were sent, shortened, in order.
    pub(crate) fn refreshes(&self) -> Vec<String> {
        let log = self.control("log");
        let refreshes = log.as_array().unwrap().iter().filter(|entry| entry["endpoint"] == "refresh");
        refreshes.map(|entry| entry["parameters"]["refresh_token"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn requests(&self) -> usize {
        self.control("log").as_array().unwrap().len()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A home of the command's own, with a configuration.
pub(crate) struct Home {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) redirect_uri: String,
}

impl Home {
    pub(crate) fn new(emulator: &Emulator, redirect_uri: &str) -> Self {
        let home = Self::empty(redirect_uri);
        home.configure(&format!(
            "environment = \"sandbox\"\nclient_id = \"{CLIENT_ID}\"\nclient_secret = \"{CLIENT_SECRET}\"\n\
             redirect_uris = [\"{redirect_uri}\"]\nscopes = [\"accounting\"]\ndiscovery = \"{}\"\n\
             allow_http_loopback = true\n",
            emulator.discovery()
        ));
        home
    }

    pub(crate) fn empty(redirect_uri: &str) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), redirect_uri: redirect_uri.to_owned() }
    }

    pub(crate) fn configure(&self, text: &str) {
        let file = self.folder.path().join("evergrant.toml");
        std::fs::write(&file, text).unwrap();
        set_mode(&file, 0o600);
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evergrant"));
        command.args(arguments).current_dir(self.folder.path()).env_clear();
        // What the system itself needs to find things.
        for name in ["PATH", "SYSTEMROOT", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("EVERGRANT_HOME", self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs it, asserts how it ends, and gives all that it said: standard output, then standard error.
    pub(crate) fn expect(&self, exit: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {said}");
        said
    }

    /// Connects by `--no-browser`, following the redirect as a browser would. Gives the callback's address, and all that
    /// was said after the URL.
    pub(crate) fn connect(&self, more: &[&str]) -> (String, Output) {
        self.connect_by(more, follow)
    }

    /// The same, with another browser.
    pub(crate) fn connect_by(&self, more: &[&str], browse: impl Fn(&str) -> String) -> (String, Output) {
        let mut command = self.command(&["connect", "--no-browser"]);
        let mut child = command.args(more).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut url = String::new();
        stdout.read_line(&mut url).unwrap();
        let callback = if url.is_empty() { String::new() } else { browse(url.trim()) };
        let _ = child.stdin.take().unwrap().write_all(format!("{callback}\n").as_bytes());
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).unwrap();
        let mut output = child.wait_with_output().unwrap();
        output.stdout = rest;
        (callback, output)
    }

    pub(crate) fn connected(emulator: &Emulator) -> Self {
        let home = Self::new(emulator, "http://localhost:8000/callback");
        let (_, output) = home.connect(&[]);
        assert!(output.status.success(), "{}", said(&output));
        home
    }
}

pub(crate) fn emulator() -> Emulator {
    Emulator::start("http://localhost:8000/callback", &[])
}

pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub(crate) fn set_mode(file: &std::path::Path, mode: u32) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let _ = (file, mode);
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) body: String,
}

pub(crate) fn request(method: &str, url: &str, body: &str) -> Answer {
    let rest = url.strip_prefix("http://").unwrap();
    let (authority, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut stream = TcpStream::connect(authority.replace("localhost", "127.0.0.1")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(
        stream,
        "{method} {target} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let location = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("location").then(|| value.to_owned())
    });
    Answer { status: head.split(' ').nth(1).unwrap().parse().unwrap(), location, body: body.to_owned() }
}

/// Where the authorize endpoint redirects to.
pub(crate) fn follow(url: &str) -> String {
    request("GET", url, "").location.unwrap()
}

/// I6: what looks like a secret in something that was said.
pub(crate) fn assert_no_secret(said: &str, secrets: &[&str]) {
    for secret in secrets {
        assert!(!said.contains(secret), "a secret was printed: {said}");
    }
    let long = said
        .split(|char: char| !char.is_ascii_alphanumeric() && char != '_' && char != '-')
        .find(|word| word.len() >= 40);
    assert_eq!(long, None, "this looks like a token: {said}");
}
