//! A device's whole life against the offline Intuit, over real sockets: blocking and async from one script.

mod common;

use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

use common::{KEYS, block_on, poll_times};
use embedded_io::ErrorType;
use embedded_io_adapters::std::FromStd;
use evergrant::{App, Ask, Due, Input, LocalRedirects, Provider, Reason, Scopes, Tell};
use evergrant_embedded::{
    Board, DriveError, GetError, News, OpenError, Store, Target, Trouble, asynch, blocking,
};
use evergrant_emulator::fault::{Endpoint, Fault, Harm};
use evergrant_emulator::server::{Consent, Options, Running, Server};

/// A store that keeps its record in memory, refuses older ones, and fails where it is told to.
#[derive(Clone, Default)]
struct Memory(Rc<RefCell<Kept>>);

#[derive(Default)]
struct Kept {
    revision: u32,
    record: Vec<u8>,
    fail: u32,
}

impl Store for Memory {
    type Error = &'static str;

    fn load<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, Self::Error> {
        let kept = self.0.borrow();
        if kept.record.is_empty() {
            return Ok(None);
        }
        let place = buffer.get_mut(..kept.record.len()).ok_or("the buffer is too small")?;
        place.copy_from_slice(&kept.record);
        Ok(Some(place))
    }

    fn save(&mut self, revision: u32, record: &[u8]) -> Result<(), Self::Error> {
        let mut kept = self.0.borrow_mut();
        if kept.fail > 0 {
            kept.fail -= 1;
            return Err("the flash is worn out");
        }
        let again = revision == kept.revision && record == kept.record;
        if revision <= kept.revision && !again {
            return Err("stale");
        }
        kept.revision = revision;
        kept.record = record.to_vec();
        Ok(())
    }
}

/// A counter that the emulator's clock drives, and a log.
#[derive(Clone, Default)]
struct Desk(Rc<RefCell<Vec<News>>>, Rc<RefCell<u64>>);

impl Board for Desk {
    fn ticks_ms(&mut self) -> u64 {
        *self.1.borrow_mut() += 1;
        *self.1.borrow()
    }

    fn tell(&mut self, news: News) {
        self.0.borrow_mut().push(news);
    }
}

/// Sockets, kept alive where the test says so.
#[derive(Default)]
struct Net<const KEEP: bool> {
    kept: Option<FromStd<TcpStream>>,
    unplugged: bool,
    connections: usize,
}

impl<const KEEP: bool> Net<KEEP> {
    fn plug(&mut self, target: &Target<'_>) -> Result<&mut FromStd<TcpStream>, &'static str> {
        assert!(!target.secure(), "the emulator speaks plain http on loopback");
        if self.unplugged {
            return Err("unplugged");
        }
        if !KEEP || self.kept.is_none() {
            let stream = TcpStream::connect((target.host(), target.port())).map_err(|_| "refused")?;
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            self.connections += 1;
            self.kept = Some(FromStd::new(stream));
        }
        self.kept.as_mut().ok_or("none")
    }

    fn unplug(&mut self, reusable: bool) {
        if !reusable {
            self.kept = None;
        }
    }
}

impl<const KEEP: bool> blocking::Connect for Net<KEEP> {
    type Connection<'c> = &'c mut FromStd<TcpStream>;
    type Error = &'static str;
    const KEEP_ALIVE: bool = KEEP;

    fn connect<'c>(&'c mut self, target: &Target<'_>) -> Result<Self::Connection<'c>, Self::Error> {
        self.plug(target)
    }

    fn finished(&mut self, reusable: bool) {
        self.unplug(reusable);
    }
}

/// A socket that is waited for once before each step, so that a future can be dropped there.
struct Slow<'c>(&'c mut FromStd<TcpStream>);

