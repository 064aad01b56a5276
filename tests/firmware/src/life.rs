//! What the device does: one command at a time, and a line of log for whatever happens.

use core::fmt::Write;

#[cfg(not(feature = "tls"))]
use evergrant::LocalRedirects;
use evergrant::{App, Ask, ClientSecret, Due, Input, Keys, Phase, Provider, Scopes};
use evergrant_embedded::blocking::Device;
use evergrant_embedded::{Board, News, Slots};

use crate::flash::{self, Flash, Hold};
use crate::host::{Commands, Console};
#[cfg(not(feature = "tls"))]
use crate::line::Line as Net;
use crate::machine;
use crate::stack::Stack;
#[cfg(feature = "tls")]
use crate::tls::{self, Tls as Net};

/// The line leads to the emulator, whatever its port is; only the paths count.
#[cfg(not(feature = "tls"))]
const INTUIT: Provider<'static> = Provider {
    authorization_endpoint: "http://127.0.0.1/connect/oauth2",
    token_endpoint: "http://127.0.0.1/oauth2/v1/tokens/bearer",
    revocation_endpoint: "http://127.0.0.1/v2/oauth2/tokens/revoke",
    api: "http://127.0.0.1",
    local_redirects: LocalRedirects::Localhost,
    loopback_http: true,
    ..Provider::INTUIT_SANDBOX
};
/// As Intuit is: the line leads to whoever has a certificate for these names.
#[cfg(feature = "tls")]
const INTUIT: Provider<'static> = Provider::INTUIT_SANDBOX;
const REDIRECT_URI: &str = "http://localhost:8000/callback";
const COMPANY: &str = "/v3/company/9341453000000001/companyinfo/9341453000000001";

/// Tokens as they are seen; the documented most would be 4096, 512 and 512.
type Ours<'a> = Device<'a, Net, Slots<Flash>, Desk, 1280, 128, 128>;

struct Desk;

impl Board for Desk {
    fn ticks_ms(&mut self) -> u64 {
        machine::ticks_ms()
    }

    fn tell(&mut self, news: News) {
        #[cfg(feature = "tls")]
        if let News::Clock(time) = news {
            tls::learned(time);
        }
        log(format_args!("news {news:?}"));
    }
}

fn log(line: core::fmt::Arguments<'_>) {
    // Nobody is there to be told where this fails.
    let _ = writeln!(Console, "{line}");
}

pub(crate) fn run() -> Result<(), ()> {
    let keys = Keys {
        client_id: "ABemulatorClient",
        client_secret: ClientSecret::new("emulator-secret"),
        redirect_uris: &[REDIRECT_URI],
        further_scopes: &[],
        state_key: None,
    };
    let app = App::new(&INTUIT, keys).map_err(|error| log(format_args!("app: {error}")))?;
    let flash = Flash::open().ok_or_else(|| log(format_args!("there is no flash")))?;
    let slots = Slots::new(flash, 0..flash::SIZE, flash::SLOTS)
        .map_err(|error| log(format_args!("slots: {error}")))?;
    let mut buffer = [0; 4_096];
    #[cfg(not(feature = "tls"))]
    let net = Net;
    #[cfg(feature = "tls")]
    let net = Net::open().ok_or_else(|| log(format_args!("there is no trust anchor or no entropy")))?;
    let device = Ours::open(&app, net, slots, Desk, &mut buffer);
    let mut device = device.map_err(|error| log(format_args!("open: {error}")))?;
    let Phase { revision, grant, .. } = *device.session().phase();
    log(format_args!("{} ready, revision {revision}, {grant:?}", machine::NAME));
    let mut commands = Commands::open().ok_or_else(|| log(format_args!("there are no commands")))?;
    let mut line = [0; 1_024];
    let stack = Stack::paint();
    loop {
        let command = commands.next(&mut line);
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        if verb == "quit" {
            return Ok(());
        }
        if verb == "stack" {
            log(format_args!("stack {}", stack.deepest()));
        }
        obey(&mut device, verb, rest);
        log(format_args!("done {verb}"));
    }
}

fn obey(device: &mut Ours<'_>, verb: &str, rest: &str) {
    let driven = match verb {
        "time" => {
            log(format_args!("time {}", if device.learn_time() { "known" } else { "unknown" }));
            return;
        }
        "get" => {
            match device.get(COMPANY, |status, body| (status, contains(body, b"CompanyName"))) {
                Ok((status, named)) => log(format_args!("api {status}, company {named}")),
                Err(error) => log(format_args!("error {error}")),
            }
            return;
        }
        "url" => {
            let mut url = [0; 600];
            match device.authorization_url(&mut url) {
                Ok(url) => log(format_args!("url {url}")),
                Err(error) => log(format_args!("error {error}")),
            }
            return;
        }
        "due" => {
            let now = device.now();
            match device.due() {
                Due::Tick(at) => log(format_args!("due in {}", at.since(now))),
                due => log(format_args!("due {due:?}")),
            }
            return;
        }
        "hold" => {
            let numbers =
                rest.split_once(' ').and_then(|(saves, words)| saves.parse().ok().zip(words.parse().ok()));
            device.store().flash_mut().hold =
                numbers.map(|(saves, words)| Hold { saves, words, begun: false });
            return;
        }
        "ask" => {
            // A device brings its own entropy; this one has none but the user's.
            let mut random = [0; 64];
            random.iter_mut().zip(rest.bytes()).for_each(|(to, from)| *to = from);
            device.drive(Input::Ask(Ask { redirect_uri: REDIRECT_URI, scopes: Scopes::ACCOUNTING, random }))
        }
        "callback" => device.drive(Input::Callback { text: rest, binding: &[] }),
        "tick" => device.drive(Input::Tick),
        "refresh" => device.drive(Input::Refresh),
        "revoke" => device.drive(Input::Revoke),
        "stack" => return,
        _ => return log(format_args!("unknown command")),
    };
    if let Err(error) = driven {
        log(format_args!("error {error}"));
    }
}

fn contains(body: &[u8], what: &[u8]) -> bool {
    body.windows(what.len()).any(|window| window == what)
}
