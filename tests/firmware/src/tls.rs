//! TLS 1.3 over the serial line, a handshake for each request.
//!
//! `embedded-tls` speaks the protocol and leaves the certificate to its caller. [`Judge`] holds it against one trust anchor
//! with rustls' webpki: the chain with its constraints, the dates, the purpose and the name; then the server's signature
//! over the handshake.

use core::fmt::{self, Write as _};
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use embedded_io::{ErrorType, Read, Write};
use embedded_tls::blocking::{
    Aes128GcmSha256, CertificateEntryRef, CertificateRef, CertificateVerifyRef, CryptoProvider, TlsConfig,
    TlsConnection, TlsContext, TlsError, TlsVerifier,
};
use embedded_tls::{CryptoRngCore, SignatureScheme};
use evergrant::Time;
use evergrant_embedded::Target;
use evergrant_embedded::blocking::Connect;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{DerSignature, VerifyingKey};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, ServerName, SignatureVerificationAlgorithm,
    UnixTime, alg_id,
};
use sha2::{Digest, Sha256};
use static_cell::ConstStaticCell;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::host::{Console, File};
use crate::line::Line;
use crate::machine::ticks_ms;

/// Bytes of the largest record that a server may send: no server has to agree to smaller ones.
const INCOMING: usize = 16_640;
/// Bytes of the records that are sent.
const OUTGOING: usize = 2_048;
/// Bytes of the trust anchor, and of the server's own certificate.
const CERTIFICATE: usize = 2_048;
/// Certificates between the two.
const BETWEEN: usize = 4;
/// Milliseconds of silence after which nothing is left on the line of what was there before.
const SILENCE_MS: u64 = 30;

/// The time as far as the device has learned it, in seconds, and where the counter stood then; 0: it has not.
static LEARNED: [AtomicU32; 2] = [AtomicU32::new(0), AtomicU32::new(0)];

/// The device's clock was set: from now on certificates are judged by it.
pub(crate) fn learned(time: Time) {
    for (place, seconds) in LEARNED.iter().zip([time.unix(), ticks_ms() / 1_000]) {
        place.store(u32::try_from(seconds).unwrap_or(u32::MAX), Ordering::Relaxed);
    }
}

fn now() -> Option<u64> {
    let [time, at] = LEARNED.each_ref().map(|place| u64::from(place.load(Ordering::Relaxed)));
    (time > 0).then(|| time + (ticks_ms() / 1_000).saturating_sub(at))
}

static ANCHOR_PLACE: ConstStaticCell<[u8; CERTIFICATE]> = ConstStaticCell::new([0; CERTIFICATE]);
static INCOMING_PLACE: ConstStaticCell<[u8; INCOMING]> = ConstStaticCell::new([0; INCOMING]);
static OUTGOING_PLACE: ConstStaticCell<[u8; OUTGOING]> = ConstStaticCell::new([0; OUTGOING]);

/// The network: the line, and what TLS needs of its own.
pub(crate) struct Tls {
    line: Line,
    random: ChaCha20Rng,
    anchor: &'static [u8],
    incoming: &'static mut [u8],
    outgoing: &'static mut [u8],
}

impl Tls {
    /// With the trust anchor and the entropy that the board has. Here they are files; a board has them in its flash and in
    /// a generator.
    pub(crate) fn open() -> Option<Self> {
        let mut seed = [0; 32];
        if !File::open(c"entropy")?.read(0, &mut seed) {
            return None;
        }
        let place = ANCHOR_PLACE.try_take()?;
        let length = File::open(c"anchor.der")?.read_some(0, place);
        Some(Self {
            line: Line,
            random: ChaCha20Rng::from_seed(seed),
            anchor: place.get(..length)?,
            incoming: INCOMING_PLACE.try_take()?,
            outgoing: OUTGOING_PLACE.try_take()?,
        })
    }
}

