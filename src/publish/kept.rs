//! The compiled table, kept for the next start: a restart then reads it instead of compiling.
//!
//! It is written some time after a change, when changes pause, because it is tens of megabytes and
//! nothing depends on it. Its key names the state that a restart would find, the geography and the
//! settings; with any other it is as good as none (see [`super::cache`]).

use super::Publisher;
use super::cache::{Cache, Key, key_of};
use super::store::Store;
use crate::geo::Geography;
use crate::snapshot::{Compiled, Compiler, KEPT_VERSION, Settings};
use crate::table::Table;
use crate::units::UnixMs;
use std::sync::Arc;

/// The part of the cache that holds the views.
const NAME: &str = "views";

/// Time between two writes, milliseconds, at least.
const REST_MS: u64 = 10_000;

/// What is known of the kept views.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Whose views are written.
    written: Option<Key>,
    /// When they were.
    at: UnixMs,
    /// Whose views were served at the last look.
    seen: Option<Key>,
}

impl Kept {
    /// Whether the views of `key`, looked at `now`, are to be written: they are others than those
    /// written, were served at the last look already, and the last write is some time ago.
    fn is_due(&mut self, key: Key, now: UnixMs) -> bool {
        let is_settled = self.seen.replace(key) == Some(key);
        let has_rested = self.written.is_none() || now.0.saturating_sub(self.at.0) >= REST_MS;
        self.written != Some(key) && is_settled && has_rested
    }
}

#[cfg(test)]
impl Kept {
    /// Whether views of some state are written, by this process or one before it.
    pub(super) fn is_of_a_state(&self) -> bool {
        self.written.is_some()
    }
}

/// The key of the views of a state.
fn key(state: &Key, geography: &Geography, settings: &Settings) -> Key {
    key_of([KEPT_VERSION, state, geography.digest.as_bytes(), format!("{settings:?}").as_bytes()])
}

/// The compiled table of what `store` recovered, and what is known of it: from the cache, or else
/// compiled.
pub(super) fn recover(
    compiler: &mut Compiler,
    store: &Store,
    table: &Arc<Table>,
    geography: Arc<Geography>,
    settings: Settings,
) -> (Arc<Compiled>, Kept) {
    let key = store.state().map(|state| key(&state, &geography, &settings));
    let restored = key.and_then(|key| {
        store.cache().read(NAME, &key, |from| {
            compiler.restore(Arc::clone(table), Arc::clone(&geography), settings.clone(), from)
        })
    });
    match restored {
        Some(compiled) => (compiled, Kept { written: key, ..Kept::default() }),
        None => (compiler.compile(Arc::clone(table), geography, settings), Kept::default()),
    }
}

impl Publisher {
    /// Keeps the served views for the next start, if that is due. To be called now and then; takes a
    /// tenth of a second, in which pushes go on.
    pub fn keep_views(&self, now: UnixMs) {
        let Ok(mut writer) = self.writer.try_lock() else { return };
        // With the writer's lock: what is served is what was made durable last.
        let world = self.load_full();
        let Some(state) = writer.store.state().filter(|_| world.is_ready()) else { return };
        let compiled = Arc::clone(world.compiled());
        let key = key(&state, compiled.geography(), world.settings());
        if !writer.kept.is_due(key, now) {
            return;
        }
        writer.kept.written = Some(key);
        writer.kept.at = now;
        let cache: Cache = writer.store.cache();
        drop(writer);
        if let Err(error) = cache.write(NAME, &key, |out| compiled.save(out)) {
            tracing::warn!(%error, "the compiled table is not kept; a restart takes longer");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_written_when_changes_pause_and_not_all_the_time() {
        let (a, b) = ([1; 32], [2; 32]);
        let mut kept = Kept::default();
        assert!(!kept.is_due(a, UnixMs(1_000)), "perhaps the next change comes at once");
        assert!(kept.is_due(a, UnixMs(2_000)));
        (kept.written, kept.at) = (Some(a), UnixMs(2_000));
        assert!(!kept.is_due(a, UnixMs(3_000)), "written");
        assert!(!kept.is_due(b, UnixMs(4_000)));
        assert!(!kept.is_due(b, UnixMs(5_000)), "too soon after the last");
        assert!(kept.is_due(b, UnixMs(12_000)));
    }
}
