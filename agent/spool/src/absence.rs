//! What cannot be read: whether it is the storage as a whole, a file that is not there any more, or bytes of a file; when it is
//! tried again, and when it is hopeless. A storage that is away is never a reason to give up what is on it.

use crate::error::DiskError;
use crate::files::LOCK_NAME;
use crate::frame;
use crate::limits::{MISSING_MS, UNREADABLE_MS};
use crate::report::Degraded;
use crate::spool::Spool;
use crate::state::Failing;
use crate::storage::Storage;

/// What the storage says of a segment that could not be read.
enum Presence {
    /// Nothing of this spool is here.
    Away,
    /// Others are here, this one is not.
    Missing,
    Here,
}

impl<S: Storage> Spool<S> {
    /// Whether anything of this spool is in its folder. An empty folder is a mount point without its card.
    pub(crate) fn storage_answers(&mut self) -> bool {
        !matches!(self.presence(0), Presence::Away)
    }

    fn presence(&mut self, number: u64) -> Presence {
        let place = self.place(number);
        let Ok(files) = self.storage.list("") else { return Presence::Away };
        let wanted = frame::segment_name(place);
        if files.iter().any(|file| file.name == wanted) {
            return Presence::Here;
        }
        let ours = files.iter().any(|file| {
            file.name == LOCK_NAME
                || frame::parse_name(&file.name)
                    .is_some_and(|(other, _)| other.spool == place.spool)
        });
        if ours { Presence::Missing } else { Presence::Away }
    }

    /// Whether the storage is here, as far as is known; looks for it when that is due.
    pub(crate) fn storage_is_here(&mut self) -> bool {
        let spool_ms = self.clock.last();
        match &self.absent {
            None => return true,
            Some(absent) if absent.retry.waits(spool_ms) => return false,
            Some(_) => {}
        }
        let here = self.storage_answers();
        if here {
            self.absent = None;
        } else if let Some(absent) = &mut self.absent {
            absent.retry.failed(spool_ms);
        }
        here
    }

    /// Something was written: the storage may be here again.
    pub(crate) fn look_for_storage_now(&mut self) {
        if let Some(absent) = &mut self.absent {
            absent.retry.now();
        }
    }

    /// Whether a segment can be read, as far as is known. One that could not is read as a whole when that is due: that some
    /// of its records can be read says nothing about the others.
    pub(crate) fn may_read(&mut self, number: u64) -> bool {
        let spool_ms = self.clock.last();
        if !self.storage_is_here() {
            return false;
        }
        let failing = self.segments.get(&number).and_then(|segment| segment.failing.as_ref());
        match failing.map(|failing| failing.retry.waits(spool_ms)) {
            None => true,
            Some(true) => false,
            Some(false) => self.look_again(number),
        }
    }

    /// A segment could not be read; whether that is hopeless.
    pub(crate) fn gives_up(&mut self, number: u64, error: DiskError) -> bool {
        let spool_ms = self.clock.last();
        let reason = format!("{error}: {}", error.source);
        let patience_ms = match self.presence(number) {
            Presence::Away => {
                let absent = self.absent.get_or_insert_with(|| Failing::begin(spool_ms));
                absent.failed(reason, spool_ms);
                // What happened while it went says nothing about the segment.
                if let Some(segment) = self.segments.get_mut(&number) {
                    segment.failing = None;
                }
                return false;
            }
            Presence::Missing => MISSING_MS,
            Presence::Here => UNREADABLE_MS,
        };
        self.absent = None;
        let Some(segment) = self.segments.get_mut(&number) else { return true };
        let failing = segment.failing.get_or_insert_with(|| Box::new(Failing::begin(spool_ms)));
        failing.failed(reason, spool_ms);
        let hopeless = spool_ms.saturating_sub(failing.since_ms) >= patience_ms;
        if hopeless {
            segment.failing = None;
        }
        hopeless
    }

    /// What cannot be read, for the longest time first.
    pub(crate) fn unreadable(&self, spool_ms: u64) -> Option<Degraded> {
        let segments = self.segments.values().filter_map(|segment| segment.failing.as_deref());
        let failing = self.absent.as_ref().or_else(|| segments.min_by_key(|f| f.since_ms))?;
        Some(Degraded {
            reason: failing.reason.clone(),
            for_ms: spool_ms.saturating_sub(failing.since_ms),
            retry_in_ms: failing.retry.in_ms(spool_ms),
        })
    }
}