async fn breath() {
    let mut taken = false;
    std::future::poll_fn(|_| {
        let ready = std::mem::replace(&mut taken, true);
        if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

impl ErrorType for Slow<'_> {
    type Error = std::io::Error;
}

impl embedded_io_async::Read for Slow<'_> {
    async fn read(&mut self, room: &mut [u8]) -> Result<usize, std::io::Error> {
        breath().await;
        self.0.inner_mut().read(room)
    }
}

impl embedded_io_async::Write for Slow<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, std::io::Error> {
        breath().await;
        self.0.inner_mut().write(bytes)
    }
    async fn flush(&mut self) -> Result<(), std::io::Error> {
        breath().await;
        self.0.inner_mut().flush()
    }
}

impl<const KEEP: bool> asynch::Connect for Net<KEEP> {
    type Connection<'c> = Slow<'c>;
    type Error = &'static str;
    const KEEP_ALIVE: bool = KEEP;

    async fn connect<'c>(&'c mut self, target: &Target<'_>) -> Result<Self::Connection<'c>, Self::Error> {
        breath().await;
        self.plug(target).map(Slow)
    }

    fn finished(&mut self, reusable: bool) {
        self.unplug(reusable);
    }
}

struct Intuit {
    running: Running,
    provider: Provider<'static>,
}

impl Intuit {
    fn start() -> Self {
        let options = Options::new()
            .sandbox(KEYS.client_id, "emulator-secret", KEYS.redirect_uris)
            .consent(Consent::Auto);
        let running = Server::start(options).unwrap();
        let leak = |text: &str| -> &'static str { text.to_owned().leak() };
        let addresses = running.addresses();
        let provider = Provider {
            authorization_endpoint: leak(&addresses.authorize),
            token_endpoint: leak(&addresses.token),
            revocation_endpoint: leak(&addresses.revoke),
            userinfo_endpoint: "",
            api: leak(&addresses.api),
            local_redirects: LocalRedirects::Localhost,
            loopback_http: true,
            ..Provider::INTUIT_SANDBOX
        };
        Self { running, provider }
    }

    fn app(&self) -> App<'_> {
        App::new(&self.provider, KEYS).unwrap()
    }

    /// The user approves; where the browser is sent then.
    fn approve(&self, url: &str) -> String {
        let rest = url.strip_prefix("http://").unwrap();
        let (host, path) = rest.split_once('/').unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        write!(stream, "GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let line = answer.lines().find(|line| line.to_ascii_lowercase().starts_with("location:")).unwrap();
        line.split_once(' ').unwrap().1.to_owned()
    }

    fn lose(&self, at: Endpoint) {
        self.running.arm(Fault::once(at, Harm::AnswerLostAfterWork));
    }
}

const ASK: Ask<'static> =
    Ask { redirect_uri: "http://localhost:8000/callback", scopes: Scopes::ACCOUNTING, random: [9; 64] };
const COMPANY: &str = "/v3/company/9341453000000001/companyinfo/9341453000000001";

type Blocking<'a, const KEEP: bool> = blocking::Device<'a, Net<KEEP>, Memory, Desk, 1280, 128, 128>;
type Async<'a> = asynch::Device<'a, Net<false>, Memory, Desk, 1280, 128, 128>;

