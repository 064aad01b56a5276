//! The stored record: any bytes, through its own reader and both deserializers.

use std::sync::LazyLock;

use evergrant::{App, Record, Time};
use faq::world::{Life, MODELS, World, sandbox};

/// A record of a linked session, as the store has it.
static GOOD: LazyLock<String> =
    LazyLock::new(|| World::linked(MODELS[0]).store.text.expect("a consent is stored"));

/// Any bytes: no reader panics, what the record's own reader takes both deserializers take alike, what the server's takes the
/// device's does, and what a session takes it writes again as it was. A first byte of `!` says that what follows is laid over a good record.
pub fn record(data: &[u8]) {
    match data.split_first() {
        Some((b'!', patches)) => {
            let mut text = GOOD.clone().into_bytes();
            for patch in patches.chunks_exact(3) {
                let at = usize::from(u16::from_be_bytes([patch[0], patch[1]])) % text.len();
                text[at] = patch[2];
            }
            read(&text);
        }
        _ => read(data),
    }
}

fn read(text: &[u8]) {
    let app = sandbox();
    let own = Record::read(text);
    let server = serde_json::from_slice::<Record<'_>>(text);
    let device = serde_json_core::from_slice::<Record<'_>>(text);
    if let Ok(record) = &own {
        let other = server.as_ref().unwrap_or_else(|error| panic!("serde_json refuses it: {error:?}"));
        assert_eq!(record.phase(), other.phase());
        assert_eq!(taken(&app, record), taken(&app, other), "the two read it differently");
    }
    if let Ok(record) = &server {
        let (other, _) = device.as_ref().unwrap_or_else(|error| panic!("the device refuses it: {error:?}"));
        assert_eq!(record.revision(), other.revision());
        assert_eq!(record.phase(), other.phase());
        let one = taken(&app, record);
        assert_eq!(one, taken(&app, other), "the two read it differently");
    }
    if let Ok((record, _)) = &device {
        let _ = taken(&app, record);
        let _ = format!("{record:?}");
    }
}

/// What a session makes of it: nothing, or a record that reads back as itself.
fn taken(app: &App<'_>, record: &Record<'_>) -> Option<String> {
    let session = Life::restore(app, record).ok()?;
    let text = serde_json::to_string(&session.record(app)).expect("a record is written");
    let again = Record::read(text.as_bytes()).expect("a record is read");
    let back = Life::restore(app, &again).expect("what was written is taken");
    assert_eq!(back.phase(), session.phase());
    let second = serde_json::to_string(&back.record(app)).expect("a record is written");
    assert_eq!(text, second, "half read");
    let mut session = back;
    let now = Time::from_unix(1_800_000_000);
    let _ = session.handle(app, now, evergrant::Input::Tick);
    let _ = session.due(app);
    Some(text)
}
