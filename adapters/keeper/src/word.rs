//! What a process knows of its call and the store does not: that it was not sent, or was answered without tokens. It is spilled beside
//! tokens, under a name that no row has.

use evergrant_vault::{Loaded, Name, Record, Spilled};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::inner::Inner;

/// An intent whose claim was not answered. It may stand in the store, or never have come there.
pub(crate) struct Intent {
    /// Whose it is: another process may have written the same to the letter, in the same second, and sent it.
    pub(crate) writer: u64,
    pub(crate) record: Zeroizing<Vec<u8>>,
}

impl Intent {
    /// Whether it is what the row holds.
    pub(crate) fn is(&self, row: &Loaded) -> bool {
        row.written_by == Some(self.writer) && *self.record == row.record.expose()
    }
}

/// The word in the form of a record: the intent, if it is not known to have been written, and what its row is to say in its place.
pub(crate) fn spilled(inner: &Inner, ours: &Spilled, intent: Option<&Intent>) -> Result<Spilled, Error> {
    let (writer, record) = intent.map_or((0, &[][..]), |intent| (intent.writer, &intent.record[..]));
    let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
    let head = writer.to_le_bytes().into_iter().chain(length.to_le_bytes());
    let rest = record.iter().chain(ours.record.expose()).copied();
    let bytes = Zeroizing::new(head.chain(rest).collect::<Vec<u8>>());
    let name = Name::new(app(inner), ours.name.environment(), ours.name.realm())?;
    Ok(Spilled { name, record: Record::from(&bytes[..]), ..ours.clone() })
}

pub(crate) fn is_one(inner: &Inner, spilled: &Spilled) -> bool {
    spilled.name.app() == app(inner)
}

/// The intent, and what its row is to say in its place.
pub(crate) fn read(word: &[u8]) -> Option<(Option<Intent>, &[u8])> {
    let (writer, rest) = word.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (intent, ours) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    let intent = (!intent.is_empty())
        .then(|| Intent { writer: u64::from_le_bytes(*writer), record: Zeroizing::new(intent.to_vec()) });
    Some((intent, ours))
}

fn app(inner: &Inner) -> String {
    format!("word-{}", inner.app_text)
}