/// Why there is no connection.
pub(crate) enum Refused {
    /// The URL does not ask for TLS.
    Plain,
    /// The handshake came to its end, and nobody has proven to be the server.
    Unproven,
    /// The handshake failed; in the second, what is wrong with the certificate.
    Handshake(TlsError, Option<webpki::Error>),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => f.write_str("the URL does not ask for TLS"),
            Self::Unproven => f.write_str("the server did not prove who it is"),
            Self::Handshake(_, Some(why)) => write!(f, "the certificate is not good: {why:?}"),
            Self::Handshake(error, None) => write!(f, "the handshake failed: {error:?}"),
        }
    }
}

impl Connect for Tls {
    type Connection<'c> = Connection<'c>;
    type Error = Refused;

    fn connect<'c>(&'c mut self, target: &Target<'_>) -> Result<Connection<'c>, Refused> {
        let connected = self.handshake(target);
        if let Err(why) = &connected {
            // Nobody is there to be told where this fails.
            let _ = writeln!(Console, "tls: {why}");
        }
        connected
    }
}

impl Tls {
    fn handshake<'c>(&'c mut self, target: &Target<'_>) -> Result<Connection<'c>, Refused> {
        if !target.secure() {
            return Err(Refused::Plain);
        }
        self.line.silence(SILENCE_MS);
        let judge = Judge::new(self.anchor, target.host(), now());
        let mut board = Crypto { random: &mut self.random, judge };
        let config = TlsConfig::new().with_server_name(target.host());
        let mut tls = TlsConnection::new(&mut self.line, self.incoming, self.outgoing);
        let opened = tls.open(TlsContext::new(&config, &mut board));
        opened.map_err(|error| Refused::Handshake(error, board.judge.why))?;
        // The library is content with a handshake that has neither certificate nor signature.
        if board.judge.proven { Ok(Connection(Some(tls))) } else { Err(Refused::Unproven) }
    }
}

/// A connection whose server has proven who it is. It says goodbye when it goes.
pub(crate) struct Connection<'c>(Option<TlsConnection<'c, &'c mut Line, Aes128GcmSha256>>);

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        // Whoever does not hear it notices by the silence.
        let _ = self.0.take().map(TlsConnection::close);
    }
}

impl ErrorType for Connection<'_> {
    type Error = TlsError;
}

impl Read for Connection<'_> {
    fn read(&mut self, room: &mut [u8]) -> Result<usize, TlsError> {
        match self.0.as_mut().ok_or(TlsError::ConnectionClosed)?.read(room) {
            Err(TlsError::ConnectionClosed) => Ok(0),
            other => other,
        }
    }
}

impl Write for Connection<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, TlsError> {
        self.0.as_mut().ok_or(TlsError::ConnectionClosed)?.write(bytes)
    }

    fn flush(&mut self) -> Result<(), TlsError> {
        self.0.as_mut().ok_or(TlsError::ConnectionClosed)?.flush()
    }
}

struct Crypto<'a> {
    random: &'a mut ChaCha20Rng,
    judge: Judge<'a>,
}

impl CryptoProvider for Crypto<'_> {
    type CipherSuite = Aes128GcmSha256;
    type Signature = DerSignature;

    fn rng(&mut self) -> impl CryptoRngCore {
        &mut *self.random
    }

    fn verifier(&mut self) -> Result<&mut impl TlsVerifier<Aes128GcmSha256>, TlsError> {
        Ok(&mut self.judge)
    }
}

/// Says whether the server is the one that is meant.
struct Judge<'a> {
    anchor: CertificateDer<'a>,
    host: &'a str,
    now: Option<u64>,
    /// The server's own certificate, once its chain was found good.
    leaf: heapless::Vec<u8, CERTIFICATE>,
    transcript: Option<Sha256>,
    why: Option<webpki::Error>,
    /// Certificate and signature were both there, and both good.
    proven: bool,
}

impl<'a> Judge<'a> {
    fn new(anchor: &'a [u8], host: &'a str, now: Option<u64>) -> Self {
        let anchor = CertificateDer::from_slice(anchor);
        Self { anchor, host, now, leaf: heapless::Vec::new(), transcript: None, why: None, proven: false }
    }