/// The same life for both faces; `$run` is what turns a call into its value.
macro_rules! life {
    ($intuit:ident, $app:ident, $device:ty, $run:path) => {{
        let (memory, desk) = (Memory::default(), Desk::default());
        let mut buffer = [0; 4_096];
        let opened = <$device>::open(&$app, Net::default(), memory.clone(), desk.clone(), &mut buffer);
        let mut device = $run(opened).unwrap();

        // Without a clock nothing is judged, and nothing leaves.
        let refused = $run(device.drive(Input::Ask(ASK)));
        assert!(matches!(refused, Err(DriveError::Session(_))), "{refused:?}");
        device.net().unplugged = true;
        assert!(!$run(device.learn_time()));
        device.net().unplugged = false;
        assert!($run(device.learn_time()));
        assert!(device.now().unix().abs_diff($intuit.running.clock().now()) <= 2);

        $run(device.drive(Input::Ask(ASK))).unwrap();
        let mut url = [0; 600];
        let callback = $intuit.approve(device.authorization_url(&mut url).unwrap());
        $run(device.drive(Input::Callback { text: &callback, binding: &[] })).unwrap();
        assert!(desk.0.borrow().contains(&News::Session(Tell::Linked)));
        let read = |status: u16, body: &[u8]| (status, String::from_utf8(body.to_vec()).unwrap());
        let (status, body) = $run(device.get(COMPANY, read)).unwrap();
        assert!(status == 200 && body.contains("CompanyName"), "{status} {body}");

        // An hour passes at the authority alone: its 401 says so, a refresh follows, and the answer is there.
        $intuit.running.clock().advance(3_700);
        assert_eq!($run(device.get(COMPANY, |status, _| status)).unwrap(), 200);
        assert!(device.now().unix().abs_diff($intuit.running.clock().now()) <= 2, "and the time was learned");

        // The store fails: nothing leaves, and the next call makes up for it.
        $intuit.running.clock().advance(3_700);
        assert!($run(device.learn_time()));
        memory.0.borrow_mut().fail = 2;
        let log = $intuit.running.log().len();
        let failed = $run(device.get(COMPANY, |status, _| status));
        assert!(matches!(failed, Err(GetError::Drive(DriveError::Store(_)))), "{failed:?}");
        assert_eq!($intuit.running.log().len(), log, "nothing was sent");
        assert_eq!(device.due(), Due::Store);
        memory.0.borrow_mut().fail = 0;
        $intuit.running.clock().advance(60);
        assert!($run(device.learn_time()));
        assert_eq!($run(device.get(COMPANY, |status, _| status)).unwrap(), 200);

        // No network: not sent, and told so.
        $intuit.running.clock().advance(3_700);
        assert!($run(device.learn_time()));
        device.net().unplugged = true;
        let failed = $run(device.get(COMPANY, |status, _| status));
        assert!(failed.is_err());
        assert!(desk.0.borrow().contains(&News::Trouble(Trouble::NotConnected)));
        assert!(matches!(desk.0.borrow().last().unwrap(), News::Stored(_)));
        device.net().unplugged = false;
        $intuit.running.clock().advance(60);
        assert!($run(device.learn_time()));

        // A refresh is answered and the answer lost; the same token again brings the same answer.
        $intuit.lose(Endpoint::Refresh);
        let lost = $run(device.drive(Input::Refresh));
        assert!(lost.is_ok(), "{lost:?}");
        let told = desk.0.borrow().iter().rev().find_map(|news| match news {
            News::Session(Tell::AnswerLost { retry_at }) => Some(*retry_at),
            _ => None,
        });
        let retry_at = told.expect("a lost answer is told");

        // The device is restarted before it tries again.
        drop(device);
        let mut buffer = [0; 4_096];
        let opened = <$device>::open(&$app, Net::default(), memory.clone(), desk.clone(), &mut buffer);
        let mut device = $run(opened).unwrap();
        let now = $intuit.running.clock().now();
        $intuit.running.clock().advance(i64::try_from(retry_at.unix().saturating_sub(now)).unwrap() + 1);
        assert!($run(device.learn_time()));
        $run(device.drive(Input::Tick)).unwrap();
        assert_eq!($run(device.get(COMPANY, |status, _| status)).unwrap(), 200);

        $run(device.drive(Input::Revoke)).unwrap();
        assert!(desk.0.borrow().contains(&News::Session(Tell::Closed(Reason::Revoked))));
        let now = $intuit.running.clock().now();
        let ended = $intuit.running.authority(|authority| authority.grants(now));
        assert_eq!(ended.len(), 1, "one code, exchanged once");
        let gone = $run(device.get(COMPANY, |status, _| status));
        assert!(matches!(gone, Err(GetError::Drive(DriveError::Session(_)))), "{gone:?}");
        device.net().connections
    }};
}

