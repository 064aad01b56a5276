//! Runs a firmware image under QEMU through a grant's whole life, and checks its log line by line.
//!
//! ```text
//! evergrant-firmware-runner [--tls] IMAGE QEMU [QEMU'S ARGUMENTS…]
//! ```
//!
//! The emulator listens on a free port; QEMU joins the device's serial line to it, or with `--tls` to a TLS server before
//! it. The device's flash is a file, and so are the commands that it is given. A power cut is the end of the QEMU process,
//! at a moment that the device itself was told to wait at.

mod front;
mod impostor;

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use evergrant_emulator::fault::{Endpoint, Fault, Harm};
use evergrant_emulator::server::{ClockChoice, Consent, Options, Running, Server};

use front::{Front, Shown};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Seconds that a line of log may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of stack that the calls may use below the caller's own buffers: measured, and a little more.
const STACK_MOST: usize = 2_400;
/// And with TLS.
const STACK_MOST_TLS: usize = 18_500;
/// When the story begins.
const START: u64 = 1_800_000_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (secure, arguments) = match arguments.as_slice() {
        [first, rest @ ..] if first == "--tls" => (true, rest),
        all => (false, all),
    };
    let [image, qemu, further @ ..] = arguments else {
        let usage = "usage: evergrant-firmware-runner [--tls] IMAGE QEMU [ARGUMENTS…]";
        let _ = writeln!(std::io::stderr(), "{usage}");
        return ExitCode::FAILURE;
    };
    match run(secure, Path::new(image), qemu, further) {
        Ok(lines) => {
            println!("{lines} lines of the device's log were as expected");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(secure: bool, image: &Path, qemu: &str, further: &[String]) -> Outcome<usize> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("flash.bin"), vec![0xff; 16 * 1_024])?;
    let options = Options::new()
        .sandbox("ABemulatorClient", "emulator-secret", &["http://localhost:8000/callback"])
        .consent(Consent::Auto)
        .clock(ClockChoice::Fixed(START));
    let intuit = Server::start(options)?;
    let front = if secure { Some(Front::start(authority_of(&intuit)?)?) } else { None };
    if let Some(front) = &front {
        std::fs::write(folder.path().join("anchor.der"), front.anchor())?;
    }
    let bench = Bench {
        image: image.canonicalize()?,
        qemu: qemu.to_owned(),
        further: further.to_vec(),
        folder: folder.path().to_owned(),
        intuit,
        front,
        now: Arc::new(AtomicU64::new(START)),
    };
    let strangers = bench.front.as_ref().map_or(Ok(0), |front| strangers(&bench, front))?;
    Ok(strangers + story(&bench)?)
}

/// Host and port of the emulator.
fn authority_of(intuit: &Running) -> Outcome<&str> {
    let base = &intuit.addresses().base;
    Ok(base.strip_prefix("http://").ok_or("the emulator has no address")?)
}

/// Servers that are not Intuit's: the device finds out, and asks them for nothing.
fn strangers(bench: &Bench, front: &Front) -> Outcome<usize> {
    let mut device = bench.power_on()?;
    device.expect("* ready, revision 0, Unlinked")?;
    let refuse = |device: &mut Device, why: &str| {
        let why = format!("tls: the certificate is not good: {why}*");
        device.tell("time", &[&why, "news Trouble(NotConnected)", "time unknown"])
    };
    for (shown, why) in [
        (Shown::Stranger, "UnknownIssuer"),
        (Shown::OtherHosts, "CertNotValidForName"),
        (Shown::ByALeaf, "EndEntityUsedAsCa"),
        (Shown::OtherPurpose, "RequiredEkuNotFound"),
        (Shown::WithoutKey, "InvalidSignatureForPublicKey"),
        (Shown::None, "BadDer"),
    ] {
        front.show(shown)?;
        refuse(&mut device, why)?;
    }
    front.show(Shown::Impostor)?;
    let unproven = "tls: the server did not prove who it is";
    device.tell("time", &[unproven, "news Trouble(NotConnected)", "time unknown"])?;
    if front.sessions() != 0 {
        return Err("a server that is not Intuit's was asked for something".into());
    }
    // Without a clock the dates cannot be judged: such a connection brings the time, and nothing else may go over it. From
    // then on they are.
    front.show(Shown::Expired)?;
    device.tell("time", &["news Clock(Time(1800000000))", "time known"])?;
    let expired = "tls: the certificate is not good: CertExpired*";
    device.tell("time", &[expired, "news Trouble(NotConnected)", "time known"])?;
    front.show(Shown::Good)?;
    device.tell("time", &["time known"])?;
    device.say("quit")?;
    device.ended()
}

