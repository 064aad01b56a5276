//! TLS before the emulator, for a line that never ends: a device speaks one session after the other over it.
//!
//! The serial line shows no end of a connection, so the front looks at the records itself: a handshake record in the clear
//! begins a new session, whatever became of the one before it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, ServerConnection};

use crate::{Outcome, impostor};

/// Intuit's hosts, as core knows them.
const HOSTS: [&str; 3] =
    ["oauth.platform.intuit.com", "developer.api.intuit.com", "sandbox-quickbooks.api.intuit.com"];

/// What the server shows, and what is wrong with it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shown {
    /// Nothing.
    Good,
    /// It is signed by somebody whom the device does not know.
    Stranger,
    /// It is for other hosts.
    OtherHosts,
    /// It ended the year before.
    Expired,
    /// It is signed with the key of a good certificate, which is no authority's.
    ByALeaf,
    /// It is for clients.
    OtherPurpose,
    /// It is good, and whoever shows it has not got its key.
    WithoutKey,
    /// There is none in its message.
    None,
    /// There is no such message at all: see [`impostor`].
    Impostor,
}

/// How the next session is served; `None`: by the impostor.
type Server = Option<Arc<ServerConfig>>;
type Issuer = CertifiedIssuer<'static, KeyPair>;

/// An authority, the one below it, and a TLS server.
pub(crate) struct Front {
    root: Issuer,
    between: Issuer,
    shown: Arc<Mutex<Server>>,
    port: u16,
    sessions: Arc<AtomicUsize>,
}

impl Front {
    /// Listens on a free port and hands on to `backend` what comes.
    pub(crate) fn start(backend: &str) -> Outcome<Self> {
        let (root, between) = authorities("of this test")?;
        let config = config(&between, Shown::Good)?;
        let shown = Arc::new(Mutex::new(Some(config)));
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let sessions = Arc::new(AtomicUsize::new(0));
        let (theirs, count, backend) = (Arc::clone(&shown), Arc::clone(&sessions), backend.to_owned());
        // It ends with the process.
        std::thread::spawn(move || {
            for line in listener.incoming().flatten() {
                let (theirs, count, backend) = (Arc::clone(&theirs), Arc::clone(&count), backend.clone());
                std::thread::spawn(move || {
                    if let Err(why) = serve(&line, &backend, &theirs, &count) {
                        println!("    (front: {why})");
                    }
                    // The other side may have closed it already.
                    let _ = line.shutdown(Shutdown::Both);
                });
            }
        });
        Ok(Self { root, between, shown, port, sessions })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What the device has to trust.
    pub(crate) fn anchor(&self) -> &[u8] {
        self.root.der()
    }

    /// Shows another certificate from the next session on.
    pub(crate) fn show(&self, shown: Shown) -> Outcome {
        *lock(&self.shown) = match shown {
            Shown::Impostor => None,
            _ => Some(config(&self.between, shown)?),
        };
        Ok(())
    }

    /// Sessions in which something was asked.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.load(Ordering::SeqCst)
    }
}

fn authorities(name: &str) -> Outcome<(Issuer, Issuer)> {
    let params = |name: String| -> Outcome<CertificateParams> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = (date_time_ymd(2025, 1, 1), date_time_ymd(2029, 1, 1));
        Ok(params)
    };
    let root = Issuer::self_signed(params(format!("Root {name}"))?, KeyPair::generate()?)?;
    let between = Issuer::signed_by(params(format!("Authority {name}"))?, KeyPair::generate()?, &root)?;
    Ok((root, between))
}

fn config(between: &Issuer, shown: Shown) -> Outcome<Arc<ServerConfig>> {
    let hosts =
        if matches!(shown, Shown::OtherHosts) { ["a.example", "b.example", "c.example"] } else { HOSTS };
    let mut params = CertificateParams::new(hosts.map(str::to_owned))?;
    let year = if matches!(shown, Shown::Expired) { 2026 } else { 2027 };
    (params.not_before, params.not_after) = (date_time_ymd(year, 1, 1), date_time_ymd(year, 12, 31));
    params.extended_key_usages = vec![match shown {
        Shown::OtherPurpose => ExtendedKeyUsagePurpose::ClientAuth,
        _ => ExtendedKeyUsagePurpose::ServerAuth,
    }];
    let key = KeyPair::generate()?;
    let chain: Vec<CertificateDer<'static>> = match shown {
        Shown::Stranger => {
            let (_, stranger) = authorities("of a stranger")?;
            vec![params.signed_by(&key, &stranger)?.into(), stranger.der().clone()]
        }
        Shown::ByALeaf => {
            let mut leaf = params.clone();
            leaf.distinguished_name.push(DnType::CommonName, "A customer");
            let leaf = Issuer::signed_by(leaf, KeyPair::generate()?, between)?;
            vec![params.signed_by(&key, &leaf)?.into(), leaf.der().clone(), between.der().clone()]
        }
        _ => vec![params.signed_by(&key, between)?.into(), between.der().clone()],
    };
    let chain = if matches!(shown, Shown::None) { Vec::new() } else { chain };
    let key = if matches!(shown, Shown::WithoutKey) { KeyPair::generate()? } else { key };
    let provider = rustls::crypto::ring::default_provider();
    let key = provider.key_provider.load_private_key(PrivateKeyDer::try_from(key.serialize_der())?)?;
    // Nothing looks whether the two belong together.
    let shown = SingleCertAndKey::from(CertifiedKey::new(chain, key));
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shown));
    Ok(Arc::new(config))
}

