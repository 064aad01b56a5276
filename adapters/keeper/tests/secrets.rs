//! No token, no code and no client secret in anything that is told (I6): every level of `tracing`, every error, every rendering.

mod common;

use std::io::Write;
use std::sync::{Arc, Mutex};

use common::*;
use evergrant_emulator::authority::Policy as Rotation;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_that_is_told_holds_a_secret() {
    let captured = Captured::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(captured.clone())
        .with_ansi(false)
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (world, store) = (World::new(Rotation::GRACE), Shaky::new());
    let keeper = keeper(&world, store.clone());
    let mut told = String::new();
    let mut secrets = vec![SECRET.to_owned()];
    for number in 0..4 {
        connect(&world, &keeper, &realm(number)).await;
    }
    let twice = world.consent(&keeper.connect(&CONSENT).unwrap(), &realm(1));
    told += &format!("{:?}", keeper.callback(&twice, b"no cookie").await);
    told += &format!("{:?} {CONSENT:?}", keeper.callback(&format!("{twice}x"), b"cookie").await);
    let harms =
        [Harm::LostAfter, Harm::NotSent, Harm::Status(503), Harm::Status(429), Harm::Refused, Harm::None];
    for harm in harms {
        world.harm(move |_| harm);
        seconds(3_700).await;
        for number in 0..4 {
            let asked = keeper.access_token(&realm(number)).await;
            told += &format!("{asked:?}");
            match asked {
                Ok(token) => {
                    told += &format!("{:?}", keeper.rejected(&realm(number), &token).await);
                    secrets.push(token.expose().to_owned());
                }
                Err(error) => told += &error.to_string(),
            }
        }
    }
    store.down.store(true, std::sync::atomic::Ordering::SeqCst);
    seconds(3_700).await;
    let error = keeper.access_token(&realm(0)).await.unwrap_err();
    told += &format!("{error:?} {error} {keeper:?} {:?}", keeper.status());
    secrets.extend(world.sent.lock().unwrap().iter().map(|sent| sent.secret.clone()));
    told += &String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    assert!(told.contains("answer_lost") && told.contains("taken for an outage"), "{told}");
    secrets.retain(|secret| !secret.is_empty());
    assert!(secrets.len() > 20);
    for secret in secrets {
        assert!(!told.contains(&secret), "{} bytes of a secret are told", secret.len());
    }
}