/// The life of a grant on a device. Each command's log is given in full.
fn story(bench: &Bench) -> Outcome<usize> {
    let mut device = bench.power_on()?;
    device.expect("* ready, revision 0, Unlinked")?;

    // Without a clock nothing is judged. One request without a secret, and the time is known.
    device.tell("ask 0123", &["error the clock was never set: learn the time first"])?;
    device.tell("time", &["news Clock(Time(1800000000))", "time known"])?;

    // The consent: the URL is logged, the user opens it elsewhere, and the callback is fed in.
    device.tell(&format!("ask {SEED}"), &["news Stored(1)"])?;
    let logged = device.ask("url", 1)?;
    let url = logged.first().and_then(|line| line.strip_prefix("url ")).ok_or("no URL was logged")?;
    let forged = "callback http://localhost:8000/callback?code=X&realmId=1&state=forged";
    device.tell(forged, &["error the callback's state is not the one that was sent*"])?;
    let callback = bench.approve(url)?;
    device.tell(
        &format!("callback {callback}"),
        &["news Stored(2)", "news Session(Linked)", "news Stored(3)"],
    )?;
    device.tell(
        &format!("callback {callback}"),
        &["error no consent is pending that this callback could belong to: ask again"],
    )?;
    device.tell("get", &["api 200, company true"])?;

    // An hour passes at the authority. Its 401 says so; a refresh follows, and the answer comes.
    bench.advance(3_700);
    device.tell(
        "get",
        &[
            "news Clock(Time(1800003700))",
            "news Stored(4)",
            "news Session(Refreshed(New))",
            "news Stored(5)",
            "api 200, company true",
        ],
    )?;

    // The authority answers a refresh and the answer is lost: the token may be stale, and the device waits.
    let stack = device.ask("stack", 1)?;
    let deepest = stack.first().and_then(|line| line.strip_prefix("stack ")?.parse::<usize>().ok());
    let most = if bench.front.is_some() { STACK_MOST_TLS } else { STACK_MOST };
    if deepest.is_none_or(|bytes| bytes > most) {
        return Err(format!("the calls go deeper than {most} bytes: {deepest:?}").into());
    }

    bench.advance(3_700);
    device.tell("time", &["news Clock(Time(1800007400))", "time known"])?;
    bench.intuit.arm(Fault::once(Endpoint::Refresh, Harm::AnswerLostAfterWork));
    device.tell(
        "get",
        &[
            "news Stored(6)",
            "news Trouble(Read(TimedOut))",
            "news Session(AnswerLost { retry_at: Time(*) })",
            "news Stored(7)",
            "error there is no access token now",
        ],
    )?;
    // QEMU dials again; the line is dead until then, and nothing but time says when it lives.
    device.until("time", "time known")?;
    bench.advance(120);
    device.tell("time", &["news Clock(Time(1800007520))", "time known"])?;
    // Sent again within the replay policy, the same token brings what the lost answer had brought.
    device.tell("tick", &["news Stored(8)", "news Session(Refreshed(New))", "news Stored(9)"])?;
    device.tell("get", &["api 200, company true"])?;

    // The power goes between a refresh's answer and its store: the new token is gone with the memory.
    bench.advance(3_700);
    device.tell("time", &["news Clock(Time(1800011220))", "time known"])?;
    device.tell("hold 1 0", &[])?;
    device.say("refresh")?;
    device.expect("news Stored(10)")?;
    device.expect("news Session(Refreshed(New))")?;
    device.expect("held")?;
    let lines = device.power_off();

    // On again: the record says that a refresh was sent, so its token may be sent again, and is.
    let mut device = bench.power_on()?;
    device.lines = lines;
    device.expect("* ready, revision 10, Uncertain*")?;
    device.until("time", "time known")?;
    device.tell(
        "get",
        &["news Stored(11)", "news Session(Refreshed(New))", "news Stored(12)", "api 200, company true"],
    )?;

    // The power goes in the middle of writing a record: the one before it is in force.
    bench.advance(3_700);
    device.tell("time", &["news Clock(Time(1800014920))", "time known"])?;
    device.tell("hold 0 40", &[])?;
    device.say("refresh")?;
    device.expect("held")?;
    let lines = device.power_off();
    let seen = bench.refreshes();
    let mut device = bench.power_on()?;
    device.lines = lines;
    device.expect("* ready, revision 12, Linked*")?;
    device.until("time", "time known")?;
    device.tell(
        "get",
        &["news Stored(13)", "news Session(Refreshed(New))", "news Stored(14)", "api 200, company true"],
    )?;
    if bench.refreshes() != seen + 1 {
        return Err("a refresh whose intent was not durable must not have left".into());
    }

    // A reset while the record is durable loses nothing.
    let lines = device.power_off();
    let mut device = bench.power_on()?;
    device.lines = lines;
    device.expect("* ready, revision 14, Linked*")?;
    device.until("time", "time known")?;
    device.tell("get", &["api 200, company true"])?;

    device.tell("revoke", &["news Stored(15)", "news Session(Closed(Revoked))", "news Stored(16)"])?;
    device.tell("get", &["error the grant has ended (revoked by the app): only a new consent leads on"])?;
    device.tell("due", &["due Consent"])?;
    device.say("quit")?;
    let lines = device.ended()?;
    bench.check()?;
    Ok(lines)
}

