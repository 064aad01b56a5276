//! `evergrant doctor`.
use crate::args;
use crate::failure::Result;

pub(crate) fn run(_global: &args::Global, _arguments: &args::Doctor) -> Result<()> {
    Ok(())
}