/// A session: what it is encrypted with, and where what it says goes.
struct Session {
    tls: Arc<Mutex<ServerConnection>>,
    backend: Option<TcpStream>,
    /// The device has ended it.
    over: Arc<AtomicBool>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(backend) = &self.backend {
            // It may have been closed already.
            let _ = backend.shutdown(Shutdown::Both);
        }
    }
}

/// One line, until it ends.
fn serve(line: &TcpStream, backend: &str, shown: &Mutex<Server>, count: &AtomicUsize) -> Outcome {
    const HANDSHAKE: u8 = 22;
    let mut session: Option<Session> = None;
    while let Some(record) = next_record(line)? {
        if record.first() == Some(&HANDSHAKE) {
            session = None;
            let config = lock(shown).clone();
            if let Some(config) = config {
                let (tls, over) = (ServerConnection::new(config)?, Arc::default());
                session = Some(Session { tls: Arc::new(Mutex::new(tls)), backend: None, over });
            } else {
                (&mut &*line).write_all(&impostor::flight(&record)?)?;
            }
        }
        let Some(open) = &mut session else { continue };
        let mut plain = Vec::new();
        let closed = {
            let mut tls = lock(&open.tls);
            let taken = take(&mut tls, &record, &mut plain);
            let written = flush(&mut tls, line);
            match (taken, written) {
                (Ok(closed), Ok(())) => closed,
                (Err(why), _) | (_, Err(why)) => {
                    println!("    (front: {why})");
                    true
                }
            }
        };
        if !plain.is_empty() {
            if open.backend.is_none() {
                count.fetch_add(1, Ordering::SeqCst);
                open.backend = Some(answers(backend, line, &open.tls, &open.over)?);
            }
            if let Some(backend) = &mut open.backend {
                // Where it has gone meanwhile, its silence is the answer.
                let _ = backend.write_all(&plain);
            }
        }
        if closed {
            session = None;
        }
    }
    Ok(())
}

/// Takes in a record; says whether the device has ended the session.
fn take(tls: &mut ServerConnection, record: &[u8], plain: &mut Vec<u8>) -> Outcome<bool> {
    let mut rest = record;
    while !rest.is_empty() {
        tls.read_tls(&mut rest)?;
        let state = tls.process_new_packets()?;
        let mut bytes = vec![0; state.plaintext_bytes_to_read()];
        tls.reader().read_exact(&mut bytes)?;
        plain.extend(bytes);
        if state.peer_has_closed() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn flush(tls: &mut ServerConnection, mut line: &TcpStream) -> Outcome {
    while tls.wants_write() {
        tls.write_tls(&mut line)?;
    }
    Ok(())
}

/// Connects to the backend, and hands on what it answers. Where it ends without an answer, the line ends as well: that is
/// how an answer is lost.
fn answers(
    backend: &str,
    line: &TcpStream,
    tls: &Arc<Mutex<ServerConnection>>,
    over: &Arc<AtomicBool>,
) -> Outcome<TcpStream> {
    let backend = TcpStream::connect(backend)?;
    let (mut from, to) = (backend.try_clone()?, line.try_clone()?);
    let (tls, over) = (Arc::clone(tls), Arc::clone(over));
    std::thread::spawn(move || {
        let mut answered = false;
        let mut bytes = [0; 4_096];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            answered = true;
            let mut tls = lock(&tls);
            let piece = bytes.get(..count).unwrap_or_default();
            if tls.writer().write_all(piece).is_err() || flush(&mut tls, &to).is_err() {
                return;
            }
        }
        if !answered && !over.load(Ordering::SeqCst) {
            // It may have ended by itself.
            let _ = to.shutdown(Shutdown::Both);
        }
    });
    Ok(backend)
}

/// The next whole record; `None`: the line has ended.
fn next_record(mut line: &TcpStream) -> Outcome<Option<Vec<u8>>> {
    let mut record = vec![0; 5];
    if line.read_exact(&mut record).is_err() {
        return Ok(None);
    }
    let [_, _, _, high, low] = record.as_slice() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    record.resize(5 + length, 0);
    let body = record.get_mut(5..).unwrap_or_default();
    Ok(line.read_exact(body).is_ok().then_some(record))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