/// Random to everybody else.
const SEED: &str = "8c1f0a6be5d94c2f7b3a9e04d16852f0c7e8b1a3946d5f20c8b7e6a5d4f3c2b1";

/// What stands round the device.
struct Bench {
    image: PathBuf,
    qemu: String,
    further: Vec<String>,
    folder: PathBuf,
    intuit: Running,
    front: Option<Front>,
    /// The authority's time.
    now: Arc<AtomicU64>,
}

impl Bench {
    fn power_on(&self) -> Outcome<Device> {
        let direct = authority_of(&self.intuit)?.rsplit_once(':').ok_or("the emulator has no port")?.1;
        let port = self.front.as_ref().map_or_else(|| direct.to_owned(), |front| front.port().to_string());
        // Stands for a generator of the board's.
        let mut entropy = [0; 32];
        getrandom::fill(&mut entropy).map_err(|error| error.to_string())?;
        std::fs::write(self.folder.join("entropy"), entropy)?;
        let commands = self.folder.join("commands");
        std::fs::write(&commands, "")?;
        let mut child = Command::new(&self.qemu)
            .args(&self.further)
            .args(["-nographic", "-monitor", "none", "-no-reboot"])
            .arg("-kernel")
            .arg(&self.image)
            .args(["-chardev", &format!("socket,id=line,host=127.0.0.1,port={port},reconnect=1")])
            .args(["-serial", "chardev:line", "-chardev", "stdio,id=console,signal=off"])
            .args(["-semihosting-config", "enable=on,target=native,chardev=console"])
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", self.qemu))?;
        let commands = OpenOptions::new().append(true).open(commands)?;
        let output = child.stdout.take().ok_or("no console")?;
        let (sender, log) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // Nobody listens any more: the story is over.
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Device { child, commands, log, lines: 0, now: Arc::clone(&self.now) })
    }

    fn advance(&self, seconds: i64) {
        self.intuit.clock().advance(seconds);
        self.now.store(self.intuit.clock().now(), Ordering::SeqCst);
    }

    /// Requests for a refresh that the authority saw.
    fn refreshes(&self) -> usize {
        self.intuit.log().iter().filter(|entry| entry.endpoint == Some(Endpoint::Refresh)).count()
    }

    /// The browser: opens the URL, is sent on at once, and says where to.
    fn approve(&self, url: &str) -> Outcome<String> {
        let host = authority_of(&self.intuit)?;
        let at = url.find("/connect/").ok_or("the URL leads elsewhere")?;
        let path = url.get(at..).unwrap_or_default();
        let mut stream = TcpStream::connect(host)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let location = answer.lines().find_map(|line| line.strip_prefix("location: "));
        Ok(location.ok_or("the authority sent the browser nowhere")?.to_owned())
    }

    /// What the authority thinks of it all.
    fn check(&self) -> Outcome {
        let log = self.intuit.log();
        let exchanges = log.iter().filter(|entry| entry.endpoint == Some(Endpoint::Exchange)).count();
        if exchanges != 1 {
            return Err(format!("a code is exchanged once, not {exchanges} times").into());
        }
        Ok(())
    }
}

