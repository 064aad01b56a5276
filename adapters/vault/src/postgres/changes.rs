//! What other processes changed, told as it happens.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc::{Receiver, Sender, channel},
    task::JoinHandle,
    time::{interval, sleep, timeout},
};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    Postgres,
    connection::{Fail, Lent},
};
use crate::{Error, Name};

/// Room for changes that nobody has fetched yet. What does not fit is told as [`Change::Missed`].
const ROOM: usize = 1024;
/// A connection on which nothing comes could be dead: it is asked from time to time.
const ASK_EVERY: Duration = Duration::from_secs(20);

/// News of a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A row was written, removed, or its lease given back (perhaps by this process).
    Row {
        /// Which one.
        name: Name,
        /// The generation of its record; `None` where the row was removed. Whoever holds that generation or a later one has
        /// nothing to read.
        generation: Option<u64>,
    },
    /// Something may have been missed: the connection was lost, or the news came faster than they were fetched. Whatever is held
    /// in memory must be read again before it is relied on.
    Missed,
}

/// A stream of [`Change`]s. Dropping it ends it, with its connection.
#[derive(Debug)]
pub struct Changes {
    news: Receiver<Change>,
    missed: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Changes {
    /// The next change. `None` when the runtime shuts down.
    ///
    /// Safe to drop before it is ready: no change is lost by it.
    pub async fn next(&mut self) -> Option<Change> {
        if self.missed.swap(false, Ordering::AcqRel) {
            // What waits in the room is older than what was missed.
            while self.news.try_recv().is_ok() {}
            return Some(Change::Missed);
        }
        self.news.recv().await
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Postgres {
    /// Listens for changes that any process makes to this vault, on a connection of its own. It hears what happens from the
    /// moment that this has answered.
    ///
    /// A hint that spares waiting, and nothing more: every claim reads again all the same (REF-3). Changes name rows, never
    /// records. A lost connection is made anew by itself, and told as [`Change::Missed`].
    ///
    /// Returns [`Error::Unreachable`] or [`Error::Database`] where the first connection cannot be made.
    pub async fn changes(&self) -> Result<Changes, Error> {
        let (sender, news) = channel(ROOM);
        let missed = Arc::new(AtomicBool::new(false));
        let listener = Listener {
            config: self.address.config.clone(),
            tls: self.address.tls.clone(),
            channel: self.channel(),
            patience: self.patience,
            sender,
            missed: Arc::clone(&missed),
        };
        let mut patience = self.patience();
        let first = loop {
            let fail = match patience.within(listener.connect()).await {
                Ok(first) => break first,
                Err(fail) => fail,
            };
            patience.after(fail).await.map_err(|fail| fail.named(&self.place, "listen for changes"))?;
        };
        Ok(Changes { news, missed, task: tokio::spawn(listener.run(first)) })
    }

    /// Tells the others. After the write and not in it: a statement that writes and notifies holds a lock of the whole server
    /// until its bytes are on the disk, one after the other. A notification that gets lost costs a wait, nothing else.
    pub(super) async fn tell(&self, lent: &Lent, name: &Name, generation: Option<u64>) {
        let generation = generation.map_or(String::new(), |generation| generation.to_string());
        let text = format!("{generation}\n{}\n{}\n{}", name.app(), name.environment(), name.realm());
        let _ = lent.execute("SELECT pg_notify($1, $2)", &[&self.channel(), &text]).await;
    }
}

/// A change as it is told: generation and name, a line each. No part of a name holds a line break.
fn heard(text: &str) -> Option<Change> {
    let mut lines = text.split('\n');
    let generation = match lines.next()? {
        "" => None,
        number => Some(number.parse().ok()?),
    };
    let name = Name::new(lines.next()?, lines.next()?, lines.next()?).ok()?;
    Some(Change::Row { name, generation })
}

struct Listener {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    channel: String,
    patience: Duration,
    sender: Sender<Change>,
    missed: Arc<AtomicBool>,
}

/// A connection that listens: its questions go to the client; the task reads what comes, and ends with the connection.
struct Listening {
    client: Client,
    reader: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Listener {
    async fn run(self, first: Listening) {
        let mut listening = Some(first);
        while !self.sender.is_closed() {
            if let Some(mut listening) = listening.take() {
                self.until_it_breaks(&mut listening).await;
            }
            // What happened since it broke is not known; what happens from here on is heard.
            listening = timeout(self.patience, self.connect()).await.ok().and_then(Result::ok);
            match listening {
                Some(_) => self.tell(Change::Missed),
                None => sleep(Duration::from_millis(200)).await,
            }
        }
    }

    async fn until_it_breaks(&self, listening: &mut Listening) {
        let mut ask = interval(ASK_EVERY);
        loop {
            tokio::select! {
                () = self.sender.closed() => return,
                _ = &mut listening.reader => return,
                _ = ask.tick() => {}
            }
            let answer = timeout(self.patience, listening.client.simple_query("")).await;
            if !matches!(answer, Ok(Ok(_))) {
                return;
            }
        }
    }

    async fn connect(&self) -> Result<Listening, Fail> {
        match self.tls.clone() {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls).await?;
                self.listen(client, connection).await
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                self.listen(client, connection).await
            }
        }
    }

    async fn listen<S, T>(&self, client: Client, connection: Connection<S, T>) -> Result<Listening, Fail>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, missed) = (self.sender.clone(), Arc::clone(&self.missed));
        let reader = tokio::spawn(read(connection, sender, missed));
        let listening = Listening { client, reader };
        listening.client.batch_execute(&format!("LISTEN \"{}\"", self.channel)).await?;
        Ok(listening)
    }

    fn tell(&self, change: Change) {
        pass_on(&self.sender, &self.missed, change);
    }
}

/// Reads until the connection ends. Never waits for whoever fetches: the server would have to keep what is not read.
async fn read<S, T>(mut connection: Connection<S, T>, sender: Sender<Change>, missed: Arc<AtomicBool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notification(said) = message
            && let Some(change) = heard(said.payload())
        {
            pass_on(&sender, &missed, change);
        }
    }
}

fn pass_on(sender: &Sender<Change>, missed: &AtomicBool, change: Change) {
    if sender.try_send(change).is_err() {
        missed.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_we_tell_is_heard() {
        let name = Name::new("app", "intuit-sandbox", "9130").unwrap();
        let row = |generation| Some(Change::Row { name: name.clone(), generation });
        assert_eq!(heard("7\napp\nintuit-sandbox\n9130"), row(Some(7)));
        assert_eq!(heard("\napp\nintuit-sandbox\n9130"), row(None));
        for noise in ["", "7", "x\napp\nenv\n1", "7\napp\n\n9130", "-1\na\nb\nc"] {
            assert_eq!(heard(noise), None, "{noise:?}");
        }
    }
}
