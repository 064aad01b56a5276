//! Over real sockets and a real file: the emulator's server, SQLite, the layer, and the blocking face.
#![cfg(feature = "tower")]

mod emulated;

use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use emulated::*;
use evergrant_emulator::server::Running;
use evergrant_keeper::{Blocking, Builder, Error, ForRealm, Keeper, KeeperLayer, LayerError, StartError};
use evergrant_reqwest::{Client, Options as HttpOptions};
use evergrant_vault::{Keys as VaultKeys, OnThreads, Sqlite};
use http::{Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

fn builder(emulator: &Arc<Running>, home: &std::path::Path) -> Builder {
    let store = Sqlite::open(&home.join("vault.db"), VaultKeys::File(&home.join("vault.key"))).unwrap();
    let http = Client::new(HttpOptions::of(app(emulator).provider())).unwrap();
    Keeper::builder(app(emulator), OnThreads::new(store), http).clock(Emulated(Arc::clone(emulator)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_keepers_on_one_file_exchange_once_and_refresh_once() {
    let (emulator, home) = (emulator(), tempfile::tempdir().unwrap());
    let keepers = [0, 1].map(|_| builder(&emulator, home.path()).start().unwrap());
    let callback = browse(&keepers[0].connect(&CONSENT).unwrap());
    let tasks: Vec<_> = (0..8)
        .map(|at| {
            let (keeper, callback) = (keepers[at % 2].clone(), callback.clone());
            tokio::spawn(async move { keeper.callback(&callback, b"").await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().realm, REALM);
    }
    assert_eq!(exchanges(&emulator), 1);

    emulator.clock().advance(3_600);
    let tasks: Vec<_> = (0..200)
        .map(|at| {
            let keeper = keepers[at % 2].clone();
            tokio::spawn(async move { keeper.access_token(REALM).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(refreshes(&emulator), 1);
    for keeper in &keepers {
        keeper.shutdown().await;
    }
}

#[test]
fn a_program_without_a_runtime_blocks() {
    let (emulator, home) = (emulator(), tempfile::tempdir().unwrap());
    let keeper = Blocking::start(async { Ok::<_, StartError>(builder(&emulator, home.path())) }).unwrap();
    assert!(matches!(keeper.access_token(REALM), Err(Error::NotConnected)));
    let callback = browse(&keeper.connect(&CONSENT).unwrap());
    assert_eq!(keeper.callback(&callback, b"").unwrap().realm, REALM);
    emulator.clock().advance(3_600);
    let threads: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> =
            (0..16).map(|_| scope.spawn(|| keeper.access_token(REALM).unwrap().id())).collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(threads.iter().all(|id| *id == threads[0]));
    assert_eq!(refreshes(&emulator), 1);
    // Inside of a runtime as well, where `block_on` would panic.
    let inside = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(inside.block_on(async { keeper.access_token(REALM) }).is_ok());
    emulator.clock().advance(120);
    // REV-2: anyone can send that redirect. It makes a refresh due, and the grant goes on.
    keeper.disconnected(REALM).unwrap();
    assert_eq!(refreshes(&emulator), 2);
    assert!(keeper.access_token(REALM).is_ok());
    keeper.shutdown();
    assert!(matches!(keeper.disconnected(REALM), Err(Error::ShuttingDown)));
    assert!(!keeper.status().unwrap().ready);
}

/// An API that answers 401 to all tokens but those that it was told of.
#[derive(Clone, Default)]
struct Api {
    refused: Arc<Mutex<Vec<String>>>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Service<Request<String>> for Api {
    type Response = Response<String>;
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Response<String>, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let header = request.headers().get("authorization").unwrap();
        assert!(header.is_sensitive());
        let token = header.to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
        let refused = self.refused.lock().unwrap().contains(&token);
        self.seen.lock().unwrap().push(format!("{} {}", request.body(), token));
        let mut response = Response::new(String::new());
        *response.status_mut() = if refused { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
        ready(Ok(response))
    }
}

type Called<'a> =
    Pin<Box<dyn Future<Output = Result<Response<String>, LayerError<std::convert::Infallible>>> + Send + 'a>>;

fn call<S>(service: &mut S, url: &str, realm: Option<&str>) -> Called<'static>
where
    S: Service<
            Request<String>,
            Response = Response<String>,
            Error = LayerError<std::convert::Infallible>,
            Future = Called<'static>,
        >,
{
    let mut request = Request::builder().uri(url).body("order".to_owned()).unwrap();
    if let Some(realm) = realm {
        request.extensions_mut().insert(ForRealm(realm.to_owned()));
    }
    service.call(request)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_layer_puts_the_token_in_and_answers_a_401_with_one_repeat() {
    let (emulator, home) = (emulator(), tempfile::tempdir().unwrap());
    let keeper = builder(&emulator, home.path()).start().unwrap();
    let callback = browse(&keeper.connect(&CONSENT).unwrap());
    keeper.callback(&callback, b"").await.unwrap();
    let token = keeper.access_token(REALM).await.unwrap();
    // A token that was issued a moment ago is not replaced.
    emulator.clock().advance(120);
    let api = Api::default();
    let url = format!("{}/v3/company/{REALM}/companyinfo/{REALM}", emulator.addresses().api);
    let mut service = KeeperLayer::new(keeper.clone()).layer(api.clone());

    assert_eq!(call(&mut service, &url, Some(REALM)).await.unwrap().status(), 200);
    api.refused.lock().unwrap().push(token.expose().to_owned());
    assert_eq!(call(&mut service, &url, Some(REALM)).await.unwrap().status(), 200);
    assert_eq!(refreshes(&emulator), 1);
    let seen = api.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 3, "one repeat");
    assert!(seen.iter().all(|seen| seen.starts_with("order ")));

    assert!(matches!(call(&mut service, &url, None).await, Err(LayerError::NoRealm)));
    let elsewhere = call(&mut service, "https://elsewhere.example/v3", Some(REALM)).await;
    assert!(matches!(elsewhere, Err(LayerError::OtherHost)));
    assert_eq!(api.seen.lock().unwrap().len(), 3, "neither was sent");

    let mut streaming = KeeperLayer::with_copy(keeper.clone(), |_: &String| None).layer(api.clone());
    let current = keeper.access_token(REALM).await.unwrap();
    emulator.clock().advance(120);
    api.refused.lock().unwrap().push(current.expose().to_owned());
    assert_eq!(call(&mut streaming, &url, Some(REALM)).await.unwrap().status(), 401, "its body is gone");
    assert_ne!(keeper.access_token(REALM).await.unwrap().id(), current.id());
}