    /// The chain up to the anchor, the dates, the purpose, the name.
    fn chain(&self, chain: &CertificateRef<'_>) -> Result<(), webpki::Error> {
        let mut certificates = chain.entries.iter().filter_map(der);
        let leaf = CertificateDer::from_slice(certificates.next().ok_or(webpki::Error::BadDer)?);
        let mut between: heapless::Vec<CertificateDer<'_>, BETWEEN> = heapless::Vec::new();
        for certificate in certificates {
            let pushed = between.push(CertificateDer::from_slice(certificate));
            pushed.map_err(|_| webpki::Error::MaximumPathDepthExceeded)?;
        }
        let anchors = [anchor_from_trusted_cert(&self.anchor)?];
        let leaf = EndEntityCert::try_from(&leaf)?;
        let mut time = UnixTime::since_unix_epoch(Duration::from_secs(self.now.unwrap_or(0)));
        loop {
            let usage = KeyUsage::server_auth();
            match leaf.verify_for_usage(&[&P256], &anchors, &between, time, usage, None, None) {
                // Without a clock the dates can only be held against each other: the chain is looked at as of the moment
                // from which on it was good. Such a connection brings the time and nothing else.
                Err(webpki::Error::CertNotValidYet { not_before, .. })
                    if self.now.is_none() && not_before > time =>
                {
                    time = not_before;
                }
                Err(error) => return Err(error),
                Ok(_) => break,
            }
        }
        let name = ServerName::try_from(self.host).map_err(|_| webpki::Error::UnsupportedNameType)?;
        leaf.verify_is_valid_for_subject_name(&name)
    }
}

fn der<'a>(entry: &'a CertificateEntryRef<'a>) -> Option<&'a [u8]> {
    match entry {
        CertificateEntryRef::X509(der) => Some(der),
        CertificateEntryRef::RawPublicKey(_) => None,
    }
}

impl TlsVerifier<Aes128GcmSha256> for Judge<'_> {
    fn set_hostname_verification(&mut self, _: &str) -> Result<(), TlsError> {
        // It was told at its making.
        Ok(())
    }

    fn verify_certificate(&mut self, transcript: &Sha256, chain: CertificateRef<'_>) -> Result<(), TlsError> {
        self.proven = false;
        self.transcript = None;
        self.leaf.clear();
        self.chain(&chain).map_err(|why| {
            self.why = Some(why);
            TlsError::InvalidCertificate
        })?;
        let leaf = chain.entries.first().and_then(der).unwrap_or_default();
        self.leaf.extend_from_slice(leaf).map_err(|_| TlsError::OutOfMemory)?;
        self.transcript = Some(transcript.clone());
        Ok(())
    }

    fn verify_signature(&mut self, verify: CertificateVerifyRef<'_>) -> Result<(), TlsError> {
        let transcript = self.transcript.take().ok_or(TlsError::InvalidHandshake)?;
        if verify.signature_scheme != SignatureScheme::EcdsaSecp256r1Sha256 {
            return Err(TlsError::InvalidSignatureScheme);
        }
        // RFC 8446 §4.4.3: spaces, the purpose, a zero, the transcript's hash.
        let mut message: heapless::Vec<u8, 130> = heapless::Vec::new();
        for part in [&[b' '; 64], b"TLS 1.3, server CertificateVerify\0".as_slice(), &transcript.finalize()] {
            message.extend_from_slice(part).map_err(|_| TlsError::EncodeError)?;
        }
        let leaf = CertificateDer::from_slice(&self.leaf);
        let verified = EndEntityCert::try_from(&leaf)
            .and_then(|leaf| leaf.verify_signature(&P256, &message, verify.signature));
        self.why = verified.err();
        self.proven = self.why.is_none();
        if self.proven { Ok(()) } else { Err(TlsError::InvalidSignature) }
    }
}

/// ECDSA on P-256 with SHA-256, by the crate whose curve the handshake uses as well.
struct P256;

impl fmt::Debug for P256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("P256")
    }
}

impl SignatureVerificationAlgorithm for P256 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = VerifyingKey::from_sec1_bytes(public_key).map_err(|_| InvalidSignature)?;
        let signature = DerSignature::try_from(signature).map_err(|_| InvalidSignature)?;
        key.verify(message, &signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P256
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA256
    }
}