/// A device that is switched on. When this goes, so does the process.
struct Device {
    child: Child,
    commands: File,
    log: Receiver<String>,
    lines: usize,
    /// The authority's time.
    now: Arc<AtomicU64>,
}

impl Device {
    fn say(&mut self, command: &str) -> Outcome {
        // In one piece: the device reads whenever it likes.
        Ok(self.commands.write_all(format!("{command}\n").as_bytes())?)
    }

    fn line(&mut self) -> Outcome<String> {
        match self.log.recv_timeout(PATIENCE) {
            Ok(line) => {
                println!("    {line}");
                self.lines += 1;
                Ok(line.trim_end().to_owned())
            }
            Err(RecvTimeoutError::Timeout) => Err("the device says nothing".into()),
            Err(RecvTimeoutError::Disconnected) => Err("the device is gone".into()),
        }
    }

    /// `*` in a pattern stands for anything.
    fn expect(&mut self, pattern: &str) -> Outcome {
        let mut line = self.line()?;
        // The authority's clock stands still between two steps of the story, and the device's does not: on a slow machine
        // any answer may put it right.
        let put_right = format!("news Clock(Time({}))", self.now.load(Ordering::SeqCst));
        while line == put_right && !pattern.starts_with("news Clock(") {
            line = self.line()?;
        }
        if is_like(&line, pattern) { Ok(()) } else { Err(format!("expected: {pattern}\ngot: {line}").into()) }
    }

    /// A command and all of its log.
    fn tell(&mut self, command: &str, log: &[&str]) -> Outcome {
        println!("> {command}");
        self.say(command)?;
        log.iter().try_for_each(|line| self.expect(line))?;
        let verb = command.split(' ').next().unwrap_or_default();
        self.expect(&format!("done {verb}"))
    }

    /// A command and its log of so many lines, whatever they are.
    fn ask(&mut self, command: &str, count: usize) -> Outcome<Vec<String>> {
        println!("> {command}");
        self.say(command)?;
        let lines = (0..count).map(|_| self.line()).collect::<Outcome<Vec<_>>>()?;
        self.expect(&format!("done {command}"))?;
        Ok(lines)
    }

    /// A command, repeated until its log has that line.
    fn until(&mut self, command: &str, wanted: &str) -> Outcome {
        let done = format!("done {command}");
        for _ in 0..10 {
            println!("> {command}");
            self.say(command)?;
            let mut found = false;
            loop {
                let line = self.line()?;
                found |= line == wanted;
                if line == done {
                    break;
                }
            }
            if found {
                return Ok(());
            }
        }
        Err(format!("{command} never said: {wanted}").into())
    }

    /// The power switch. Says how many lines were checked so far.
    fn power_off(mut self) -> usize {
        println!("> (the power goes)");
        // It may have ended by itself.
        let _ = self.child.kill();
        self.lines
    }

    /// It was told to quit, and does so without complaint.
    fn ended(mut self) -> Outcome<usize> {
        let status = self.child.wait()?;
        if status.success() { Ok(self.lines) } else { Err(format!("the device ended with {status}").into()) }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_like(line: &str, pattern: &str) -> bool {
    let mut rest = line;
    let mut pieces = pattern.split('*');
    let Some(tail) = rest.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    rest = tail;
    let mut open = false;
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = rest.get(at + piece.len()..).unwrap_or_default();
        open = piece.is_empty();
    }
    open || rest.is_empty()
}