fn itself<T>(value: T) -> T {
    value
}

#[test]
fn a_blocking_device_lives() {
    let intuit = Intuit::start();
    let app = intuit.app();
    life!(intuit, app, Blocking<'_, false>, itself);
}

#[test]
fn a_blocking_device_lives_on_few_connections() {
    let intuit = Intuit::start();
    let app = intuit.app();
    let connections = life!(intuit, app, Blocking<'_, true>, itself);
    assert_eq!(connections, 1, "the restarted device needed one");
}

#[test]
fn an_async_device_lives() {
    let intuit = Intuit::start();
    let app = intuit.app();
    life!(intuit, app, Async<'_>, block_on);
}

/// The future of a refresh is dropped after each number of steps. The token is never sent twice without the session
/// knowing, and the grant lives.
#[test]
fn a_future_may_be_dropped_at_any_moment() {
    let intuit = Intuit::start();
    let app = intuit.app();
    let (memory, desk) = (Memory::default(), Desk::default());
    let mut buffer = [0; 4_096];
    let opened = Async::open(&app, Net::default(), memory, desk.clone(), &mut buffer);
    let mut device = block_on(opened).unwrap();
    assert!(block_on(device.learn_time()));
    block_on(device.drive(Input::Ask(ASK))).unwrap();
    let mut url = [0; 600];
    let callback = intuit.approve(device.authorization_url(&mut url).unwrap());
    block_on(device.drive(Input::Callback { text: &callback, binding: &[] })).unwrap();
    let mut completed = 0;
    for polls in 0..9 {
        intuit.running.clock().advance(4_000);
        assert!(block_on(device.learn_time()));
        desk.0.borrow_mut().clear();
        let done = poll_times(device.drive(Input::Refresh), polls);
        completed += usize::from(done.is_some());
        if let Some(done) = done {
            done.unwrap();
        }
        device.net().kept = None;
        // Whatever was left in flight is settled first.
        let settled = block_on(device.drive(Input::Tick));
        assert!(settled.is_ok() || matches!(settled, Err(DriveError::Session(_))), "{settled:?}");
        assert!(device.session().phase().in_flight().is_none());
        let told: Vec<News> = desk.0.borrow().clone();
        let lost = told.iter().any(|news| matches!(news, News::Session(Tell::AnswerLost { .. })));
        let unsent = told.iter().any(|news| matches!(news, News::Session(Tell::NotSent { .. })));
        match polls {
            0 => assert!(!lost && !unsent),
            1 => assert!(unsent && !lost, "no connection yet: {told:?}"),
            _ => assert!(lost || completed > 0, "{polls} {told:?}"),
        }
        intuit.running.clock().advance(120);
        assert!(block_on(device.learn_time()));
        let _ = block_on(device.drive(Input::Tick));
        assert_eq!(block_on(device.get(COMPANY, |status, _| status)).unwrap(), 200, "after {polls}");
    }
    assert!(completed > 0, "some came to their end");
}

/// A store that is waited for.
#[derive(Clone, Default)]
struct SlowMemory(Memory);

impl asynch::Store for SlowMemory {
    type Error = &'static str;

    async fn load<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, Self::Error> {
        breath().await;
        Store::load(&mut self.0, buffer)
    }

    async fn save(&mut self, revision: u32, record: &[u8]) -> Result<(), Self::Error> {
        breath().await;
        Store::save(&mut self.0, revision, record)?;
        // It is durable, and nobody knows yet.
        breath().await;
        Ok(())
    }
}

/// The same with a store that is waited for: before its record is durable a request has not left, and the authority has
/// seen none; what is settled later is the truth.
#[test]
fn a_future_may_be_dropped_in_the_middle_of_a_store() {
    let intuit = Intuit::start();
    let app = intuit.app();
    let (memory, desk) = (SlowMemory::default(), Desk::default());
    let mut buffer = [0; 4_096];
    let opened = asynch::Device::<_, _, _, 1280, 128, 128>::open(
        &app,
        Net::<false>::default(),
        memory,
        desk.clone(),
        &mut buffer,
    );
    let mut device = block_on(opened).unwrap();
    assert!(block_on(device.learn_time()));
    block_on(device.drive(Input::Ask(ASK))).unwrap();
    let mut url = [0; 600];
    let callback = intuit.approve(device.authorization_url(&mut url).unwrap());
    block_on(device.drive(Input::Callback { text: &callback, binding: &[] })).unwrap();
    let (mut completed, mut unsent, mut lost) = (0, 0, 0);
    for polls in 1..12 {
        intuit.running.clock().advance(4_000);
        assert!(block_on(device.learn_time()));
        desk.0.borrow_mut().clear();
        let seen = intuit.running.log().len();
        completed += usize::from(poll_times(device.drive(Input::Refresh), polls).is_some());
        if polls <= 3 {
            assert_eq!(intuit.running.log().len(), seen, "nothing leaves before its record is durable");
        }
        device.net().kept = None;
        let settled = block_on(device.drive(Input::Tick));
        assert!(settled.is_ok() || matches!(settled, Err(DriveError::Session(_))), "{settled:?}");
        assert!(device.session().phase().in_flight().is_none());
        let told: Vec<News> = desk.0.borrow().clone();
        let is_lost = told.iter().any(|news| matches!(news, News::Session(Tell::AnswerLost { .. })));
        let is_unsent = told.iter().any(|news| matches!(news, News::Session(Tell::NotSent { .. })));
        assert!(!is_lost || polls > 3, "{polls}: what never left cannot be lost: {told:?}");
        (lost, unsent) = (lost + usize::from(is_lost), unsent + usize::from(is_unsent));
        intuit.running.clock().advance(120);
        assert!(block_on(device.learn_time()));
        let _ = block_on(device.drive(Input::Tick));
        assert_eq!(block_on(device.get(COMPANY, |status, _| status)).unwrap(), 200, "after {polls}");
    }
    assert!(completed > 0 && unsent > 1 && lost > 1, "{completed} {unsent} {lost}");
}

#[test]
fn a_save_that_is_dropped_leaves_nothing_in_the_buffer() {
    let intuit = Intuit::start();
    let app = intuit.app();
    let mut buffer = [0; 4_096];
    {
        let opened = asynch::Device::<_, _, _, 1280, 128, 128>::open(
            &app,
            Net::<false>::default(),
            SlowMemory::default(),
            Desk::default(),
            &mut buffer,
        );
        let mut device = block_on(opened).unwrap();
        assert!(block_on(device.learn_time()));
        assert!(poll_times(device.drive(Input::Ask(ASK)), 1).is_none());
    }
    assert!(buffer.iter().all(|byte| *byte == 0));
}

#[test]
fn a_record_of_other_keys_is_not_opened() {
    let intuit = Intuit::start();
    let app = intuit.app();
    let memory = Memory::default();
    let mut buffer = [0; 4_096];
    let mut device =
        Blocking::<false>::open(&app, Net::default(), memory.clone(), Desk::default(), &mut buffer).unwrap();
    assert!(device.learn_time());
    device.drive(Input::Ask(ASK)).unwrap();
    drop(device);
    let other = common::app();
    let mut keys = KEYS;
    keys.client_id = "another";
    let stranger = App::new(other.provider(), keys).unwrap();
    let mut buffer = [0; 4_096];
    let opened =
        Blocking::<false>::open(&stranger, Net::default(), memory.clone(), Desk::default(), &mut buffer);
    assert!(matches!(opened, Err(OpenError::OtherApp)));
    memory.0.borrow_mut().record[40] ^= 1;
    let mut buffer = [0; 4_096];
    let opened = Blocking::<false>::open(&app, Net::default(), memory, Desk::default(), &mut buffer);
    assert!(matches!(opened, Err(OpenError::Damaged | OpenError::OtherApp | OpenError::Version(_))));
}
